"""A run's numbers, from its folder to arrays with an axis for all that varies."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jbn import store
from jbn.config import Config, UserError, sweep_points, trial_numbers
from jbn.report.metric import Metric
from jbn.summary import summarize

# Of an arm by its name, and of what was measured by its name: arrays (seeds, epochs).
Curves = Mapping[str, Mapping[str, np.ndarray]]
_MOST_NUMBERS = 2**27  # of each curve: a GB


class Results(NamedTuple):
    """What the trials of a run came to, or have come to so far."""

    config: Config
    metric: Metric  # that they are judged by
    is_finished: bool
    summary: Mapping[str, Any]  # of a run that isn't finished, of the trials that are done
    points: Sequence[Mapping[str, Any]]  # of the sweep; one without values where nothing is swept
    curves: Mapping[str, np.ndarray]  # (arms, points, seeds, epochs); NaN where nothing is
    is_done: np.ndarray  # (arms, points, seeds)
    has_diverged: np.ndarray


class Cells(NamedTuple):
    """The validation metric at the end, over the seeds; each array of the shape (arms, ...)."""

    mean: np.ndarray
    std: np.ndarray  # NaN for a single seed
    num_diverged: np.ndarray


def load_results(run_dir: Path) -> Results:
    """The numbers in a run's folder.

    Raises:
        UserError: the folder holds no run, or a damaged one.
    """
    config, seed_counts = store.read_config(run_dir), store.read_seed_counts(run_dir)
    is_finished = store.is_finished(run_dir)  # before the tables: it may end in between
    shown = store.read_shown_metrics(run_dir)
    name = shown["shown"][0]
    metric = Metric(name, name in shown["higher_is_better"])
    store.check_rows(run_dir)
    trials, metrics = store.read_trials(run_dir), store.read_metrics(run_dir)
    try:
        if is_finished:
            summary = store.read_summary(run_dir)
        else:
            tables = trials, metrics, store.read_groups(run_dir)
            summary = summarize(config, shown, *tables, seed_counts)
        numbers = trial_numbers(config, seed_counts)
        is_done, has_diverged = np.zeros((2, numbers.size), bool)
        if trials:
            is_done[trials["trial"]] = True
            has_diverged[trials["trial"]] = trials["diverged_step"] >= 0
        is_done, has_diverged = is_done[numbers], has_diverged[numbers]
        curves = _curves(numbers, metrics)
        if curves and f"val_{metric.name}" not in curves:
            raise KeyError(f"val_{metric.name}")
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise _damaged(run_dir, repr(error)) from None
    if is_finished and not (
        is_done.all() and len(np.unique(metrics.get("trial", ()))) == is_done.size
    ):
        raise _damaged(run_dir, "it is finished, and trials are missing")
    points = sweep_points(config.sweep)
    return Results(config, metric, is_finished, summary, points, curves, is_done, has_diverged)


def load_curves(run_dir: Path) -> Curves:
    """What each arm's trials came to after each epoch, at the arm's best point.

    Raises:
        UserError: the folder holds no run, or a damaged one.
    """
    return best_curves(load_results(run_dir))


def best_curves(results: Results) -> Curves:
    """Each arm's curves at the point that the summary names as its best, up to its last epoch.

    Of a run that isn't finished, those of an arm's first point until a trial of the arm is done;
    an arm that hasn't begun has none.
    """
    best = {}
    has_begun = _num_epochs(results) > 0
    for number, arm in enumerate(results.config.arms):
        if not has_begun[number].any():
            continue
        if arm in results.summary["arms"]:
            point = results.points.index(results.summary["arms"][arm]["point"])
        else:
            point = int(has_begun[number].any(-1).argmax())
        num_epochs = _num_epochs(results)[number, point].max()
        best[arm] = {name: c[number, point, :, :num_epochs] for name, c in results.curves.items()}
    return best


def metric_at_end(results: Results) -> Cells:
    """The validation metric at the end of the trials, of the shape (arms, points)."""
    last = _num_epochs(results)[..., None] - 1
    at_end = np.take_along_axis(results.curves[f"val_{results.metric.name}"], last, -1)[..., 0]
    mean, std = mean_and_std(np.moveaxis(at_end, -1, 0))
    return Cells(mean, std, results.has_diverged.sum(-1))


def mean_and_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the first axis, of the finite values: NaN where there is none, or only one for `std`."""
    is_finite = np.isfinite(values)
    count = is_finite.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(is_finite, values, 0).sum(0) / count
        squares = np.where(is_finite, values - mean, 0) ** 2
        std = np.sqrt(squares.sum(0) / np.where(count > 1, count - 1, np.nan))
    return mean, std


def _curves(numbers: np.ndarray, metrics: store.Columns) -> dict[str, np.ndarray]:
    """Every column of the metrics as an array (arms, points, seeds, epochs)."""
    if not metrics or not len(metrics["epoch"]):
        return {}
    shape = numbers.size, int(metrics["epoch"].max(initial=0))
    if math.prod(shape) > _MOST_NUMBERS:
        raise ValueError(f"{shape[0]} trials of {shape[1]} epochs")
    names = list(metrics)
    curves = {}
    for name in names[names.index("epoch") + 1 :]:
        curve = np.full(shape, np.nan)
        curve[metrics["trial"], metrics["epoch"] - 1] = metrics[name]
        curves[name] = curve[numbers]
    return curves


def _num_epochs(results: Results) -> np.ndarray:
    """Of each trial; whether an epoch diverged is a number even where its loss isn't one."""
    if not results.curves:
        return np.zeros(results.is_done.shape, int)
    return np.isfinite(results.curves["diverged_step"]).sum(-1)


def _damaged(run_dir: Path, what: str) -> UserError:
    return UserError(f"{run_dir}: its files are damaged: {what}; run it again")
