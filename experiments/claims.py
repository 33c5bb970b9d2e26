"""The article's claims, measured: each has a folder here, with its prediction and its measure.

    python experiments/claims.py [--full [DATA]] [NAME ...]
    python experiments/report.py && python experiments/write_numbers.py

Without names it makes all of them. What a claim is judged by is the sweep of its `config.toml`, or
what its `collect.py` collects; its `measure.py` makes a table, a verdict and pictures of that. What
comes of it is `results.json` in its folder, from which `report.py` draws, and `write_numbers.py`
writes tables into texts.

`--full` is for accelerators: it trains on Fashion-MNIST, or the set that is named (mnist, cifar10),
in the place of the small ones, and leaves what comes of it in `full.json`.
"""

import argparse
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

from jbn.config import DataConfig, UserError
from jbn.data import load
from jbn.environment import describe_environment, enable_compilation_cache, use_all_cores

HERE = Path(__file__).parent
CLAIMS = {
    "convergence": "fewer epochs to converge; faster training",
    "learning_rate": "no careful tuning of the learning rate",
    "vanishing_gradients": "mitigates vanishing gradients",
    "exploding_gradients": "solves exploding gradients",
    "initialization": "less dependence on initialization",
    "sample_order": "less dependence on the order of samples",
    "layer_inputs": "stabilises the distribution of layer inputs",
    "scale_and_bias": "gamma and beta matter, and learn non-linear transformations",
    "input_normalization": "standardized inputs are not suited for deep learning",
    "cost": "input normalization is computationally heavy, batch norm mitigates it",
    "accuracy": "better accuracy",
    "momentum_and_epsilon": "momentum and epsilon matter",
    "batch_size": "essential in any architecture",
    "weight_updates": "the weights of all input nodes get updates of similar size",
}


def collect(name: str, data: str | None) -> Any:
    """What a claim is judged by: of its sweep, or of its own program."""
    if (HERE / name / "collect.py").exists():
        return importlib.import_module(f"{name}.collect").collect(data)
    return run_sweep(HERE / name / "config.toml", data)


def results_of(name: str, finding: Finding, seconds: float, data: str | None) -> dict[str, Any]:
    """A claim's results file: what was found, and where."""
    environment = describe_environment(jax.devices()[0])
    full = "" if data is None else f"--full {data} "
    environment["command"] = f"python experiments/claims.py {full}{name}"
    panels = [as_json(panel) for panel in finding.panels]
    found = finding._asdict() | {"panels": panels}
    return {"environment": environment, "claim": CLAIMS[name], "seconds": seconds, **found}


def make(name: str, data: str | None) -> None:
    """Measures a claim, and leaves its results file in its folder."""
    clock = time.perf_counter()
    finding = importlib.import_module(f"{name}.measure").measure(collect(name, data))
    seconds = time.perf_counter() - clock
    results = results_of(name, finding, seconds, data)
    file = "results.json" if data is None else "full.json"
    (HERE / name / file).write_text(json.dumps(results, indent=1) + "\n")
    print(f"{name}: {finding.verdict}, {finding.num_runs} runs in {seconds:.0f} s", flush=True)


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
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CLAIMS):
        sys.exit(f"claims: found {', '.join(unknown)}, wanted some of {', '.join(CLAIMS)}")
    # Sweeps run in processes of their own, which need their part of an accelerator's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    use_all_cores()
    enable_compilation_cache()
    names = arguments.names or list(CLAIMS)
    try:
        if arguments.full is None and not {"accuracy", "convergence"}.isdisjoint(names):
            load(DataConfig(name="mnist"))  # if it isn't there, say so now rather than later
        for name in names:
            make(name, arguments.full)
    except UserError as error:
        sys.exit(f"claims: {error}")
    except subprocess.CalledProcessError as error:  # jbn has said what it was
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
