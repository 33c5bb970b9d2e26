"""What comes of a claim: a table, a verdict, and what its picture shows."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from grids import Estimate, decades_near_the_best, estimate


class Finding(NamedTuple):
    """What was measured of a claim."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: str
    summary: str  # the main numbers, in a line
    x: str  # what the picture is over
    lines: Mapping[str, tuple[Sequence[Any], np.ndarray]]  # x values, accuracies (values, seeds)


def compare_widths(
    arms: Mapping[str, np.ndarray], values: Sequence[float]
) -> tuple[dict[str, str], str]:
    """Each arm's decades near its best; whether batch_norm has more: "clearly", "barely", "no"."""
    widths = {
        arm: estimate(lambda v: decades_near_the_best(v, values), val) for arm, val in arms.items()
    }
    batch, none = widths["batch_norm"], widths["no_norm"]
    wider = "no" if batch.value <= none.value else "clearly" if batch.low > none.high else "barely"
    return {arm: _in_words(width, 1) for arm, width in widths.items()}, wider


def in_percent(found: Estimate) -> str:
    """An accuracy, or a difference of two, in percent or percentage points."""
    return _in_words(found, 100)


def _in_words(found: Estimate, factor: float) -> str:
    value, low, high = (f"{number * factor:.1f}" for number in found)
    return f"{value} [{low}, {high}]"
