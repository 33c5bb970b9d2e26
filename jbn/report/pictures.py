"""The pictures of a run, each with its words: of a sweep, its accuracies; then learning curves."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from jbn.report.figures import draw_learning_curves
from jbn.report.heat_map import draw_heat_map
from jbn.report.lines import draw_lines, draw_points
from jbn.report.metric import metric_words
from jbn.report.results import Cells, Results, best_curves, metric_at_end
from jbn.report.style import to_svg
from jbn.report.sweep import Axis, at_best, axes_of, main_axis
from jbn.report.text import texts_of

_CROSS = " ×: a seed or more of it diverged; of accuracies it counts with its last one."
_MAX_TEXTS = 10  # of values with a line of text for each axis


class Picture(NamedTuple):
    """A picture under its title, and what it shows."""

    title: str
    svg: Markup
    caption: str


def pictures_of(results: Results) -> list[Picture]:
    """All that is drawn of a run's trials, in the order of the page.

    Of a run that isn't finished, learning curves: a grid with holes shows no best.
    """
    if not results.is_finished:
        return [_learning_curves(results, "Learning curves so far")] if results.curves else []
    axes = axes_of(results.config.sweep)
    if not axes:
        return [_learning_curves(results, "Learning curves")]
    last = _learning_curves(results, "Learning curves of the best points")
    cells = metric_at_end(results)
    if results.config.sweep.mode == "zip":
        return [_along(results, cells, axes), last]
    return [_grid(results, cells, axes), _over(results, cells, axes), last]


def _learning_curves(results: Results, title: str) -> Picture:
    curves = best_curves(results)
    caption = "Of one seed."
    if results.config.num_seeds > 1:
        caption = "Lines: mean over the seeds. Bands: ± one standard deviation."
    if not all(np.isfinite(c).all() for found in curves.values() for c in found.values()):
        caption += " Loss and gradient: of the seeds that had not diverged."
    return _picture(title, draw_learning_curves(curves, results.metric), caption)


def _grid(results: Results, cells: Cells, axes: Sequence[Axis]) -> Picture:
    """A heat map of the main axis and, of the others, the one with the most values."""
    x = main_axis(axes)
    rest = [axis for axis in axes if axis is not x]
    y = max(rest, key=lambda axis: len(axis.values)) if rest else None
    shown = [x, y] if y else [x]
    found = at_best(cells, axes, shown, results.metric)
    in_percent = ", in percent," if results.metric.is_share else ""
    caption = f"{_mean(results)}{in_percent} at every point of the grid."
    caption += _of_the_others(axes, shown, "cell") + " Frame: the best of an arm."
    if found.num_diverged.any():
        caption += _CROSS
    title = f"{_title(results)} by {' and '.join(axis.name for axis in shown)}"
    return _picture(
        title, draw_heat_map(found, list(results.config.arms), x, y, results.metric), caption
    )


def _over(results: Results, cells: Cells, axes: Sequence[Axis]) -> Picture:
    """Lines over the main axis, or points where it isn't numeric."""
    x = main_axis(axes)
    found, arms = at_best(cells, axes, [x], results.metric), list(results.config.arms)
    caption = _spread(results) + _of_the_others(axes, [x], "value")
    if found.num_diverged.any():
        caption += _CROSS
    if x.is_numeric:
        figure = draw_lines(found, arms, x, x.name, results.metric)
    else:
        figure = draw_points(found, arms, texts_of(x.values), x.name, results.metric)
    return _picture(f"{_title(results)} over {x.name}", figure, caption)


def _along(results: Results, cells: Cells, axes: Sequence[Axis]) -> Picture:
    """Lines or points over the first axis, with which the others change."""
    first, *others = axes
    found = Cells(*(values[:, first.order] for values in cells))
    given = [list(values) for values in results.config.sweep.axes.values()]
    columns = [texts_of([values[place] for place in first.order]) for values in given]
    texts = ["\n".join(point) for point in zip(*columns, strict=True)]
    name = ", ".join(axis.name for axis in axes)
    arms = list(results.config.arms)
    if first.is_numeric and len(set(first.values)) == len(first.values):
        shown = texts if len(texts) <= _MAX_TEXTS else None
        called = name if shown else first.name
        figure = draw_lines(found, arms, first, called, results.metric, shown)
    else:
        figure = draw_points(found, arms, texts, name, results.metric)
    caption = _spread(results)
    if others:
        caption += f" Together with {first.name} changes {' and '.join(a.name for a in others)}."
    if found.num_diverged.any():
        caption += _CROSS
    return _picture(f"{_title(results)} over {first.name}", figure, caption)


def _title(results: Results) -> str:
    words = metric_words(results.metric.name)
    return words[0].upper() + words[1:]


def _picture(title: str, figure: Figure, caption: str) -> Picture:
    return Picture(title, Markup(to_svg(figure)), caption)


def _mean(results: Results) -> str:
    seeds = results.config.num_seeds
    return f"Mean {results.metric.words} at the end" + (
        f" over {seeds} seeds" if seeds > 1 else ", of one seed"
    )


def _spread(results: Results) -> str:
    several = results.config.num_seeds > 1
    return f"{_mean(results)}{'; ± one standard deviation' if several else ''}."


def _of_the_others(axes: Sequence[Axis], shown: Sequence[Axis], where: str) -> str:
    """A sentence on the axes that aren't shown; nothing if there are none."""
    others = [axis.name for axis in axes if axis not in shown]
    return f" Each {where} has the best of {' and '.join(others)}." if others else ""
