"""A sweep's accuracies as arrays with an axis for each swept key, and intervals of them."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jbn.checkpoint import read_config


class Grid(NamedTuple):
    """Accuracies of the shape (arms, values of the first axis, of the next, ..., seeds)."""

    arms: Sequence[str]
    axes: Mapping[str, Sequence[Any]]  # swept key -> its values
    val: np.ndarray
    test: np.ndarray


class Estimate(NamedTuple):
    """A number, and its 95% bootstrap interval over the seeds."""

    value: float
    low: float
    high: float


def load_grid(run_dir: Path) -> Grid:
    """The accuracies, at the end of the trials, of a finished sweep."""
    config = read_config(run_dir)
    with (run_dir / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sizes = [len(values) for values in config.sweep.axes.values()]
    shape = (len(config.arms), *sizes, config.num_seeds)  # in which trials are numbered
    val, test = (
        np.array([float(row[f"{split}_accuracy"]) for row in rows]).reshape(shape)
        for split in ("val", "test")
    )
    return Grid(list(config.arms), config.sweep.axes, val, test)


def tuned(grid: Grid, key: str = "optimizer.learning_rate") -> np.ndarray:
    """Test accuracies, at the value of the key with the highest mean validation accuracy.

    Chosen for each arm and each value of the other axes by itself.
    """
    axis = 1 + list(grid.axes).index(key)
    best = grid.val.mean(-1, keepdims=True).argmax(axis, keepdims=True)
    return np.take_along_axis(grid.test, best, axis).squeeze(axis)


def estimate(statistic: Callable[[np.ndarray], float], *values: np.ndarray) -> Estimate:
    """The statistic of arrays (..., seeds), and its interval; the seeds are drawn together."""

    def of(seeds: np.ndarray) -> float:
        return statistic(*(v[..., seeds.astype(int)] for v in values))

    everything = np.arange(values[0].shape[-1])
    found = stats.bootstrap(
        (everything,),
        of,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = found.confidence_interval
    return Estimate(float(of(everything)), float(low), float(high))


def decades_near_the_best(val: np.ndarray, values: Sequence[float]) -> float:
    """How many decades of the values have a mean accuracy within 0.01 of the best.

    Args:
        val: of the shape (values, seeds).
        values: of one ratio from each to the next, which each stands for.
    """
    mean = val.mean(-1)
    step = np.log10(values[1] / values[0])
    return float((mean >= mean.max() - 0.01).sum() * step)
