"""What a stranger's run folder may hold and not do; and where jbn could run what is in a file."""

import ast
import csv
import html.parser
import json
import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import valid_runs
from judge import ACCEPTED, ANSWERED, outcome_of

import jbn
from jbn.config import UserError, config_from_dict
from jbn.environment import without_compilation_cache
from jbn.report.page import write_report
from jbn.run import run_merged
from jbn.run.kept import KeptPrograms

PACKAGE = Path(jbn.__file__).parent
EVIL = "from pathlib import Path\nPath({!r}).write_text('run')\ndef make(num_outputs): ...\n"
# Where jbn may execute or unpickle what it didn't write in this process, and why it may.
MAY_EXECUTE = {
    ("__init__.py", "import_module"): "jbn's own modules, when they are asked for",
    ("config/functions.py", "import_module"): "functions of the user's own, which a config names",
    ("trained.py", "exec_module"): "the source in a run's folder, with trust_source=True alone",
    ("run/kept.py", "pickle"): "compiled programs of this user's, which nobody else can write",
    ("run/kept.py", "deserialize_and_load"): "likewise",
    ("processes.py", "pickle"): "what the processes of one run tell each other",
    ("environment.py", "subprocess"): "git describe",
    ("native_output.py", "subprocess"): "this file, as a script",
}
EXECUTES = {
    *("eval", "exec", "compile", "__import__", "import_module", "exec_module", "run_path"),
    *("run_module", "system", "popen", "deserialize_and_load", "load_pickle", "unsafe_load"),
    *("load_module", "execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp"),
    *("execvpe", "posix_spawn", "posix_spawnp", "spawnl", "spawnle", "spawnlp", "spawnlpe"),
    *("spawnv", "spawnve", "spawnvp", "spawnvpe"),
}
MODULES = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "runpy"),
    *("subprocess", "multiprocessing", "ctypes", "code", "pty", "xmlrpc", "socketserver", "http"),
}
NUMPY = ("np", "numpy", "jnp", "jax.numpy")


def executes(path):
    """What in a source file could execute what is read: names of calls and of modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from MODULES & {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            yield from MODULES & {(node.module or "").partition(".")[0]}
            names = {alias.name for alias in node.names}
            yield from EXECUTES & names
            if node.module in NUMPY and "load" in names:
                yield "np.load"
        elif isinstance(node, ast.Call):
            name, owner = getattr(node.func, "id", ""), ""
            if isinstance(node.func, ast.Attribute):
                name, owner = node.func.attr, ast.unparse(node.func.value)
            # Neither a pattern, nor JAX's programs, nor the mode of a model.
            is_harmless = name in ("compile", "eval") and owner not in ("", "builtins")
            if name in EXECUTES and not is_harmless:
                yield name
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    yield "allow_pickle"
            if name == "read_array" and len(node.args) > 1:
                yield "allow_pickle"  # it is the second argument
            if owner in NUMPY and name == "load":
                yield "np.load"  # _npz.py reads arrays, and looks at their headers first


def test_nothing_else_of_jbn_could_execute_what_it_reads():
    found = {
        (str(path.relative_to(PACKAGE)), name)
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in executes(path)
    }
    assert found == set(MAY_EXECUTE)


def test_the_search_finds_what_would_execute(tmp_path):
    path = tmp_path / "a.py"
    for text, name in {
        "import pickle": "pickle",
        "from yaml import load": "yaml",
        "eval('1')": "eval",
        "np.load(f, allow_pickle=True)": "allow_pickle",
        "np.load(f)": "np.load",
        "numpy.load(f)": "np.load",
        "jnp.load(f)": "np.load",
        "from numpy import load": "np.load",
        "from jax.numpy import load as read": "np.load",
        "np.lib.format.read_array(f, True)": "allow_pickle",
        "os.system('ls')": "system",
        "os.execv('/bin/ls', [])": "execv",
        "os.posix_spawn('/bin/ls', [], {})": "posix_spawn",
        "os.spawnv(os.P_WAIT, '/bin/ls', [])": "spawnv",
        "from os import execvp": "execvp",
        "import multiprocessing": "multiprocessing",
        "from multiprocessing import Process": "multiprocessing",
        "loader.load_module()": "load_module",
        "builtins.eval('1')": "eval",
        "builtins.compile('1', 'a', 'eval')": "compile",
    }.items():
        path.write_text(text)
        assert name in set(executes(path)), text


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a valid run."""
    with pytest.MonkeyPatch.context() as patch:
        valid_runs.compiled_once(patch)
        folder = tmp_path_factory.mktemp("valid") / "run"
        valid_runs.trained(folder)
        yield folder


@pytest.fixture(scope="module")
def swept(finished, tmp_path_factory):
    """The folder of a sweep, whose report has the metric in titles and below pictures.

    It has the statistics of another run, which no sweep has by itself.
    """
    folder = tmp_path_factory.mktemp("valid") / "swept"
    valid_runs.trained(folder, valid_runs.SWEEP)
    norms = json.loads((finished / "norms.json").read_text())
    (folder / "norms.json").write_text(json.dumps({"batch": norms["slow"]}))
    return folder


@pytest.fixture
def stranger(finished, tmp_path):
    """A copy, whose config names a function in a module that the folder holds, everywhere."""
    out = valid_runs.copied(finished, tmp_path / "run")
    (tmp_path / "outside").mkdir()
    config = json.loads((out / "config.json").read_text())
    for arm in config["arms"].values():
        arm["model"]["factory"] = "evil_module:make"
    (out / "config.json").write_text(json.dumps(config))
    (out / "source").mkdir()
    for name in ("source/evil_module.py", "evil_module.py", "sitecustomize.py", "jbn.py"):
        (out / name).write_text(EVIL.format(str(tmp_path / "outside" / "written")))
    return out


@pytest.mark.parametrize("is_here", [False, True], ids=["elsewhere", "inside"])
def test_a_strangers_folder_runs_no_code(stranger, monkeypatch, is_here):
    root = stranger.parent
    if is_here:  # where Python itself would find the module
        monkeypatch.chdir(stranger)
        monkeypatch.syspath_prepend(str(stranger))
        monkeypatch.setattr(sys, "path", ["", *sys.path])
    for action in (
        lambda: jbn.load_run(stranger) and None,
        lambda: write_report(stranger) and None,
        lambda: run_merged(root / "merged", [stranger], device=jax.devices()[0], sinks=[]) and None,
    ):
        outcome = outcome_of(action, root, inside=[stranger, root / "merged"])
        assert outcome.kind in (ACCEPTED, ANSWERED), outcome
        assert os.listdir(root / "outside") == []
    with pytest.raises(UserError, match="evil_module"):
        jbn.load_run(stranger)


def test_a_part_whose_config_names_a_module_beside_it_is_merged_without_it(
    finished, tmp_path, monkeypatch
):
    config = {**valid_runs.TABLE, "data": {**valid_runs.TABLE["data"]}}
    config["data"]["augment"] = {"function": "evil_module:make"}
    out = valid_runs.copied(finished, tmp_path / "run")
    (out / "summary.json").unlink()
    resolved = config_from_dict(config).model_dump(mode="json")
    (out / "config.json").write_text(json.dumps(resolved))
    (tmp_path / "outside").mkdir()
    (out / "evil_module.py").write_text(EVIL.format(str(tmp_path / "outside" / "written")))
    monkeypatch.syspath_prepend(str(out))
    with pytest.raises(UserError, match="evil_module:make would be imported from a run's folder"):
        run_merged(tmp_path / "merged", [out], device=None, sinks=[])
    assert os.listdir(tmp_path / "outside") == []


class Page(html.parser.HTMLParser):
    """The elements of a page with their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, sorted(name for name, _ in attributes)))

    def handle_data(self, data):
        self.text += data


NAMES = {
    "a script": "<script>alert(1)</script>",
    "an attribute": "\" onload='alert(1)' x=\"",
    "an entity": "&lt;b&gt; &amp; ]]> --> <!--",
    "the end of an element": "</text></svg></pre></dd><img src=x onerror=alert(1)>",
    "a formula": "$\\frac{1}{0}$ $x_{",
    "a template": "{{ 7 * 7 }} {% include 'x' %}",
    "letters that run backwards": "\u202egnp.exe\u2066 \u200b\ufeff",
    "control characters": "a\x1b[2J\x07\tb",
    "a surrogate": "\ud800x",
    "a long name": "é" * 100_000,
}


def with_name(folder, name):
    """The name, wherever a page takes one from: data, config, command, layers, metrics, arms."""
    run = json.loads((folder / "run.json").read_text())
    run["parts"][0] |= {
        "command": name,
        "device": name,
        "data_sha256": {name: name},
        name: {name: [name]},
    }
    config = json.loads((folder / "config.json").read_text())
    for arm in config["arms"].values():
        if name != NAMES["a surrogate"]:  # which no config may have
            arm["data"] = {"name": "csv", "path": f"data/{name}.csv"}
            arm["model"]["init_from"] = name
    summary = json.loads((folder / "summary.json").read_text())
    arms = summary["arms"]
    for of in (*arms.values(), summary["baseline"]):
        of[f"test_{name}"] = of["test_accuracy"]
    summary["shown"].append(name)
    summary["baseline"]["name"] = name
    arms[name] = arms.pop("batch")
    if name != NAMES["a surrogate"]:  # which no table may have
        run["metrics"]["shown"][0] = name
        rename_column(folder / "metrics.csv", "val_accuracy", f"val_{name}")
    norms = json.loads((folder / "norms.json").read_text())
    for of_arm in norms.values():
        of_arm["warnings"] = [name]
        of_arm["table"]["headings"][0] = name
        of_arm["layers"] = {name: next(iter(of_arm["layers"].values()))}
    norms[name] = {**norms["batch"], "layers": {}}  # no colour is looked up where no layer is drawn
    for file, content in (("run", run), ("config", config), ("summary", summary), ("norms", norms)):
        (folder / f"{file}.json").write_text(json.dumps(content))


def rename_column(path, before, after):
    """Another name in the first line of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    names[names.index(before)] = after
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([names, *rows])


@pytest.mark.parametrize("kind", NAMES)
def test_names_make_no_element_of_the_report(swept, tmp_path, kind):
    plain, named = (valid_runs.copied(swept, tmp_path / of) for of in ("plain", "named"))
    with_name(plain, "name")
    with_name(named, NAMES[kind])
    pages = [Page(write_report(of).read_text(encoding="utf-8")) for of in (plain, named)]
    assert pages[0].elements == pages[1].elements
    hidden = {sign for sign in pages[1].text if not sign.isprintable()} - {"\n"}
    assert hidden == set()
    if kind in ("a script", "an attribute", "an entity", "a template"):
        assert pages[1].text.count(NAMES[kind]) >= 25


@pytest.mark.parametrize("change", ["others may write it", "another's", "a link", "a folder"])
def test_a_kept_program_that_others_can_write_is_not_loaded(tmp_path, monkeypatch, change):
    built = []

    def lower():
        built.append(1)
        return jax.jit(lambda x: x + 1).lower(np.float32(1))

    kept = KeptPrograms(tmp_path / "cache", jax.devices()[:1])

    def result():
        with without_compilation_cache():  # a program from there can't be kept
            return kept.build("key", {"part": lower})["part"](np.float32(1))

    assert [result(), result()] == [2, 2]
    assert len(built) == 1
    (path,) = (tmp_path / "cache").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    if change == "others may write it":
        path.chmod(0o666)
    elif change == "another's":
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    elif change == "a link":
        path.rename(tmp_path / "moved")
        (tmp_path / "moved").chmod(0o660)
        path.symlink_to(tmp_path / "moved")
    else:
        path.unlink()
        path.mkdir()
    assert result() == 2
    assert len(built) == 2
