"""A sweep's accuracies as arrays with an axis for each swept key, and intervals of them."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from verdicts import Estimate

from jbn.config import load_config
from jbn.store import read_config, read_trials

NUM_RESAMPLES = 2000  # of a bootstrap


class Grid(NamedTuple):
    """Arrays of the shape (arms, values of the first axis, of the next, ..., seeds)."""

    arms: Sequence[str]
    axes: Mapping[str, Sequence[Any]]  # swept key -> its values
    val: np.ndarray  # accuracies at the end
    test: np.ndarray
    diverged: np.ndarray


def run_sweep(config: Path, data: str | None = None) -> Grid:
    """Runs a config's sweep by the `jbn` command; on another data set, if one is named."""
    options = []
    if data is not None:
        is_swept = "data.name" in load_config(config).sweep.axes
        options = (
            ["--sweep", f'data.name=["{data}"]'] if is_swept else ["--set", f"data.name={data}"]
        )
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "run")
        command = [sys.executable, "-m", "jbn", "run", config, "--out", out, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return load_grid(out)


def load_grid(run_dir: Path) -> Grid:
    """The trials of a finished sweep."""
    config, trials = read_config(run_dir), read_trials(run_dir)
    sizes = [len(values) for values in config.sweep.axes.values()]
    shape = (len(config.arms), *sizes, config.num_seeds)  # in which trials are numbered

    def column(name: str) -> np.ndarray:
        values = np.empty(shape)
        values.flat[trials["trial"]] = trials[name]
        return values

    val, test = column("val_accuracy"), column("test_accuracy")
    return Grid(list(config.arms), config.sweep.axes, val, test, column("diverged_step") >= 0)


def tuned(grid: Grid, key: str = "optimizer.learning_rate") -> np.ndarray:
    """Test accuracies, at the value of the key with the highest mean validation accuracy.

    Chosen for each arm and each value of the other axes by itself.
    """
    return at_best(grid.val, grid.test, 1 + list(grid.axes).index(key))


def at_best(val: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    """The values where the mean of `val` over seeds, the last axis, is highest along an axis."""
    best = val.mean(-1, keepdims=True).argmax(axis, keepdims=True)
    return np.take_along_axis(values, best, axis).squeeze(axis)


def estimate(statistic: Callable[[np.ndarray], float], *values: np.ndarray) -> Estimate:
    """The statistic of arrays (..., seeds), and its interval; the seeds are drawn together."""

    def of(seeds: np.ndarray) -> float:
        return statistic(*(v[..., seeds.astype(int)] for v in values))

    everything = np.arange(values[0].shape[-1])
    found = stats.bootstrap(
        (everything,),
        of,
        vectorized=False,
        n_resamples=NUM_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = found.confidence_interval
    return Estimate(float(of(everything)), float(low), float(high))


def mean_of(values: np.ndarray) -> Estimate:
    """The mean of an array (..., seeds); of pairs, that of their difference."""
    return estimate(lambda v: v.mean(), values)


def median_of(values: np.ndarray) -> Estimate:
    """The median of an array (seeds)."""
    return estimate(lambda v: float(np.median(v)), values)
