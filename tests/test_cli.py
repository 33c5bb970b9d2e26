"""The command: what it prints, and one line and exit code 2 for every mistake."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

import jbn.data
from jbn.config import DataConfig
from jbn.environment import unused_accelerator

TOO_LONG = "File name too long"
ARTICLE = Path(__file__).parents[1] / "configs" / "digits" / "article.toml"
SMALL = [
    *("--set", "model.hidden_sizes=[4]", "--set", "train.num_epochs=1"),
    *("--set", "train.batch_size=480", "--set", "num_seeds=1", "--no-cache"),
]


def test_run_prints_device_progress_table_and_report(jbn_command, tmp_path):
    code, out, err = jbn_command("run", ARTICLE, "--out", tmp_path / "a", *SMALL)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"digits-article: JAX starts; results go to {tmp_path / 'a'}"
    assert lines[1].startswith("device: cpu")
    assert lines[2] == "4 trials = 4 programs × 1 lane"
    assert any(line.startswith("batch_norm: compiled in ") for line in lines)
    assert any(line.startswith("no_norm_hard: epoch 1/1, loss ") for line in lines)
    assert any("test accuracy" in line and "test loss" in line for line in lines)
    assert lines[-1] == f"report: {tmp_path / 'a' / 'report.html'}"
    assert (tmp_path / "a" / "report.html").is_file()
    assert "\x1b" not in out


def test_a_second_run_keeps_the_first_and_another_config_is_refused(jbn_command, tmp_path):
    out = tmp_path / "a"
    arguments = ("run", ARTICLE, "--out", out, *SMALL, "--set", "arms={}")
    assert jbn_command(*arguments)[0] == 0
    first = (out / "summary.json").read_bytes()
    code, printed, _ = jbn_command(*arguments)
    assert code == 0
    assert f"{out} held an earlier run of this config; it is {out}.1 now" in printed
    assert (tmp_path / "a.1" / "summary.json").read_bytes() == first
    code, _, err = jbn_command(*arguments, "--set", "seed=1")
    assert code == 2
    assert err == (
        f"jbn: {out}: holds a run of another config: seed: 0 there, 1 in this config; choose "
        "another folder with --out, or another name in the config\n"
    )
    more = (*arguments, "--set", "num_seeds=2")
    code, _, err = jbn_command(*more)
    assert code == 2
    assert err.endswith("choose another folder with --out, or go on with this run by --extend\n")
    code, printed, _ = jbn_command(*more, "--extend")
    assert code == 0
    assert f"{out} is extended: num_seeds: 1 there, 2 in this config" in printed
    assert (out / "report.html").exists()


def test_a_model_of_ones_own_runs_loads_and_runs_again(jbn_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cli_model.py").write_text(
        "from flax import linen as nn\n"
        "class Own(nn.Module):\n"
        "    num_classes: int\n"
        "    norm: object\n"
        "    @nn.compact\n"
        "    def __call__(self, x, train):\n"
        "        x = nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))\n"
        "        x = self.norm(use_running_average=not train)(x)\n"
        "        return nn.Dense(self.num_classes)(x)\n"
        "def make(num_outputs, norm):\n"
        "    return Own(num_outputs, norm)\n"
    )
    Path("own.toml").write_text('name = "own"\nmodel.factory = "cli_model:make"\n')
    arguments = ("run", "own.toml", "--set", "train.num_epochs=1", "--no-cache")
    assert jbn_command(*arguments)[0] == 0
    x = jbn.data.load(DataConfig()).test.x
    assert jbn.load_run("runs/own").predict(x).shape == (179, 10)
    assert "it is runs/own.1 now" in jbn_command(*arguments)[1]


def test_it_makes_no_more_cpu_devices_than_the_cores_that_it_may_use():
    code = """
import os, jax
from jbn.environment import use_all_cores
os.sched_getaffinity = lambda process: {3, 5}  # as a cluster limits a job
use_all_cores()
print(jax.config.jax_num_cpu_devices)
"""
    environment = {key: value for key, value in os.environ.items() if key != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "2\n", done.stderr


def test_a_cache_that_cannot_be_written_to_is_said_and_nothing_is_kept(
    jbn_command, tmp_path, monkeypatch
):
    cache = tmp_path / "cache"
    cache.write_text("a file")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(cache))
    before = jax.config.values["jax_enable_compilation_cache"]
    try:
        code, out, err = jbn_command(
            *("run", ARTICLE, "--out", tmp_path / "a", *SMALL[:-1], "--set", "arms={}")
        )
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
    assert (code, err) == (0, "")
    assert f"note: the cache {cache} can't be written to: File exists" in out


def test_a_sweep_prints_its_plan_and_one_row_per_arm(jbn_command, tmp_path):
    sweep = ("--sweep", "optimizer.learning_rate=logspace(-3, -2, 2)", "--set", "arms={}")
    code, out, err = jbn_command("run", ARTICLE, "--out", tmp_path / "a", *SMALL, *sweep)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[2] == "2 trials = 1 program × 2 lanes"
    assert lines[3] == "data: digits, scikit-learn"
    assert sum(line.startswith(" batch ") for line in lines) == 1
    code, out, _ = jbn_command("show", ARTICLE, *sweep, "--set", "num_seeds=3")
    assert out.endswith("6 trials = 1 program × 6 lanes\nbatch: 17,610 parameters\n")


def test_parts_of_two_machines_become_one_run(jbn_command, tmp_path):
    sweep = (
        "--sweep",
        "norm.momentum=[0.5, 0.9]",
        "--set",
        "arms={}",
        "--set",
        "sweep.max_lanes=1",
    )
    for number in (1, 2):
        folder = tmp_path / f"machine-{number}" / "a"
        part = ("--out", folder, "--part", f"{number}/2")
        code, out, err = jbn_command("run", ARTICLE, *part, *SMALL, *sweep)
        assert (code, err) == (0, "")
        assert out.splitlines()[-1].startswith(f"{folder}: 1 of 2 parts are done here; ")
        code, out, _ = jbn_command("merge", tmp_path / "a", folder, "--no-cache")
        assert code == 0
    assert out.splitlines()[-1] == f"report: {tmp_path / 'a' / 'report.html'}"
    jbn_command("run", ARTICLE, "--out", tmp_path / "whole", *SMALL, *sweep)
    ours, whole = (tmp_path / name / "metrics.csv" for name in ("a", "whole"))
    assert ours.read_bytes() == whole.read_bytes()
    both = ("--out", tmp_path / "b", "--part", "1/2", "--extend")
    code, _, err = jbn_command("run", ARTICLE, *both)
    said = "found both; extend the run that the parts have become"
    assert (code, err) == (2, f"jbn: --part, --extend: {said}\n")
    code, _, err = jbn_command("run", ARTICLE, *SMALL, "--part", "3/2")
    assert (code, err) == (2, "jbn: --part: found '3/2', wanted one such as 2/8, from 1/8 to 8/8\n")


def test_download_names_the_sets_there_are(jbn_command):
    code, _, err = jbn_command("download", "imagenet")
    assert code == 2
    assert err == "jbn: download: found 'imagenet', wanted one of mnist, fashion_mnist, cifar10\n"


def test_show_resolves_the_config_and_counts_parameters(jbn_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = jbn_command("show", ARTICLE, "--set", "optimizer.learning_rate=0.5")
    assert code == 0
    assert '"learning_rate": 0.5' in out
    assert out.endswith("no_norm_hard: 17,226 parameters\n")
    assert list(tmp_path.iterdir()) == []


def test_show_names_the_programs_of_an_arm_whose_parameters_differ(jbn_command):
    sweep = ('norm.kind=["batch", "none"]', "train.batch_size=[16, 32]")
    axes = [word for axis in sweep for word in ("--sweep", axis)]
    _, out, _ = jbn_command("show", ARTICLE, "--set", "arms={}", *axes)
    assert out.splitlines()[-4:] == [
        "swept norm.kind=batch train.batch_size=16: 17,610 parameters",
        "swept norm.kind=batch train.batch_size=32: 17,610 parameters",
        "swept norm.kind=none train.batch_size=16: 17,226 parameters",
        "swept norm.kind=none train.batch_size=32: 17,226 parameters",
    ]


@pytest.mark.parametrize("command", ["show", "run"])
def test_a_mistake_in_some_arms_says_in_which(jbn_command, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, _, err = jbn_command(command, ARTICLE, "--set", 'train.freeze="BatchNorm_0*"')
    assert (code, err.count("\n")) == (2, 1)
    said = "train.freeze: found 'BatchNorm_0*', which matches no path"
    assert err.startswith(f"jbn: no_norm, no_norm_hard: {said}")


def test_a_packaged_config_is_run_by_its_name_where_no_file_is(jbn_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = jbn_command("run", "digits", *SMALL, "--set", "arms={}")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "report: runs/digits-article/report.html"
    assert jbn_command("show", "digits") == jbn_command("show", ARTICLE)


def test_init_writes_a_config_that_trains_on_a_users_own_table(jbn_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = jbn_command("init")
    assert (code, [path.name for path in tmp_path.iterdir()]) == (0, ["jbn.toml"])
    _, show, run = [line.split("  ")[1] for line in ("  " + out).splitlines()]
    assert jbn_command(*show.split()[1:])[0] == 0
    code, _, err = jbn_command("init")
    assert (code, err.count("\n")) == (2, 1)
    assert "wanted a new name" in err
    rows = [f"{number % 7},{number % 5},{number % 3}" for number in range(60)]
    Path("mine.csv").write_text("\n".join(["a,b,label", *rows]))
    text = Path("jbn.toml").read_text()
    text = text.replace('name = "digits"', 'name = "csv"').replace(
        '# path = "none"', 'path = "mine.csv"'
    )
    Path("jbn.toml").write_text(text)
    code, out, err = jbn_command(*run.split()[1:], *SMALL, "--set", "train.batch_size=48")
    assert (code, err) == (0, "")
    assert Path("runs/first/report.html").is_file()


def test_no_file_of_a_run_takes_the_place_of_a_package(small_run, tmp_path):
    """JAX looks for this package, which no machine without a TPU has."""
    out = shutil.copytree(small_run, tmp_path / "run")
    (out / "libtpu.py").write_text("raise SystemExit('executed')")
    code = "from jbn.__main__ import main; main()"
    merge = "merge", str(tmp_path / "new"), ".", str(tmp_path / "nothing")
    for command, said in (("report", "."), ""), (merge, f"jbn: {tmp_path / 'nothing'}/run.json"):
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *command], cwd=out, capture_output=True, text=True
        )
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == bool(said)


def test_report_writes_the_page_again(jbn_command, small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "small")
    page = run / "report.html"
    before = page.read_bytes()
    page.unlink()
    code, out, _ = jbn_command("report", run)
    assert (code, out) == (0, f"report: {page}\n")
    assert page.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "nope.toml"], "jbn: nope.toml: no such file; wanted a TOML config"),
        (
            ["run", "digit"],
            "jbn: digit: no such file, and no packaged config; wanted a TOML file, or one of "
            "digits",
        ),
        (["show", "."], "jbn: .: found a folder, wanted a TOML file"),
        (
            ["show", f"{'a' * 300}.toml"],
            f"jbn: {'a' * 300}.toml: can't be read: File name too long",
        ),
        (
            ["report", "a" * 300],
            f"jbn: {'a' * 300}/run.json: can't be read ({TOO_LONG}); wanted a run",
        ),
        (["merge", "a" * 300], f"jbn: {'a' * 60} … {'a' * 10}: can't be used: {TOO_LONG}"),
        (
            ["run", ARTICLE, "--set", "norm.epz=1"],
            "jbn: norm.epz: unknown key, did you mean norm.epsilon?",
        ),
        (
            ["run", ARTICLE, "--device", "gpu"],
            "jbn: --device gpu: JAX sees no gpu here, only cpu; for one you have, "
            "pip install 'jbn[cuda13]'",
        ),
        (
            ["run", ARTICLE, "--out", "new", "--no-cache", "--set", "train.batch_size=1441"],
            "jbn: train.batch_size: found 1441, wanted at most 1440, the number of "
            "training examples",
        ),
        (
            ["run", ARTICLE, "--out", "new", "--no-cache", "--set", "model.factory=os:nope"],
            "jbn: model.factory: found 'os:nope', which can't be imported: "
            "module 'os' has no attribute 'nope'",
        ),
        (
            [
                *("run", ARTICLE, "--out", "new", "--no-cache"),
                *("--set", "data.name=mixture", "--set", "model.kind=cnn"),
            ],
            "jbn: model: x: found shape (2, 16), wanted (batch, height, width, channels)",
        ),
        (
            ["report", "."],
            "jbn: run.json: can't be read (No such file or directory); wanted a run",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(jbn_command, tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    code, _, err = jbn_command(*arguments)
    assert (code, err) == (2, line + "\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus\n"], r"'bogus\n'"),
        (["--bogus"], "--bogus"),
        (["run"], "argument 'config'"),
        (["run", "x", "y"], "extra argument"),
        (["run", "x", "--sett", "a=1"], "--sett (Possible options: --set, --sweep)"),
        (["run", "x", "--device", "quantum"], "not one of 'cpu', 'gpu', 'tpu'"),
        (["run", "x", "--process-id", "one"], "'--process-id'"),
        (["run", "x", "--set"], "'--set' requires an argument"),
        (["show", "--help=3"], "'--help' does not take a value"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(jbn_command, arguments, said):
    code, out, err = jbn_command(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("jbn: ")
    assert said in err
    assert err.endswith("; see jbn --help or jbn COMMAND --help\n")


def test_without_arguments_it_prints_its_help(jbn_command):
    assert jbn_command() == jbn_command("--help")


def test_ctrl_c_while_packages_are_imported_ends_it_without_a_word(jbn_command, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("jbn.cli.main", interrupted)
    assert jbn_command("--help") == (130, "", "")


def test_what_a_terminal_has_no_sign_for_is_escaped(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jbn", "init", "ü.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("\\xfc.toml: written.")
    assert (tmp_path / "ü.toml").is_file()


def test_without_the_extra_it_says_in_one_line_what_to_install():
    """Python is told that typer isn't there."""
    code = "import sys; sys.modules['typer'] = None; import runpy; runpy.run_module('jbn')"
    code = code.replace("run_module('jbn')", "run_module('jbn', run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "jbn: the command needs typer: pip install 'jbn[run]'\n"


NVIDIA = "an NVIDIA GPU is here, but this JAX can't use it (pip install 'jbn[cuda13]')"
TPU = "a TPU is here, but this JAX can't use it (pip install 'jbn[tpu]')"


@pytest.mark.parametrize(
    ("backend", "there", "said"),
    [
        ("cpu", ["/dev/nvidiactl"], NVIDIA),
        ("cpu", ["/proc/driver/nvidia/version"], NVIDIA),
        ("cpu", ["/dev/accel0"], TPU),
        ("cpu", ["TPU_NAME"], TPU),
        ("cpu", [], None),
        ("gpu", ["/dev/nvidiactl"], None),
    ],
)
def test_an_accelerator_that_jax_cannot_use_is_found(monkeypatch, backend, there, said):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)

    def path(name):
        return SimpleNamespace(exists=lambda: name in there)

    monkeypatch.setattr("jbn.environment.Path", path)
    monkeypatch.setattr("jbn.environment.os", SimpleNamespace(environ=dict.fromkeys(there, "")))
    assert unused_accelerator() == said


def test_an_accelerator_that_jax_cannot_use_is_said(jbn_command, monkeypatch, tmp_path):
    monkeypatch.setattr("jbn.environment.unused_accelerator", lambda: TPU)
    options = ("--out", tmp_path / "a", *SMALL, "--set", "arms={}")
    code, out, _ = jbn_command("run", ARTICLE, *options)
    assert code == 0
    assert f"\nnote: {TPU}\n" in out
