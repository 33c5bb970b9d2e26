"""What comes of a claim: a table, a verdict, and what its pictures show."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from verdicts import HOLDS, PARTLY, Estimate, Judged, in_words

NOT_HERE = "does not hold here"


class Panel(NamedTuple):
    """A picture: lines over values, with their spread over the seeds."""

    title: str
    x: str  # what it is over, with its unit
    y: str
    lines: Mapping[
        str, tuple[Sequence[Any], np.ndarray]
    ]  # x values, y of the shape (values, seeds)
    log_x: bool = False
    log_y: bool = False
    of_medians: bool = False  # as times are judged; else means


class Finding(NamedTuple):
    """What was measured of a claim."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: str
    summary: str  # the main numbers, in a line
    panels: Sequence[Panel]
    headline: tuple[str, str]  # lines of the first panel: with batch norm, and without
    num_runs: int  # trained, or timed
    num_seeds: int
    repeats: str = "seeds"  # what there are `num_seeds` of
    judged: Sequence[Judged] = ()  # the comparisons that the verdict rests on
    unit: str = "points"  # of their effects


def as_json(panel: Panel) -> dict[str, Any]:
    """A panel with the mean of each line, and one standard deviation below and above it.

    Of medians: the median and the quartiles. Where y is logarithmic, these are of its logarithm.
    None is what isn't finite.
    """
    lines = []
    for name, (x, values) in panel.lines.items():
        values = np.log10(values) if panel.log_y else np.asarray(values, float)
        with np.errstate(invalid="ignore"):  # infinities
            if panel.of_medians:
                low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=-1)
            else:
                middle, std = values.mean(-1), values.std(-1, ddof=1)
                low, high = middle - std, middle + std
        numbers = {"mean": middle, "low": low, "high": high}
        line = {"name": name, "x": np.asarray(x).tolist()}
        for key, number in numbers.items():
            found = 10**number if panel.log_y else number
            line[key] = [float(f"{v:.6g}") if np.isfinite(v) else None for v in found]
        lines.append(line)
    return panel._asdict() | {"lines": lines}


def verdict_of(everywhere: bool, somewhere: bool) -> str:
    """The verdict on a claim that is true in all cases, in some, or in none."""
    return HOLDS if everywhere else PARTLY if somewhere else NOT_HERE


def in_percent(found: Estimate) -> str:
    """An accuracy, or a difference of two, in percent or percentage points."""
    return in_words(Estimate(*(100 * number for number in found)))
