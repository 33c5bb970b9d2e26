"""What the trials of a run came to: of each arm, at its best point."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jbn.config import Config, sweep_points, trial_numbers
from jbn.store import Columns

# Of the accuracy, unless `report.target` says otherwise: it suits the data sets of the introductory
# articles, and is said beside the numbers wherever they are shown.
_TARGET_ACCURACY = 0.95


def summarize(
    config: Config,
    shown: Mapping[str, list[str]],
    trials: Columns,
    metrics: Columns,
    groups: Columns,
    seed_counts: Sequence[int] = (),
) -> dict[str, Any]:
    """Each arm, at the point of the sweep whose trials have the best validation metric at the end.

    The test split has no say in which point that is. Where nothing is swept there is one point.

    Args:
        config: of the run.
        shown: the metrics that are shown, the one to judge by first; and those of which more is
            better.
        trials, metrics, groups: its tables. Where the run isn't finished, an arm without a trial
            that is done is left out, and the others are what their trials came to so far.
        seed_counts: how many seeds the run had before each of its extensions.
    """
    points = sweep_points(config.sweep)
    metric = shown["shown"][0]
    rises = metric in shown["higher_is_better"]
    target = _target(config, metric)
    numbers = trial_numbers(config, seed_counts)
    arms = {}
    for arm, of_points, best in zip(
        config.arms, numbers, _best_points(numbers, trials, metric, rises), strict=True
    ):
        if best is None:
            continue
        is_mine = trials["arm"] == arm
        rows = np.flatnonzero(np.isin(trials["trial"], of_points[best]))
        rows = rows[trials["trial"][rows].argsort()]
        reached = [
            _first_epoch(metrics, trial, metric, rises, target) for trial in trials["trial"][rows]
        ]
        arms[arm] = {
            "num_parameters": int(trials["num_parameters"][rows[0]]),
            "point": points[best],
            "num_points": len(points),
            "num_diverged": int((trials["diverged_step"][is_mine] >= 0).sum()),
            "num_trials": int(is_mine.sum()),
            **{
                name: _spread(column[rows])
                for name, column in trials.items()
                if name.startswith(("val_", "test_"))
            },
            "epochs_to_target": {
                "median": finite(np.median([math.inf if e is None else e for e in reached])),
                "num_reached": sum(epoch is not None for epoch in reached),
                "per_seed": reached,
            },
            "compile_seconds": float(groups["compile_seconds"][groups["arm"] == arm].sum()),
            "train_seconds": float(trials["seconds"][is_mine].sum()),
        }
    return {
        "name": config.name,
        "num_seeds": config.num_seeds,
        **shown,
        "target": target,
        "arms": arms,
    }


def finite(value: Any) -> float | None:
    """A float for JSON, which has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else None


def _target(config: Config, metric: str) -> float | None:
    """The value of the metric whose first epoch is reported; None if nobody says one."""
    if config.report.target is None and metric == "accuracy":
        return _TARGET_ACCURACY
    return config.report.target


def _best_points(
    numbers: np.ndarray, trials: Columns, metric: str, rises: bool
) -> list[int | None]:
    """Of each arm, the point with the best mean over its trials; None without any.

    A point with a trial whose metric isn't finite is worse than all others.
    """
    if not trials:
        return [None] * len(numbers)
    total, count = np.zeros(numbers.size), np.zeros(numbers.size)
    worth = trials[f"val_{metric}"] * (1 if rises else -1)
    total[trials["trial"]] = np.where(np.isfinite(worth), worth, -np.inf)
    count[trials["trial"]] = 1
    total, count = total[numbers].sum(-1), count[numbers].sum(-1)
    mean = np.where(count, total / np.maximum(count, 1), -np.inf)
    return [
        int(of_arm.argmax()) if any_done else None
        for of_arm, any_done in zip(mean, count.any(-1), strict=True)
    ]


def _first_epoch(
    metrics: Columns, trial: int, metric: str, rises: bool, target: float | None
) -> int | None:
    """The first epoch of the trial at the target; None if there was none."""
    if target is None:
        return None
    values = metrics[f"val_{metric}"][metrics["trial"] == trial]
    reached = values >= target if rises else values <= target
    return int(reached.argmax()) + 1 if reached.any() else None


def _spread(per_seed: np.ndarray) -> dict[str, Any]:
    """Mean, sample standard deviation, 95% bootstrap interval of the mean, and all values.

    Deviation and interval are None for a single seed, and where a value isn't finite.
    """
    several = len(per_seed) > 1 and bool(np.isfinite(per_seed).all())
    return {
        "mean": finite(np.mean(per_seed)),
        "std": finite(np.std(per_seed, ddof=1)) if several else None,
        "interval": _bootstrap_interval(per_seed) if several else None,
        "per_seed": [finite(value) for value in per_seed],
    }


def _bootstrap_interval(values: np.ndarray) -> list[float]:
    """The 95% percentile interval of the mean of 2000 resamples, the same at every call."""
    shape = (2000, len(values))
    drawn = np.random.default_rng(0).integers(len(values), size=shape)
    return np.quantile(values[drawn].mean(-1), [0.025, 0.975]).tolist()
