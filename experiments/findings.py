"""What comes of a claim: a table, a verdict, and what its pictures show."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from verdicts import Judged


class Panel(NamedTuple):
    """A picture: lines over values, with their spread over the repeats."""

    title: str
    x: str  # what it is over, with its unit
    y: str
    lines: Mapping[
        str, tuple[Sequence[Any], np.ndarray]
    ]  # x values, y of the shape (values, repeats)
    log_x: bool = False
    log_y: bool = False


class Finding(NamedTuple):
    """What was measured of a claim."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: str
    summary: str  # the main numbers, in a line
    panels: Sequence[Panel]
    headline: tuple[str, str]  # lines of the first panel: with batch norm, and without
    num_trainings: int  # 0 where steps are timed
    num_repeats: int
    repeats: str  # what there are so many of: splits or processes
    judged: Sequence[Judged] = ()  # the comparisons that the verdict rests on
    unit: str = "points"  # of their effects


def as_json(panel: Panel) -> dict[str, Any]:
    """A panel with the mean of each line, and one standard deviation below and above it.

    Where y is logarithmic, these are of its logarithm. None is what isn't finite.
    """
    lines = []
    for name, (x, values) in panel.lines.items():
        values = np.log10(values) if panel.log_y else np.asarray(values, float)
        with np.errstate(invalid="ignore"):  # infinities
            middle, std = values.mean(-1), values.std(-1, ddof=1)
        numbers = {"mean": middle, "low": middle - std, "high": middle + std}
        line = {"name": name, "x": np.asarray(x).tolist()}
        for key, number in numbers.items():
            found = 10**number if panel.log_y else number
            line[key] = [float(f"{v:.6g}") if np.isfinite(v) else None for v in found]
        lines.append(line)
    return panel._asdict() | {"lines": lines}
