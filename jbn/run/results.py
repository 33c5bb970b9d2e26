"""What all trials came to: arrays, a table, and a summary of each arm at its best point."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from jbn.config import Config, Program, Trial

TARGET_ACCURACY = 0.95  # of the validation split; the summary says in which epoch it was reached
CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "gradient_norm")
ENDS = ("test_loss", "test_accuracy", "diverged_step")
SECONDS = ("compile_seconds", "train_seconds")


def save_group(folder: Path, trials: Sequence[Trial], results: Mapping[str, Any]) -> None:
    """Writes a group's results, whole or not at all."""
    numbers = np.array([trial.number for trial in trials])
    path = folder / f"{numbers[0]}.npz"
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        np.savez(file, trial=numbers, **results)
    unfinished.replace(path)


def load_groups(folder: Path) -> list[dict[str, np.ndarray]]:
    """The results of all groups that were saved."""
    groups = []
    for path in sorted(folder.glob("*.npz"), key=lambda path: int(path.stem)):
        with np.load(path, allow_pickle=False) as file:
            groups.append(dict(file))
    return groups


def merge_groups(groups: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The results of all trials, in their order: curves of the shape (trials, epochs).

    The curves of trials that had fewer epochs than others end in NaN. The seconds are each group's,
    shared out among its trials.
    """
    num_epochs = max(group["train_loss"].shape[1] for group in groups)
    merged = {}
    for name in CURVES:
        rows = [
            np.pad(
                group[name],
                [(0, 0), (0, num_epochs - group[name].shape[1])],
                constant_values=np.nan,
            )
            for group in groups
        ]
        merged[name] = np.concatenate(rows)
    for name in ENDS:
        merged[name] = np.concatenate([group[name] for group in groups])
    for name in SECONDS:
        merged[name] = np.concatenate(
            [np.full(len(group["trial"]), group[name] / len(group["trial"])) for group in groups]
        )
    order = np.concatenate([group["trial"] for group in groups]).argsort()
    return {name: values[order] for name, values in merged.items()}


def write_trials(
    out: Path, config: Config, programs: Sequence[Program], results: Mapping[str, Any]
) -> None:
    """`trials.npz`, all results; and `trials.csv`, a line for each trial with what it ended at.

    In the table the losses and accuracies are those after the trial's last epoch.
    """
    np.savez_compressed(out / "trials.npz", **results)
    trials = in_order(programs)
    keys = list(config.sweep.axes)
    ends = {name: _at_end(results[name], trials) for name in ("val_loss", "val_accuracy")}
    ends |= {name: results[name] for name in ENDS}
    with (out / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", "arm", *keys, "seed", *ends])
        for trial in trials:
            values = [trial.point[key] for key in keys]
            numbers = [f"{end[trial.number]:.9g}" for end in ends.values()]
            writer.writerow([trial.number, trial.arm, *values, trial.seed, *numbers])


def summarize(
    config: Config,
    programs: Sequence[Program],
    num_parameters: Sequence[int],
    results: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Each arm, at the point of the sweep with the highest mean validation accuracy at the end.

    The test split has no say in which point that is. Where nothing is swept there is one point.
    `num_parameters` is each program's.
    """
    count_of = {
        trial.number: count
        for program, count in zip(programs, num_parameters, strict=True)
        for trial in program.trials
    }
    at_end = _at_end(results["val_accuracy"], in_order(programs))
    arms = {}
    for arm in config.arms:
        points = points_of(arm, programs)
        best = max(points, key=lambda trials: np.mean([at_end[t.number] for t in trials]))
        rows = [trial.number for trial in best]
        all_rows = [trial.number for trials in points for trial in trials]
        reached = [_first_epoch(curve) for curve in results["val_accuracy"][rows]]
        arms[arm] = {
            "num_parameters": count_of[rows[0]],
            "point": dict(best[0].point),
            "num_points": len(points),
            "num_diverged": int((results["diverged_step"][all_rows] >= 0).sum()),
            "num_trials": len(all_rows),
            "val_accuracy": _spread(at_end[rows]),
            "test_accuracy": _spread(results["test_accuracy"][rows]),
            "test_loss": _spread(results["test_loss"][rows]),
            "target_accuracy": TARGET_ACCURACY,
            "epochs_to_target": {
                "median": finite(np.median([math.inf if e is None else e for e in reached])),
                "num_reached": sum(epoch is not None for epoch in reached),
                "per_seed": reached,
            },
            **{name: float(results[name][all_rows].sum()) for name in SECONDS},
        }
    return {"name": config.name, "num_seeds": config.num_seeds, "arms": arms}


def in_order(programs: Sequence[Program]) -> list[Trial]:
    """All trials by their number."""
    return sorted((t for program in programs for t in program.trials), key=lambda t: t.number)


def points_of(arm: str, programs: Sequence[Program]) -> list[list[Trial]]:
    """The trials of an arm, those of one point of the sweep together, in their order."""
    points: dict[str, list[Trial]] = {}
    for trial in in_order(programs):
        if trial.arm == arm:
            points.setdefault(repr(trial.point), []).append(trial)
    return list(points.values())


def _at_end(curves: np.ndarray, trials: Sequence[Trial]) -> np.ndarray:
    """The value of each trial's curve after its last epoch."""
    num_epochs = np.array([trial.config.train.num_epochs for trial in trials])
    return curves[np.arange(len(trials)), num_epochs - 1]


def _first_epoch(val_accuracy: np.ndarray) -> int | None:
    """The first epoch at the target accuracy; None if there was none."""
    reached = val_accuracy >= TARGET_ACCURACY
    return int(reached.argmax()) + 1 if reached.any() else None


def _spread(per_seed: np.ndarray) -> dict[str, Any]:
    """Mean, sample standard deviation, 95% bootstrap interval of the mean, and all values.

    Deviation and interval are None for a single seed, and where a value isn't finite.
    """
    several = len(per_seed) > 1 and bool(np.isfinite(per_seed).all())
    interval = None
    if several:
        found = stats.bootstrap(
            (per_seed,),
            np.mean,
            n_resamples=2000,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        interval = [float(found.low), float(found.high)]
    return {
        "mean": finite(np.mean(per_seed)),
        "std": finite(np.std(per_seed, ddof=1)) if several else None,
        "interval": interval,
        "per_seed": [finite(value) for value in per_seed],
    }


def finite(value: Any) -> float | None:
    """A float for JSON, which has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else None
