"""The claims, measured: each has a folder here, with its prediction and its measure.

    python experiments/claims.py [--small | --large | --judge] [NAME ...]
    python experiments/report.py && python experiments/write_numbers.py

Without names it makes all of them. What a claim is judged by is the sweeps of its configs, or what
its `collect.py` collects: rows of a table, over several splits of the data. They stay in its
`values.csv`. Its `measure.py` makes comparisons, a table and pictures of them, and the rule of
`verdicts.py` a verdict. What comes of that is `results.json`, from which `report.py` draws, and
`write_numbers.py` writes tables into texts.

The sweeps' runs are in `experiments/runs`: if they are stopped, the same command goes on. A
measurement wants a checkout without changes, so that its commit says what was measured.

`--small` takes two splits, or processes, and leaves what comes of it in `experiments/runs/small`.
`--large` takes the configs in the claims' folders `large`, which want an accelerator, and leaves it
in `experiments/runs/large`. `--judge` computes the results again, of the values that are there.
"""

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
from findings import Finding, as_json
from values import read_rows, train, write_rows

from jbn.config import DataConfig, UserError
from jbn.data import load
from jbn.environment import describe_environment, enable_compilation_cache, use_all_cores

HERE = Path(__file__).parent
RUNS = HERE / "runs"
# What articles say, in the order of the articles; and what papers say, and the articles don't.
CLAIMS = {
    "convergence": "fewer epochs to converge",
    "training_time": "faster training",
    "similar_progress": "every epoch makes similar progress",
    "learning_rate": "less tuning of the learning rate",
    "vanishing_gradients": "mitigates vanishing gradients",
    "exploding_gradients": "solves exploding gradients",
    "untrained_gradients": "keeps gradients from exploding in an untrained network",
    "initialization": "less dependence on initialization",
    "sample_order": "less dependence on the order of samples",
    "random_orders": "two random orders come to more nearly the same",
    "weight_updates": "the weights of all input nodes get updates of similar size",
    "layer_inputs": "stabilises the distribution of layer inputs",
    "smoother_loss": "lessens fluctuations of the gradient",
    "scale_and_bias": "gamma and beta matter",
    "residual_scale": "gamma matters in a residual network",
    "non_linear": "gamma and beta learn non-linear transformations",
    "input_normalization": "standardized inputs are not suited for deep learning",
    "input_layer": "batch norm of the inputs is better than standardizing them",
    "cost": "input normalization is computationally heavy, batch norm mitigates it",
    "momentum": "momentum matters",
    "epsilon": "epsilon matters",
    "accuracy": "better accuracy",
    "architectures": "essential in any architecture",
    "covariate_shift": "helps because it stabilises the distribution of layer inputs",
    "gradient_shift": "a layer's gradient shifts less as the layers before it are updated",
    "scale_invariance": "tunes the learning rate by itself",
    "step_size_by_depth": "allows larger steps in deep networks",
    "regularization": "regularizes; no need for dropout",
    "batch_size": "small batches harm batch norm",
    "evaluation_statistics": "recomputed statistics evaluate better than running averages",
    "recipes": "recipes improve batch norm",
}
# What isn't within scikit-learn, so that it must have been downloaded.
DATA = {
    "convergence": ("mnist",),
    "training_time": ("mnist",),
    "accuracy": ("mnist", "fashion_mnist"),
}


def results_of(
    name: str, finding: Finding, seconds: float, environment: dict[str, Any]
) -> dict[str, Any]:
    """A claim's results file: what was found, and where."""
    panels = [as_json(panel) for panel in finding.panels]
    judged = [of._asdict() for of in finding.judged]
    found = finding._asdict() | {"panels": panels, "judged": judged}
    return {"environment": environment, "claim": CLAIMS[name], "seconds": seconds, **found}


def environment_of(option: str) -> dict[str, Any]:
    """Where a claim is measured, and by which command: its options, and its name."""
    return _here() | {"command": f"python experiments/claims.py {option}"}


@functools.cache
def _here() -> dict[str, Any]:
    """Asked once: the results that are written change the checkout."""
    return describe_environment(jax.devices()[0])


def make(name: str, size: str) -> None:
    """Measures a claim, or goes on with it; leaves what comes of it in a folder.

    Args:
        name: the claim's.
        size: "", "small" or "large".
    """
    environment = environment_of(f"--{size} {name}" if size else name)
    runs = RUNS / size / name
    rows, seconds = rows_of(name, runs, size)
    out = runs if size else HERE / name
    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / "values.csv", rows)
    finding = judge(name, out / "values.csv")
    write_results(out / "results.json", results_of(name, finding, seconds, environment))


def rows_of(name: str, runs: Path, size: str) -> tuple[list[dict[str, str]], float]:
    """A claim's rows and seconds, of its `collect.py` or of the sweeps of its configs."""
    folder = HERE / name / "large" if size == "large" else HERE / name
    if (folder / "collect.py").exists():
        module: Any = importlib.import_module(f"{name}.collect")
        repeats = module.REPEATS[:2] if size == "small" else module.REPEATS
        found: tuple[list[dict[str, str]], float] = module.rows(repeats)
        return found
    rows, seconds = [], 0.0
    for config in sorted(folder.glob("*.toml")):
        of_config, took = train(config, runs / config.stem, size == "small")
        rows += [{"config": config.stem, **row} for row in of_config]
        seconds += took
    return rows, seconds


def judge(name: str, values: Path) -> Finding:
    """What a table of rows says of a claim."""
    return importlib.import_module(f"{name}.measure").measure(read_rows(values))


def judge_again(name: str) -> None:
    """Writes a claim's results again, of the values that are there; where they are from stays."""
    path = HERE / name / "results.json"
    before = json.loads(path.read_text())
    finding = judge(name, HERE / name / "values.csv")
    write_results(path, results_of(name, finding, before["seconds"], before["environment"]))


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Writes a results file, and says in a line what came of the claim."""
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{path.parent.name}: {results['verdict']}, {results['seconds']:.0f} s", flush=True)


def main() -> None:
    """Makes the claims that the command line names."""
    arguments = _arguments()
    if unknown := set(arguments.names) - set(CLAIMS):
        sys.exit(f"claims: found {', '.join(unknown)}, wanted some of {', '.join(CLAIMS)}")
    # Sweeps run in processes of their own, which need their part of an accelerator's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    use_all_cores()
    enable_compilation_cache()
    names = arguments.names or list(CLAIMS)
    if arguments.judge:
        for name in names:
            judge_again(name)
        return
    if arguments.size == "large":
        names = _with_large_configs(arguments.names)
    if not arguments.size and "-" in (environment_of("")["git_commit"] or "-"):
        sys.exit(
            "claims: found changes, wanted a checkout without any, so that the commit says what "
            "was measured; commit first, or take --small"
        )
    try:
        if arguments.size != "large":  # whose configs name other data
            # If data aren't there, say so now rather than later.
            for data in {data for name in names for data in DATA.get(name, ())}:
                load(DataConfig(name=data))
        for name in names:
            make(name, arguments.size)
    except UserError as error:
        sys.exit(f"claims: {error}")
    except subprocess.CalledProcessError as error:  # jbn has said what it was
        sys.exit(error.returncode)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures what is claimed of normalization.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CLAIMS)}")
    which = parser.add_mutually_exclusive_group()
    for size, words in (
        ("small", "two splits, or processes"),
        ("large", "the configs in the folders named large, for accelerators"),
    ):
        which.add_argument(
            f"--{size}", dest="size", action="store_const", const=size, default="", help=words
        )
    which.add_argument("--judge", action="store_true", help="trains nothing: reads values.csv")
    return parser.parse_args()


def _with_large_configs(names: list[str]) -> list[str]:
    """The named claims, or all, that have large configs."""
    have = [name for name in CLAIMS if (HERE / name / "large").is_dir()]
    if without := [name for name in names if name not in have]:
        sys.exit(f"claims: --large: found {', '.join(without)}, wanted some of {', '.join(have)}")
    return names or have


if __name__ == "__main__":
    main()
