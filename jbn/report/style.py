"""What all figures share: places, colours that suit a light and a dark page, ticks, and SVG."""

import io
from collections.abc import Iterable
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import LogFormatter

from jbn.report.text import text_of

# matplotlib wants colours; the SVG gets those of its surroundings in the place of these two.
INK = "#010203"
PAPER = "#030201"
WIDTH = 11.0  # inches, of every figure
RIGHT = 0.1  # inches, right of all axes
# Readable on white and on black.
_COLORS = ("#3182ce", "#dd6b20", "#2f9e6e", "#b8529f", "#97801c", "#718096")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))


def color_of(arm: int) -> str:
    """The colour that an arm has in every figure; after six they come again."""
    return _COLORS[arm % len(_COLORS)]


def dashes_of(arm: int) -> Any:
    """An arm's dashes: no two of 36 arms have the same colour and dashes."""
    return _DASHES[(arm + arm // len(_COLORS)) % len(_DASHES)]


def rc(ink: str) -> dict[Any, Any]:
    """matplotlib's settings, with `ink` for all that is written and for the lines of the axes."""
    return {
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.titlesize": 10,
        "svg.fonttype": "none",
        "svg.hashsalt": "jbn",
        "text.parse_math": False,  # names come from data and configs: they are no formulas
    } | dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink
    )


class PlainLogFormatter(LogFormatter):
    """The ticks that matplotlib names on a logarithmic axis, as numbers.

    Its own names are formulas, and parsing these takes half as long as drawing all of the rest.
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        """What stands at a tick; nothing where there is no room."""
        return self.fix_minus(text_of(float(x))) if super().__call__(x, pos) else ""


def make_figure(height: float) -> Figure:
    """A figure of so many inches on the page's own background."""
    figure = Figure(figsize=(WIDTH, height))
    figure.patch.set_visible(False)
    return figure


def add_panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches.

    A layout engine would find the place by measuring every text several times.
    """
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def room_for(texts: Iterable[str]) -> float:
    """The inches that the longest of the texts takes."""
    font = FontProperties(family="sans-serif", size=10)
    widths = (text_to_path.get_text_width_height_descent(text, font, False)[0] for text in texts)
    return max(widths) / 72


def name_plainly(axis: Axis) -> None:
    """Names a logarithmic axis' ticks by numbers."""
    axis.set_major_formatter(PlainLogFormatter())
    axis.set_minor_formatter(PlainLogFormatter())


def make_bare(axes: Axes) -> None:
    """Leaves what is needed of the frame and its background."""
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_visible(False)


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element, the same bytes for the same data."""
    file = io.StringIO()
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "jbn", "text.parse_math": False}
    ):
        figure.savefig(
            file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return svg.replace(PAPER, "var(--paper, white)")
