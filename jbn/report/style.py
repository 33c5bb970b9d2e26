"""What all figures share: colours that suit a light and a dark page, text, and SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

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


def mean_and_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the first axis, of the finite values: NaN where there is none, or only one for `std`."""
    is_finite = np.isfinite(values)
    count = is_finite.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(is_finite, values, 0).sum(0) / count
        squares = np.where(is_finite, values - mean, 0) ** 2
        std = np.sqrt(squares.sum(0) / np.where(count > 1, count - 1, np.nan))
    return mean, std


def text_of(value: Any, digits: int = 3) -> str:
    """A value of a config in few characters: of numbers that have more digits, so many.

    >>> text_of(0.0215443), text_of(0.9999), text_of(1e-5), text_of(100.0), text_of([64, 32])
    ('0.0215', '0.9999', '1e-5', '100', '64, 32')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text_of(inner, digits)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(text_of(inner, digits) for inner in value)
    if isinstance(value, bool):
        return str(value).lower()  # as in TOML
    if not isinstance(value, float):
        return str(value)
    with_one_more = float(f"{value:.{digits + 1}g}")
    rounded = value if value == with_one_more else float(f"{value:.{digits}g}")
    if rounded == 1 != value:  # a momentum near 1 is another thing than 1
        return text_of(value, digits + 1)
    mantissa, has_exponent, exponent = f"{rounded:.{digits + 3}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if has_exponent else mantissa


def texts_of(values: Sequence[Any]) -> list[str]:
    """For a figure: the values with as few digits as tell them apart."""
    for digits in range(2, 17):
        texts = [text_of(value, digits) for value in values]
        if len(set(texts)) == len(set(map(repr, values))):
            break
    # Between two dollars matplotlib would read a formula.
    return [shortened(text).replace("$", r"\$") for text in texts]


def shortened(text: str, most: int = 24) -> str:
    """The text, without its middle where it is longer than there is room for.

    >>> shortened("data/a_long_name_of_a_file.npz", 16)
    'data/a_l…ile.npz'
    """
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[1 - half :]}"


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
