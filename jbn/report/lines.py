"""The metric of a sweep over one of its axes: a line or points for each arm."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jbn.report.metric import Metric
from jbn.report.results import Cells
from jbn.report.style import (
    INK,
    RIGHT,
    WIDTH,
    add_panel,
    color_of,
    dashes_of,
    make_bare,
    make_figure,
    name_plainly,
    rc,
    room_for,
)
from jbn.report.sweep import Axis
from jbn.report.text import shortened

_LEFT = 0.65  # inches, for the ticks of y and what it is
_BOTTOM = 0.5  # inches, for the ticks of x and what it is
_LINE = 0.165  # inches from a line of text to the next
_LEADER = 0.3  # inches from the axes to the names beside them


def draw_lines(
    cells: Cells,
    arms: Sequence[str],
    axis: Axis,
    name: str,
    metric: Metric,
    texts: Sequence[str] | None = None,
) -> Figure:
    """Mean ± standard deviation over numbers, and a cross where a seed diverged.

    Args:
        cells: of the shape (arms, values).
        arms: their names, which stand at the ends of their lines.
        axis: numeric, the one from left to right.
        name: what it is called.
        metric: which it is.
        texts: what stands below the values; None is ticks at round numbers.
    """
    values = np.asarray(axis.values)
    with matplotlib.rc_context(rc(INK)):
        names = [shortened(arm) for arm in arms]
        figure, axes = _make_figure(arms, texts or (), metric, 0.1, _LEADER + room_for(names))
        if axis.is_log:
            axes.set_xscale("log")
            name_plainly(axes.xaxis)
        axes.set_xlabel(name)
        if texts is not None:
            axes.set_xticks(values, texts)
            axes.minorticks_off()
        for arm, (mean, std, num_diverged) in enumerate(zip(*cells, strict=True)):
            color = color_of(arm)
            marker = "o" if len(values) <= 32 else None
            axes.plot(
                values,
                mean,
                color=color,
                linestyle=dashes_of(arm),
                linewidth=1.8,
                marker=marker,
                markersize=3.5,
            )
            low, high = _band(mean, std, metric)
            axes.fill_between(values, low, high, color=color, alpha=0.13, linewidth=0)
            _draw_crosses(axes, values, mean, num_diverged, arm)
        _name_ends(axes, names, cells.mean[:, -1], values[-1])
    return figure


def draw_points(
    cells: Cells, arms: Sequence[str], texts: Sequence[str], name: str, metric: Metric
) -> Figure:
    """Mean ± standard deviation at values that are no numbers, the arms beside each other.

    Arguments as `draw_lines` has them; `texts` are the values.
    """
    with matplotlib.rc_context(rc(INK)):
        num_rows = -(-len(arms) // 4)  # of the legend
        figure, axes = _make_figure(arms, texts, metric, 0.35 + 0.2 * num_rows, RIGHT)
        for arm, (mean, std, num_diverged) in enumerate(zip(*cells, strict=True)):
            shift = 0.6 * ((arm + 0.5) / len(arms) - 0.5)
            x = np.arange(len(texts)) + shift
            low, high = _band(mean, std, metric)
            color = color_of(arm)
            axes.vlines(x, low, high, color=color, linewidth=1.8, linestyle=dashes_of(arm))
            axes.plot(x, mean, "o", color=color, markersize=5, label=shortened(arms[arm]))
            _draw_crosses(axes, x, mean, num_diverged, arm)
        axes.set_xticks(range(len(texts)), texts)
        axes.set_xlim(-0.5, len(texts) - 0.5)
        axes.set_xlabel(name)
        axes.grid(visible=False, axis="x")
        figure.legend(loc="upper left", ncols=4, frameon=False, borderpad=1)
    return figure


def _band(mean: np.ndarray, std: np.ndarray, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """A standard deviation below and above; of a share, no less than 0 and no more than 1."""
    if metric.is_share:
        return np.clip(mean - std, 0, 1), np.clip(mean + std, 0, 1)
    return mean - std, mean + std


def _make_figure(
    arms: Sequence[str], texts: Sequence[str], metric: Metric, top: float, right: float
) -> tuple[Figure, Axes]:
    """A figure with axes; so many inches above them and on their right, and the texts below."""
    height = _height(len(arms))
    bottom = _BOTTOM + _LINE * max((text.count("\n") for text in texts), default=0)
    figure = make_figure(height)
    axes = add_panel(figure, _LEFT, bottom, WIDTH - _LEFT - right, height - bottom - top)
    axes.set_ylabel(f"{metric.words} at the end")
    make_bare(axes)
    return figure, axes


def _height(num_arms: int) -> float:
    """Inches; enough for the names of all arms one below the other."""
    return max(4.2, 0.2 * num_arms + 1)


def _draw_crosses(
    axes: Axes, x: np.ndarray, mean: np.ndarray, num_diverged: np.ndarray, arm: int
) -> None:
    has = num_diverged > 0
    axes.plot(
        x[has],
        mean[has],
        "x",
        color=color_of(arm),
        markersize=9,
        markeredgewidth=1.8,
    )


def _name_ends(axes: Axes, names: Sequence[str], ends: np.ndarray, x: float) -> None:
    """The arms' names right of their lines' ends, apart from each other."""
    low, high = axes.get_ylim()
    gap = 0.2 / (_height(len(names)) - 0.8)  # inches, of those without the names below
    places = spread_apart(ends, gap * (high - low), low, high)
    for arm, (end, place) in enumerate(zip(ends, places, strict=True)):
        axes.annotate(
            names[arm],
            (x, end),
            xytext=(1.02, (place - low) / (high - low)),
            textcoords="axes fraction",
            color=color_of(arm),
            va="center",
            fontsize=10,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color_of(arm),
                "alpha": 0.5,
                "relpos": (0, 0.5),
            },
        )
    axes.set_ylim(low, high)


def spread_apart(wanted: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Places near the wanted ones, in their order, at least `gap` apart where there is room.

    >>> spread_apart(np.array([5.0, 1.0, 5.0]), 1.0, 0.0, 6.0).tolist()
    [5.0, 1.0, 6.0]
    """
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    # Each at least a gap above the one before; then none so high that the rest has no room.
    places = np.maximum.accumulate(wanted[order] - steps) + steps
    places = np.minimum(places, high - steps[::-1])
    found = np.empty_like(places)
    found[order] = np.maximum(places, low + steps)
    return found
