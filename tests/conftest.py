"""Several virtual devices, Keras on JAX, and how programs are compiled: chosen before either.

Compiling is most of what the suite costs. So programs are compiled fast rather than well, and kept
in `.compiled` for the next run and for the other workers. A test marked `optimized` is about what a
user's program does: its accuracy, its bytes, its bits, its traces. It runs where
`JBN_TEST_OPTIMIZED` is set: then programs have all optimizations, and none is kept. `make test`
runs these tests after the others.

A test marked `slow` takes minutes. It runs where `JBN_TEST_SLOW` is set: `make slow`.
"""

import gc
import importlib.metadata
import os
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "4"
os.environ["KERAS_BACKEND"] = "jax"
os.environ["CI"] = "true"  # plain progress lines, whoever runs the tests
if "JBN_TEST_OPTIMIZED" in os.environ:
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
else:
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".compiled")
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        # XLA's older emitter compiles in less than half the time, and in a third less where a
        # program's code isn't split among threads. Later versions have neither.
        os.environ["XLA_FLAGS"] = (
            "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        )

import hypothesis
import jax
import pytest

hypothesis.settings.register_profile(
    "jbn", deadline=None, derandomize=True, max_examples=25, print_blob=True
)
hypothesis.settings.load_profile("jbn")

# Tracing makes many objects that live long. The collector would look at them again and again, for a
# fifth of the time.
gc.set_threshold(200_000, 20, 20)


def pytest_collection_modifyitems(config, items):
    """Leaves out the tests that are marked, unless the variable of their mark is set."""
    variables = {"optimized": "JBN_TEST_OPTIMIZED", "slow": "JBN_TEST_SLOW"}
    unset = [mark for mark, variable in variables.items() if variable not in os.environ]
    left_out = [item for item in items if any(map(item.get_closest_marker, unset))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish():
    gc.freeze()


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
    from jbn.config import config_from_dict
    from jbn.report.page import write_report
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
    run(config, out, device=jax.devices()[0])
    write_report(out)
    return out


@pytest.fixture(scope="session")
def small_sweep(tmp_path_factory):
    """The folder of a finished sweep: two arms, three learning rates times two momenta, two seeds.

    At the highest rate every seed diverges.
    """
    from jbn.config import config_from_dict
    from jbn.report.page import write_report
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
    run(config, out, device=jax.devices()[0])
    write_report(out)
    return out
