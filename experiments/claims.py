"""The article's claims, measured: each has a folder here, with its prediction and its measure.

    python experiments/claims.py [--full [DATA]] [NAME ...]
    python experiments/report.py && python experiments/write_numbers.py

Without names it makes all of them. What a claim is judged by is the sweep of its `config.toml`, or
what its `collect.py` collects; its `measure.py` makes a table, a verdict and pictures of that. What
comes of it is `results.json` in its folder, from which `report.py` draws, and `write_numbers.py`
writes tables into texts.

The claims of `BY_SPLIT` are judged by the one rule of `verdicts.py`, over several splits of the
data. What each trial came to stays in their `values.csv`. Their runs are in `experiments/runs`: if
they are stopped, the same command goes on. They want a checkout without changes. `--small` takes
two splits of them, and leaves what comes of it in `experiments/runs/small`. `--judge` computes
their results again, of the values that are there.

`--full` is for accelerators: it trains the other claims on Fashion-MNIST, or the set that is named
(mnist, cifar10), in the place of the small ones, and leaves what comes of it in `full.json`.
"""

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
from findings import Finding, as_json
from grids import run_sweep
from values import read_rows, train, write_rows

from jbn.config import DataConfig, UserError
from jbn.data import load
from jbn.environment import describe_environment, enable_compilation_cache, use_all_cores

HERE = Path(__file__).parent
CLAIMS = {
    "convergence": "fewer epochs to converge",
    "training_time": "faster training",
    "similar_progress": "every epoch makes similar progress",
    "learning_rate": "less tuning of the learning rate",
    "vanishing_gradients": "mitigates vanishing gradients",
    "exploding_gradients": "solves exploding gradients",
    "initialization": "less dependence on initialization",
    "sample_order": "less dependence on the order of samples",
    "random_orders": "two random orders come to more nearly the same",
    "layer_inputs": "stabilises the distribution of layer inputs",
    "covariate_shift": "helps because it stabilises the distribution of layer inputs",
    "gradient_shift": "a layer's gradient shifts less when the layers before it are updated",
    "smoother_loss": "lessens fluctuations of the gradient",
    "scale_and_bias": "gamma and beta matter",
    "non_linear": "gamma and beta learn non-linear transformations",
    "input_normalization": "standardized inputs are not suited for deep learning",
    "input_layer": "batch norm of the inputs is better than standardizing them",
    "cost": "input normalization is computationally heavy, batch norm mitigates it",
    "accuracy": "better accuracy",
    "momentum": "momentum matters",
    "epsilon": "epsilon matters",
    "architectures": "essential in any architecture",
    "weight_updates": "the weights of all input nodes get updates of similar size",
    # What papers claim, and the articles don't.
    "batch_size": "small batches harm batch norm",
    # Of papers, and of most other articles.
    "scale_invariance": "tunes the learning rate by itself",
    "regularization": "regularizes; no need for dropout",
    "evaluation_statistics": "recomputed statistics evaluate better than running averages",
}
BY_SPLIT = (
    "convergence",
    "training_time",
    "similar_progress",
    "learning_rate",
    "vanishing_gradients",
    "exploding_gradients",
    "initialization",
    "sample_order",
    "random_orders",
    "layer_inputs",
    "covariate_shift",
    "gradient_shift",
    "smoother_loss",
    "scale_and_bias",
    "non_linear",
    "input_normalization",
    "input_layer",
    "cost",
    "accuracy",
    "momentum",
    "epsilon",
    "architectures",
    "batch_size",
    "scale_invariance",
    "weight_updates",
    "regularization",
    "evaluation_statistics",
)


def collect(name: str, data: str | None) -> Any:
    """What a claim is judged by: of its sweep, or of its own program."""
    if (HERE / name / "collect.py").exists():
        return importlib.import_module(f"{name}.collect").collect(data)
    return run_sweep(HERE / name / "config.toml", data)


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


def make(name: str, data: str | None) -> None:
    """Measures a claim, and leaves its results file in its folder."""
    environment = environment_of(("" if data is None else f"--full {data} ") + name)
    clock = time.perf_counter()
    finding = importlib.import_module(f"{name}.measure").measure(collect(name, data))
    file = HERE / name / ("results.json" if data is None else "full.json")
    _write(file, results_of(name, finding, time.perf_counter() - clock, environment))


def make_by_split(name: str, small: bool) -> None:
    """Trains a claim's sweeps over splits, or goes on; leaves what comes of it in its folder."""
    environment = environment_of(("--small " if small else "") + name)
    runs = HERE / "runs" / "small" / name if small else HERE / "runs" / name
    rows, seconds = rows_by_split(name, runs, small)
    out = runs if small else HERE / name
    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / "values.csv", rows)
    finding = judge_by_split(name, out / "values.csv")
    _write(out / "results.json", results_of(name, finding, seconds, environment))


def rows_by_split(name: str, runs: Path, small: bool) -> tuple[list[dict[str, str]], float]:
    """A claim's rows and seconds, of its `collect.py` or of the sweeps of its configs."""
    if (HERE / name / "collect.py").exists():
        module: Any = importlib.import_module(f"{name}.collect")
        repeats = module.REPEATS[:2] if small else module.REPEATS
        found: tuple[list[dict[str, str]], float] = module.rows(repeats)
        return found
    rows, seconds = [], 0.0
    for config in sorted((HERE / name).glob("*.toml")):
        of_config, took = train(config, runs / config.stem, small)
        rows += [{"config": config.stem, **row} for row in of_config]
        seconds += took
    return rows, seconds


def judge_by_split(name: str, values: Path) -> Finding:
    """What a table of trials says of a claim."""
    return importlib.import_module(f"{name}.measure").measure(read_rows(values))


def judge_again(name: str) -> None:
    """Writes a claim's results again, of the values that are there; where they are from stays."""
    path = HERE / name / "results.json"
    before = json.loads(path.read_text())
    finding = judge_by_split(name, HERE / name / "values.csv")
    _write(path, results_of(name, finding, before["seconds"], before["environment"]))


def _write(path: Path, results: dict[str, Any]) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n")
    verdict, runs, seconds = (results[key] for key in ("verdict", "num_runs", "seconds"))
    print(f"{path.parent.name}: {verdict}, {runs} runs in {seconds:.0f} s", flush=True)


def main() -> None:
    """Makes the claims that the command line names."""
    parser = argparse.ArgumentParser(description="Measures the article's claims.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CLAIMS)}")
    parser.add_argument(
        "--full",
        choices=("fashion_mnist", "mnist", "cifar10"),
        nargs="?",
        const="fashion_mnist",
        metavar="DATA",
        help="on a large set, for accelerators: fashion_mnist (the default), mnist or cifar10",
    )
    parser.add_argument(
        "--small", action="store_true", help="two splits of the claims that are judged by splits"
    )
    parser.add_argument(
        "--judge", action="store_true", help="trains nothing: reads values.csv, where there is one"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CLAIMS):
        sys.exit(f"claims: found {', '.join(unknown)}, wanted some of {', '.join(CLAIMS)}")
    # Sweeps run in processes of their own, which need their part of an accelerator's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    use_all_cores()
    enable_compilation_cache()
    is_full = arguments.full is not None
    names = arguments.names or [name for name in CLAIMS if not (is_full and name in BY_SPLIT)]
    if arguments.judge:
        for name in names:
            if name in BY_SPLIT:
                judge_again(name)
        return
    anew = set(names) & set(BY_SPLIT)
    if anew and is_full:
        sys.exit(
            f"claims: --full: found {', '.join(sorted(anew))}, judged by splits of small "
            "sets; leave --full out for them"
        )
    if anew and not arguments.small and "-" in (environment_of("")["git_commit"] or "-"):
        sys.exit(
            f"claims: {', '.join(sorted(anew))}: wanted a checkout without changes, so that the "
            "commit says what was measured; commit first, or take --small"
        )
    try:
        of_mnist = {"accuracy", "convergence", "training_time"}
        if not is_full and not of_mnist.isdisjoint(names):
            load(DataConfig(name="mnist"))  # if it isn't there, say so now rather than later
        for name in names:
            if name in BY_SPLIT:
                make_by_split(name, arguments.small)
            else:
                make(name, arguments.full)
    except UserError as error:
        sys.exit(f"claims: {error}")
    except subprocess.CalledProcessError as error:  # jbn has said what it was
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
