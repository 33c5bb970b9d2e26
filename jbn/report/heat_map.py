"""The accuracies of a grid as heat maps: arms against an axis, or two axes, a map for each arm."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from jbn.report.results import Cells
from jbn.report.style import INK, PAPER, WIDTH, rc
from jbn.report.sweep import Axis
from jbn.report.text import shortened, texts_of

_MAP = matplotlib.colormaps["viridis"]
_MARGIN = 1.3  # inches beside the maps, for the names of rows
_CHARACTER = 0.085  # inches that one takes at most


class _Layout(NamedTuple):
    """How the maps stand, the size of a cell in inches, and the percentages that colours end at."""

    num_rows: int
    num_columns: int
    cell_width: float
    cell_height: float
    height: float
    low: float
    high: float


def draw_heat_map(cells: Cells, arms: Sequence[str], x: Axis, y: Axis | None) -> Figure:
    """Mean validation accuracy in percent, in colours that all maps share.

    Each arm's best cell has a frame, and a cell where a seed diverged has a cross.

    Args:
        cells: of the shape (arms, values of x) or (arms, values of x, values of y).
        arms: their names; without y, these are the rows of one map.
        x: the axis from left to right.
        y: the axis from below to above, in a map for each arm.
    """
    if y is None:
        maps, rows = [cells], [shortened(arm) for arm in arms]
        best = [[(row, int(mean.argmax())) for row, mean in enumerate(cells.mean)]]
    else:
        maps = [Cells(*(values.T for values in arm)) for arm in zip(*cells, strict=True)]
        rows = texts_of(y.values)
        best = [[divmod(int(found.mean.argmax()), len(x.values))] for found in maps]
    layout = _layout(len(maps), len(rows), len(x.values), cells.mean)
    with matplotlib.rc_context(rc(INK)):
        figure = Figure(figsize=(WIDTH, layout.height), layout="constrained")
        panels = figure.subplots(layout.num_rows, layout.num_columns, squeeze=False).ravel()
        for number, (axes, found, frames) in enumerate(zip(panels, maps, best, strict=False)):
            image = _draw_colors(axes, found, layout, rises=y is not None)
            _draw_cells(axes, found, layout)
            _draw_frames(axes, found, frames, layout)
            _draw_ticks(axes, texts_of(x.values), rows, layout)
            is_lowest = number + layout.num_columns >= len(maps)
            axes.tick_params(labelbottom=is_lowest, labelleft=number % layout.num_columns == 0)
            if len(maps) > 1:
                axes.set_title(shortened(arms[number]), loc="left")
        for axes in panels[len(maps) :]:
            axes.set_visible(False)
        figure.supxlabel(x.name, fontsize=10)
        figure.supylabel(y.name if y else "", fontsize=10)
        _draw_scale(figure, image, panels, (0.25 if len(maps) > 1 else 0.1) / layout.height)
        figure.patch.set_visible(False)
    return figure


def _draw_colors(axes: Axes, cells: Cells, layout: _Layout, rises: bool) -> AxesImage:
    """The map, its first row at the bottom if it rises."""
    return axes.imshow(
        100 * cells.mean,
        cmap=_MAP,
        vmin=layout.low,
        vmax=layout.high,
        aspect="auto",
        origin="lower" if rises else "upper",
        interpolation="none",  # a picture of a dot for each cell, however large it is shown
    )


def _draw_scale(figure: Figure, image: AxesImage, panels: np.ndarray, gap: float) -> None:
    """What the colours mean, above the maps; the gap is a part of their height."""
    bar = figure.colorbar(
        image,
        ax=panels,
        location="top",
        aspect=40,
        fraction=0.1,
        shrink=0.35,
        anchor=(0, 0),
        pad=gap,
    )
    bar.set_label("validation accuracy at the end, %")
    bar.ax.locator_params(nbins=5)
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # in vectors it is 256 shapes


def _layout(num_maps: int, num_rows: int, num_columns: int, mean: np.ndarray) -> _Layout:
    """As many maps beside each other as let the cells be about squares, or broader."""
    abreast = min(num_maps, 2 if num_columns > 8 else 3)
    down = -(-num_maps // abreast)
    width = (WIDTH - _MARGIN - 0.15 * abreast) / abreast / num_columns
    cell_height = float(np.clip(4 / num_rows, 0.02, 0.32))
    height = down * (num_rows * cell_height + 0.35) + 1.1
    low, high = 100 * float(mean.min()), 100 * float(mean.max())
    if high - low < 0.1:  # colours of one value need a range, too
        low, high = low - 0.1, high + 0.1
    return _Layout(down, abreast, width, cell_height, height, low, high)


def _inks(cells: Cells, layout: _Layout) -> np.ndarray:
    """For each cell what can be read on its colour: black or white."""
    fraction = (100 * cells.mean - layout.low) / (layout.high - layout.low)
    red, green, blue, _ = np.moveaxis(_MAP(fraction), -1, 0)
    return np.where(0.299 * red + 0.587 * green + 0.114 * blue > 0.5, "black", "white")


def _draw_cells(axes: Axes, cells: Cells, layout: _Layout) -> None:
    """The percentages where there is room for them, and a cross where a seed diverged."""
    inks = _inks(cells, layout)
    digits = 1 if layout.cell_width > 0.42 else 0
    has_labels = layout.cell_width > 0.24 and layout.cell_height > 0.15
    if has_labels:
        for (row, column), value in np.ndenumerate(100 * cells.mean):
            axes.text(
                column,
                row,
                f"{value:.{digits}f}",
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
    longest = max(map(len, columns))
    every = int(np.ceil((longest + 1) * _CHARACTER / layout.cell_width))
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
