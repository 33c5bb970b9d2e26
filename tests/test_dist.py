"""What is published: the wheel works in an empty environment, away from the checkout.

`make dist` builds the files and has them tested here. `make slow` tests files of its own.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from test_texts import readmes_example

import jbn

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
# Nothing of this environment, and no cache of compiled programs.
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("COV", "JAX_", "JBN_", "KERAS", "PYTEST", "PYTHON", "XLA_"))
}


def called(*command, cwd, code=0):
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=CLEAN, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def built(folder, *options):
    called(sys.executable, "-m", "build", "--outdir", folder, *options, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder of one sdist, and of one wheel that was built of it."""
    given = os.environ.get("JBN_DIST")
    return ROOT / given if given else built(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(tmp_path_factory, wheel):
    """The Python of an environment that has the wheel and what it needs for runs, no more."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    called(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = (scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    called(*pip, wheel, cwd=folder)
    said = called(scripts / "jbn", "run", "digits", cwd=folder, code=2)
    assert said == "jbn: the command needs typer: pip install 'jbn[run]'\n"
    called(*pip, f"{wheel}[run]", cwd=folder)
    return scripts / "python"


def content(path):
    """From each file's name to its bytes."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_there_is_one_version(dist):
    names = {path.name for path in dist.iterdir() if path.name[0] != "."}
    assert names == {
        f"jbn-{jbn.__version__}.tar.gz",
        f"jbn-{jbn.__version__}-py3-none-any.whl",
    }


def test_the_wheel_has_the_package_and_no_more(wheel):
    files = content(wheel)
    listed = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "jbn").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    ]
    info = f"jbn-{jbn.__version__}.dist-info"
    beside = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    assert set(files) == {*listed, *(f"{info}/{name}" for name in beside)}
    assert {"jbn/py.typed", "jbn/config/packaged/digits.toml", "jbn/report/page.html"} <= set(files)
    assert files["jbn/__init__.py"] == (ROOT / "jbn" / "__init__.py").read_bytes()


def test_the_sdist_makes_the_wheel_that_the_checkout_makes(wheel, tmp_path):
    (direct,) = built(tmp_path, "--wheel").glob("*.whl")
    assert content(direct) == content(wheel)


def test_the_readmes_example_runs(python, tmp_path):
    code, output = readmes_example()
    assert called(python, "-c", code, cwd=tmp_path) == output
    where = called(python, "-c", "import jbn; print(jbn.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(python.parents[1])


def test_the_command_says_what_it_is(python, tmp_path):
    command = python.with_name("jbn")
    assert "jbn run digits" in called(command, "--help", cwd=tmp_path)
    assert called(command, "--version", cwd=tmp_path).startswith(f"jbn {jbn.__version__}, jax ")
    assert "complete_bash" in called(command, "--show-completion", "bash", cwd=tmp_path)


def test_a_first_run_leaves_a_report(python, tmp_path):
    command = python.with_name("jbn")
    called(command, "init", cwd=tmp_path)
    short = ("--set", "train.num_epochs=1", "--set", "num_seeds=1", "--no-cache")
    said = called(command, "run", "jbn.toml", *short, cwd=tmp_path)
    assert said.splitlines()[-1] == f"report: {Path('runs', 'first', 'report.html')}"
    assert "<svg" in (tmp_path / "runs" / "first" / "report.html").read_text(encoding="utf-8")
    said = called(command, "run", "digits", *short, cwd=tmp_path)
    assert re.search(r"^ ?batch_norm_hard .*0\.\d", said, re.MULTILINE)
    assert (tmp_path / "runs" / "digits-article" / "report.html").is_file()
    code = "import jbn; print(jbn.load_run('runs/digits-article', arm='no_norm'))"
    assert "LoadedRun(MLP, 17,226 numbers)" in called(python, "-c", code, cwd=tmp_path)


def test_a_type_checker_sees_the_types(python, tmp_path):
    mypy = shutil.which("mypy", path=str(Path(sys.executable).parent))
    assert mypy is not None, "mypy: not beside this Python; wanted pip install '.[dev]'"
    (tmp_path / "user.py").write_text(
        "import jbn\n"
        "stats: jbn.BatchStats = jbn.init_batch_stats(3)\n"
        "number: int = jbn.init_batch_stats(3)\n"
        "jbn.normalise\n"
    )
    said = called(mypy, "--python-executable", python, "user.py", cwd=tmp_path, code=1)
    assert re.findall(r"^user.py:(\d+): error: .*\[(.*)\]$", said, re.MULTILINE) == [
        ("3", "assignment"),
        ("4", "attr-defined"),
    ]
