"""The axes of a sweep as figures need them: in words, in order, and all but some at their best."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jbn.config import SweepConfig
from jbn.report.metric import Metric
from jbn.report.results import Cells


class Axis(NamedTuple):
    """An axis of a sweep; numbers ascend, other values stay as they were given."""

    number: int  # of the sweep's axes
    name: str  # in words
    values: Sequence[Any]
    order: np.ndarray  # the place of each of the values among those that were given
    is_numeric: bool
    is_log: bool  # the values are spaced like powers


def axes_of(sweep: SweepConfig) -> list[Axis]:
    """The axes of the sweep, in its order."""
    return [_axis(number, key, values) for number, (key, values) in enumerate(sweep.axes.items())]


def main_axis(axes: Sequence[Axis]) -> Axis:
    """Of the numeric axes the one with the most values; where none is numeric, of all."""
    return max(axes, key=lambda axis: (axis.is_numeric, len(axis.values)))


def in_words(key: str) -> str:
    """What a dotted key is called, with its section where that is one word.

    >>> in_words("optimizer.learning_rate"), in_words("norm.kind"), in_words("train.num_epochs")
    ('learning rate', 'norm kind', 'train epochs')
    """
    *sections, name = key.split(".")
    name = name.removeprefix("num_")
    words = [name] if "_" in name else [*sections[-1:], name]
    return " ".join(words).replace("_", " ")


def at_best(cells: Cells, axes: Sequence[Axis], shown: Sequence[Axis], metric: Metric) -> Cells:
    """Of a grid's points, for all values of the axes that are shown, the best over the others.

    Returns:
        Arrays of the shape (arms, values of the first axis shown, values of the next, ...).
    """
    others = [axis for axis in axes if axis.number not in [kept.number for kept in shown]]

    def split(values: np.ndarray) -> np.ndarray:
        grid = values.reshape(-1, *(len(axis.values) for axis in axes))
        for axis in shown:
            grid = grid.take(axis.order, axis.number + 1)
        grid = grid.transpose(0, *(axis.number + 1 for axis in (*shown, *others)))
        return grid.reshape(*grid.shape[: 1 + len(shown)], -1)

    best = metric.best(split(cells.mean), -1)[..., None]
    return Cells(*(np.take_along_axis(split(values), best, -1)[..., 0] for values in cells))


def _axis(number: int, key: str, values: Sequence[Any]) -> Axis:
    is_numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    order = np.argsort(values, kind="stable") if is_numeric else np.arange(len(values))
    ordered = [values[place] for place in order]
    return Axis(number, in_words(key), ordered, order, is_numeric, is_numeric and _is_log(ordered))


def _is_log(values: Sequence[float]) -> bool:
    """Whether ascending values are positive, span a decade, and are more even as logarithms."""
    if values[0] <= 0 or values[-1] < 10 * values[0]:
        return False
    gaps = (np.diff(values), np.diff(np.log(values)))
    linear, log = (np.std(gap) / np.mean(gap) for gap in gaps)
    return bool(log <= linear)
