"""Several virtual devices, and Keras on JAX: both are chosen before either is imported."""

import atexit
import os
import shutil
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "4"
os.environ["KERAS_BACKEND"] = "jax"
os.environ["CI"] = "true"  # plain progress lines, whoever runs the tests
# A program that takes more than a second to compile is compiled once for all workers, which inherit
# the folder from the process that starts them.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jbn-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "jbn", deadline=None, derandomize=True, max_examples=25, print_blob=True
)
hypothesis.settings.load_profile("jbn")


@pytest.fixture
def jbn_command(monkeypatch, capsys):
    """Runs the `jbn` command here: returns its exit code, standard output and standard error."""

    def run(*arguments):
        from jbn.__main__ import main

        monkeypatch.setattr("sys.argv", ["jbn", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """The folder of a finished run: two arms, two seeds, two epochs, a few hidden units."""
    import jax
    from rich.console import Console

    from jbn.config import config_from_dict
    from jbn.progress import show_progress
    from jbn.report import write_report
    from jbn.run import run

    config = config_from_dict(
        {
            "name": "small",
            "seed": 5,
            "num_seeds": 2,
            "model": {"hidden_sizes": [8]},
            "train": {"num_epochs": 2},
            "optimizer": {"learning_rate": 0.01},
            "arms": {"batch_norm": {}, "no_norm": {"norm": {"kind": "none"}}},
        }
    )
    out = tmp_path_factory.mktemp("runs") / "small"
    with show_progress(Console(quiet=True)) as progress:
        run(config, out, jax.devices()[0], progress)
    write_report(out)
    return out


@pytest.fixture(scope="session")
def small_sweep(tmp_path_factory):
    """The folder of a finished sweep: two arms, three learning rates times two momenta, two seeds.

    At the highest rate every seed diverges.
    """
    import jax
    from rich.console import Console

    from jbn.config import config_from_dict
    from jbn.progress import show_progress
    from jbn.report import write_report
    from jbn.run import run

    config = config_from_dict(
        {
            "name": "small-sweep",
            "num_seeds": 2,
            "model": {"hidden_sizes": [8]},
            "train": {"num_epochs": 2},
            "optimizer": {"kind": "sgd"},
            "arms": {"batch_norm": {}, "no_norm": {"norm": {"kind": "none"}}},
            "sweep": {"optimizer.learning_rate": [1e30, 0.1, 0.01], "norm.momentum": [0.5, 0.9]},
        }
    )
    out = tmp_path_factory.mktemp("runs") / "small-sweep"
    with show_progress(Console(quiet=True)) as progress:
        run(config, out, jax.devices()[0], progress)
    write_report(out)
    return out
