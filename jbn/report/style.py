"""What all figures share: colours that suit a light and a dark page, text, and SVG."""

import io
from typing import Any

import matplotlib

matplotlib.use("agg")  # no window, wherever this runs
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# matplotlib wants colours; the SVG gets those of its surroundings in the place of these two.
INK = "#010203"
PAPER = "#030201"
WIDTH = 11.0  # inches, of every figure
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
    } | dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink
    )


def make_bare(axes: Axes) -> None:
    """Leaves what is needed of the frame and its background."""
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_visible(False)


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element, the same bytes for the same data."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jbn"}):
        figure.savefig(
            file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return svg.replace(PAPER, "var(--paper, white)")
