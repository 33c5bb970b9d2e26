"""The metric of a grid as heat maps: arms against an axis, or two axes, a map for each arm."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from jbn.report.metric import Metric
from jbn.report.results import Cells
from jbn.report.style import INK, PAPER, RIGHT, WIDTH, add_panel, make_figure, rc, room_for
from jbn.report.sweep import Axis
from jbn.report.text import shortened, text_of, texts_of

_MAP = matplotlib.colormaps["viridis"]
# Inches: between maps; of a map's name; of what stands below all maps; of the scale above them.
_GAP, _TITLE, _BOTTOM, _SCALE = 0.12, 0.27, 0.45, 0.6


class _Layout(NamedTuple):
    """How the maps stand, sizes in inches, and the values that colours end at."""

    num_columns: int  # of maps
    left: float  # beside the maps
    top: float  # above them
    height: float  # of the figure
    map_width: float
    map_height: float
    cell_width: float
    cell_height: float
    low: float
    high: float


def draw_heat_map(
    cells: Cells, arms: Sequence[str], x: Axis, y: Axis | None, metric: Metric
) -> Figure:
    """The mean validation metric, an accuracy in percent, in colours that all maps share.

    Each arm's best cell has a frame, and a cell where a seed diverged has a cross.

    Args:
        cells: of the shape (arms, values of x) or (arms, values of x, values of y).
        arms: their names; without y, these are the rows of one map.
        x: the axis from left to right.
        y: the axis from below to above, in a map for each arm.
        metric: which it is.
    """
    if metric.is_share:
        cells = cells._replace(mean=100 * cells.mean)
    if y is None:
        maps, rows = [cells], [shortened(arm) for arm in arms]
        best = [[(row, int(metric.best(mean))) for row, mean in enumerate(cells.mean)]]
    else:
        maps = [Cells(*(values.T for values in arm)) for arm in zip(*cells, strict=True)]
        rows = texts_of(y.values)
        best = [[divmod(int(metric.best(found.mean)), len(x.values))] for found in maps]
    layout = _layout(len(maps), rows, len(x.values), cells.mean, has_axis=y is not None)
    with matplotlib.rc_context(rc(INK)):
        figure = make_figure(layout.height)
        for number, (found, frames) in enumerate(zip(maps, best, strict=True)):
            axes = _add_map(figure, number, layout)
            image = _draw_colors(axes, found, layout, rises=y is not None)
            _draw_cells(axes, found, layout, metric)
            _draw_frames(axes, found, frames, layout)
            _draw_ticks(axes, texts_of(x.values), rows, layout)
            is_lowest = number + layout.num_columns >= len(maps)
            axes.tick_params(labelbottom=is_lowest, labelleft=number % layout.num_columns == 0)
            if len(maps) > 1:
                axes.set_title(shortened(arms[number]), loc="left")
        middle = (layout.left + WIDTH - RIGHT) / 2 / WIDTH
        figure.text(middle, 0.06 / layout.height, x.name, ha="center")
        if y is not None:
            figure.text(0.05 / WIDTH, 0.5, y.name, rotation="vertical", va="center")
        _draw_scale(figure, image, layout, metric)
    return figure


def _add_map(figure: Figure, number: int, layout: _Layout) -> Axes:
    """The axes of a map, from the left to the right and down."""
    down, across = divmod(number, layout.num_columns)
    left = layout.left + across * (layout.map_width + _GAP)
    top = layout.top + down * (layout.map_height + _TITLE)
    bottom = layout.height - top - layout.map_height
    return add_panel(figure, left, bottom, layout.map_width, layout.map_height)


def _draw_colors(axes: Axes, cells: Cells, layout: _Layout, rises: bool) -> AxesImage:
    """The map, its first row at the bottom if it rises."""
    return axes.imshow(
        cells.mean,
        cmap=_MAP,
        vmin=layout.low,
        vmax=layout.high,
        aspect="auto",
        origin="lower" if rises else "upper",
        interpolation="none",  # a picture of a dot for each cell, however large it is shown
    )


def _draw_scale(figure: Figure, image: AxesImage, layout: _Layout, metric: Metric) -> None:
    """What the colours mean, above the maps."""
    axes = add_panel(figure, layout.left, layout.height - _SCALE, 3.5, 0.08)
    bar = figure.colorbar(image, cax=axes, orientation="horizontal", ticklocation="top")
    bar.set_label(f"{metric.words} at the end" + (", %" if metric.is_share else ""))
    bar.ax.locator_params(nbins=5)
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # in vectors it is 256 shapes


def _layout(
    num_maps: int, rows: Sequence[str], num_columns: int, mean: np.ndarray, has_axis: bool
) -> _Layout:
    """As many maps beside each other as let the cells be about squares, or broader."""
    abreast = min(num_maps, 2 if num_columns > 8 else 3)
    down = -(-num_maps // abreast)
    left = room_for(rows) + (0.35 if has_axis else 0.15)
    map_width = (WIDTH - left - RIGHT + _GAP) / abreast - _GAP
    cell_height = float(np.clip(4 / len(rows), 0.02, 0.42))
    map_height = len(rows) * cell_height
    top = _SCALE + (_TITLE + 0.08 if num_maps > 1 else 0.1)
    height = top + down * (map_height + _TITLE) - _TITLE + _BOTTOM
    finite = mean[np.isfinite(mean)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    least = max(1e-3 * max(abs(low), abs(high)), 1e-30)
    if high - low < least:  # colours of one value need a range, too
        low, high = low - least, high + least
    return _Layout(
        num_columns=abreast,
        left=left,
        top=top,
        height=height,
        map_width=map_width,
        map_height=map_height,
        cell_width=map_width / num_columns,
        cell_height=cell_height,
        low=low,
        high=high,
    )


def _inks(cells: Cells, layout: _Layout) -> np.ndarray:
    """For each cell what can be read on its colour: black or white."""
    fraction = (cells.mean - layout.low) / (layout.high - layout.low)
    red, green, blue, _ = np.moveaxis(_MAP(fraction), -1, 0)
    return np.where(0.299 * red + 0.587 * green + 0.114 * blue > 0.5, "black", "white")


def _draw_cells(axes: Axes, cells: Cells, layout: _Layout, metric: Metric) -> None:
    """The values where there is room for them, and a cross where a seed diverged."""
    inks = _inks(cells, layout)
    has_labels = layout.cell_width > 0.24 and layout.cell_height > 0.15
    if has_labels:
        for (row, column), value in np.ndenumerate(cells.mean):
            axes.text(
                column,
                row,
                _text(value, metric, is_wide=layout.cell_width > 0.42),
                color=inks[row, column],
                ha="center",
                va="center",
                fontsize=8,
            )
    size = 5.0 if has_labels else 72 * 0.5 * min(layout.cell_width, layout.cell_height)
    for ink in ("black", "white"):
        row, column = np.nonzero((cells.num_diverged > 0) & (inks == ink))
        if has_labels:  # to the upper right, where the map's rows may go up or down
            up = -0.22 if axes.yaxis_inverted() else 0.22
            row, column = row + up, column + 0.5 - 0.09 / layout.cell_width
        axes.plot(column, row, "x", color=ink, markersize=size, markeredgewidth=max(size / 5, 0.3))


def _text(value: float, metric: Metric, is_wide: bool) -> str:
    """A value in a cell, such as 97.1 or 0.53; nothing where every seed diverged."""
    if not np.isfinite(value):
        return ""
    if metric.is_share:
        return f"{value:.{1 if is_wide else 0}f}"
    return text_of(value, 3 if is_wide else 2)


def _draw_frames(
    axes: Axes,
    cells: Cells,
    frames: Sequence[tuple[int, int]],
    layout: _Layout,
) -> None:
    """Frames in cells, some points within their edges."""
    inks = _inks(cells, layout)
    width, height = (1 - min(0.07 / size, 0.3) for size in (layout.cell_width, layout.cell_height))
    for row, column in frames:
        axes.add_patch(
            Rectangle(
                (column - width / 2, row - height / 2),
                width,
                height,
                fill=False,
                edgecolor=inks[row, column],
                linewidth=1.3,
            )
        )


def _draw_ticks(axes: Axes, columns: Sequence[str], rows: Sequence[str], layout: _Layout) -> None:
    """As many names of columns and rows as there is room for, and gaps between the cells."""
    every = int(np.ceil((room_for(columns) + 0.08) / layout.cell_width))
    axes.set_xticks(range(0, len(columns), every), columns[::every])
    every = int(np.ceil(0.17 / layout.cell_height))
    axes.set_yticks(range(0, len(rows), every), rows[::every])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if min(layout.cell_width, layout.cell_height) > 0.1:
        axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=PAPER, linewidth=1.5)
        axes.tick_params(which="minor", length=0)
