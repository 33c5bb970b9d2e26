"""What each trial of a claim's sweeps came to: a table that stays beside the results.

Whoever reads a claim can compute its numbers again from `values.csv`. A row is a trial: its arm,
the values that are swept, the seeds of its split and of its training, and what it came to.
"""

import csv
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jbn.config import load_config
from jbn.store import read_summary, read_trials

SPLIT, SEED = "data.split_seed", "seed"
MEASURES = ("val_accuracy", "test_accuracy", "diverged_step")
Row = Mapping[str, str]


class Values(NamedTuple):
    """Numbers by all that was varied."""

    labels: Mapping[str, Sequence[str]]  # of each axis but the last two, as in the table
    measures: Mapping[str, np.ndarray]  # each of the shape (*labels, splits, seeds)

    def at(self, chosen: Mapping[str, str]) -> "Values":
        """The part that has these labels on these axes."""
        if unknown := chosen.keys() - self.labels.keys():
            raise KeyError(f"found {', '.join(unknown)}, wanted some of {', '.join(self.labels)}")
        index = tuple(
            labels.index(chosen[key]) if key in chosen else slice(None)
            for key, labels in self.labels.items()
        )
        left = {key: labels for key, labels in self.labels.items() if key not in chosen}
        return Values(left, {name: of[index] for name, of in self.measures.items()})


def train(config: Path, out: Path, small: bool) -> tuple[list[dict[str, str]], float]:
    """The rows of a config's sweep, and the seconds; its run goes on where it was stopped.

    Args:
        config: it sweeps over `data.split_seed`.
        out: the run's folder.
        small: whether the first two splits do.
    """
    sweep = load_config(config).sweep.axes
    less = ["--sweep", f"{SPLIT}={list(sweep[SPLIT][:2])}"] if small else []
    command = [sys.executable, "-m", "jbn", "run", str(config), "--out", str(out), *less]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    trials = read_trials(out)
    names = ["arm", *sweep, SEED, *MEASURES]
    columns = [[label(value) for value in trials[name].tolist()] for name in names]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    arms = read_summary(out)["arms"].values()
    return rows, sum(arm["train_seconds"] + arm["compile_seconds"] for arm in arms)


def label(value: Any) -> str:
    """A value as the table has it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes a table of rows with the same columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def values_of(rows: Iterable[Row], measures: Sequence[str] = MEASURES) -> Values:
    """The rows as arrays: each column that varies and is no measure is an axis.

    Raises:
        ValueError: some combination has no row, or two.
    """
    rows = _with_places_of_seeds(rows)
    found = {key: list(dict.fromkeys(row[key] for row in rows)) for key in rows[0]}
    keys = [key for key in found if key not in (*measures, SPLIT, SEED) and len(found[key]) > 1]
    labels = {key: found[key] for key in (*keys, SPLIT, SEED)}
    shape = [len(of) for of in labels.values()]
    places = [{label: n for n, label in enumerate(of)} for of in labels.values()]
    index = tuple(
        np.array([place[row[key]] for row in rows])
        for key, place in zip(labels, places, strict=True)
    )
    counts = np.zeros(shape, int)
    np.add.at(counts, index, 1)
    if (counts != 1).any():
        raise ValueError(f"found {len(rows)} rows, wanted one for each of {' × '.join(labels)}")
    arrays = {name: np.empty(shape) for name in measures}
    for name, array in arrays.items():
        array[index] = [float(row[name]) for row in rows]
    return Values({key: labels[key] for key in keys}, arrays)


def _with_places_of_seeds(rows: Iterable[Row]) -> list[Row]:
    """The rows, each with the place of its seed among those of its split, which may be others."""
    rows = list(rows)
    of_split: dict[str, dict[str, str]] = {}
    for row in rows:
        seeds = of_split.setdefault(row[SPLIT], {})
        seeds.setdefault(row[SEED], str(len(seeds)))
    return [{**row, SEED: of_split[row[SPLIT]][row[SEED]]} for row in rows]


def extent(
    rows: Sequence[Row], measures: Sequence[str] = MEASURES, evaluated: Sequence[str] = ()
) -> dict[str, Any]:
    """How much was measured, as a `Finding` has it: trainings, and splits.

    A training that is evaluated in several ways is one. Its arms are called as that of the first
    way, with "_plain" or "_recomputed" at the end, for the statistics.

    Args:
        measures: the columns of what came of a training.
        evaluated: more columns that have a part in the evaluation alone.

    >>> row = {"split": "1", "data.split_seed": "1", "val_accuracy": "0.5"}
    >>> rows = [{"arm": arm, **row} for arm in ("norm", "norm_recomputed", "none")]
    >>> extent(rows)["num_trainings"]
    2
    """
    left_out = (*measures, *evaluated)
    trainings = {
        tuple(
            _training_of(row[key]) if key == "arm" else row[key]
            for key in sorted(row.keys() - left_out)
        )
        for row in rows
    }
    of_configs: dict[str, set[str]] = {}
    for row in rows:
        of_configs.setdefault(row.get("config", ""), set()).add(row[SPLIT])
    numbers = sorted({len(splits) for splits in of_configs.values()})
    return {
        "num_trainings": len(trainings),
        "num_repeats": numbers[-1],
        "repeats": "splits" if len(numbers) == 1 else f"splits (at least {numbers[0]})",
    }


def _training_of(arm: str) -> str:
    return arm.removesuffix("_recomputed").removesuffix("_plain")


def accuracy(values: Values) -> np.ndarray:
    """Test accuracy of each split, in percent: (*labels, splits)."""
    return _by_split(values.measures["test_accuracy"])


def at_best(values: Values) -> np.ndarray:
    """Test accuracy of each split, in percent, at the point that suits the other splits."""
    return _by_split(tuned(values.measures["val_accuracy"], values.measures["test_accuracy"]))


def _by_split(shares: np.ndarray) -> np.ndarray:
    """The mean over the seeds: splits are what repeats, and a split's seeds share its data."""
    return 100 * shares.mean(-1)


def tuned(val: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values at each split's best point, which the other splits' validation data choose.

    So no accuracy of a split has a part in its own choice, and an interval over the splits has the
    choice in it. (A split's test examples may be among the other splits' validation examples.)

    Args:
        val: accuracies of the validation data: (..., splits, seeds); all axes before the splits
            are of points.
        values: of the same shape.

    Returns:
        (splits, seeds).
    """
    val, values = (of.reshape(-1, *of.shape[-2:]) for of in (val, values))
    of_split = val.mean(-1)
    best = (of_split.sum(-1, keepdims=True) - of_split).argmax(0)
    return np.take_along_axis(values, best[None, :, None], 0)[0]
