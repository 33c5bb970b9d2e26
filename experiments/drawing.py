"""Figures of what came of the claims, drawn from their results files alone."""

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from verdicts import HOLDS, NOT_SHOWN, PARTLY, REFUTED

from jbn.report.lines import spread_apart
from jbn.report.style import INK, color_of, make_bare, rc
from jbn.report.text import shortened, text_of

WIDTH = 10.0  # inches, of every figure
INK_ON_WHITE = "#1f2328"
VERDICT_COLORS = {  # on white; each has a contrast of 5 to 1 and more
    HOLDS: "#1f7a4f",
    PARTLY: "#7d6608",
    NOT_SHOWN: "#5b6472",
    REFUTED: "#a8434e",
}
_DASHES = ("-", (0, (4, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 2)), (0, (1, 3)))
_MARKERS = "osD^vP"
_SOFT = 0.7  # the opacity of what is read second: ticks and the names of axes
_LINE = 0.155  # inches from a line of a label to the next
_EFFECT, _AROUND = 0.3, 1.05  # inches of an effect; of what is above and below a row of axes
_EFFECTS = "The effects, their intervals, and the smallest that count (upright strokes)"
# Inches of an overview: its key; a cell, what is left free beside it, its axes, what is below.
_KEY, _CELL, _PAD, _AXES, _FOOT = 0.5, WIDTH / 4, 0.1, 1.2, 0.62
_TITLE_LINE, _SMALL_LINE, _SMALL = 0.155, 0.125, 7.5  # inches twice, and points


class Style(NamedTuple):
    """A line's colour, which says the arm, and its number among the variants, which dashes say."""

    color: str
    variant: int


def draw_claim(result: Mapping[str, Any]) -> Figure:
    """What a claim is judged by: its effects; and every panel, with each line's name at its end."""
    panels, styles, judged = result["panels"], styles_of(result), result["judged"]
    columns = min(2, len(panels))
    names = [[_label(line, 48 // columns) for line in panel["lines"]] for panel in panels]
    num_lines = max(sum(map(_num_lines, texts)) for texts in names)
    height = max(2.4, _LINE * num_lines)  # inches of a panel's axes
    heights = [0.4 + _EFFECT * len(judged)] if judged else []
    first = len(heights)
    heights += [height] * -(-len(panels) // columns)
    tall = [of + _AROUND for of in heights]
    with matplotlib.rc_context(_settings()):
        figure = Figure(figsize=(WIDTH, sum(tall)), layout="constrained")
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.1, h_pad=0.08)
        # A figure for each row: long names of effects leave the panels their width.
        parts = figure.subfigures(len(tall), 1, height_ratios=tall, squeeze=False)[:, 0]
        if judged:
            axes = parts[0].add_subplot()
            axes.set_title(_EFFECTS, loc="left", fontweight="bold", pad=10)
            axes.set_xlabel(f"effect, {result['unit']}")
            _draw_effects(axes, judged, num_ticks=9)
            names_of_effects = [textwrap.fill(_words(of["name"]), 44) for of in judged]
            axes.set_yticks(range(len(judged)), names_of_effects)
        for number, (panel, texts) in enumerate(zip(panels, names, strict=True)):
            row, column = divmod(number, columns)
            axes = parts[first + row].add_subplot(1, columns, column + 1)
            title = textwrap.fill(_words(panel["title"]), 92 // columns)
            axes.set_title(title, loc="left", fontweight="bold", pad=10)
            axes.set_xlabel(textwrap.fill(_words(panel["x"]), 80 // columns))
            axes.set_ylabel(textwrap.fill(_words(panel["y"]), 36))
            shown = [styles[line["name"]] for line in panel["lines"]]
            ends = _draw_panel(axes, panel, shown, room=72 // columns, num_ticks=7 - columns)
            if _has_words(panel):
                _add_key(axes, texts, shown)
            else:
                _name_ends(axes, texts, ends, shown, height)
    return figure


def draw_overview(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A small panel for each claim: its effects, and the verdict."""
    found = list(results.values())
    rows = [found[first : first + 4] for first in range(0, len(found), 4)]
    heads = [max(map(_head, row)) for row in rows]
    height = _KEY + sum(heads) + len(rows) * (_AXES + _FOOT)
    with matplotlib.rc_context(_settings()):
        figure = Figure(figsize=(WIDTH, height))
        _draw_key(figure)
        top = height - _KEY
        for row, head in zip(rows, heads, strict=True):
            for column, result in enumerate(row):
                _draw_cell(figure, result, column * _CELL, top, head)
            top -= head + _AXES + _FOOT
    return figure


def to_file(figure: Figure) -> str:
    """The figure as an SVG file that looks the same wherever it is shown: on white, text as paths.

    The same bytes for the same data.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "jbn"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", facecolor="white", metadata=nothing)
    # Without comments and indentation; a hundredth of a point is enough.
    svg = re.sub(r"(?m)^ +(<!--.*-->\n)?|(?<=\d\d\.\d\d)\d+", "", file.getvalue())
    return svg.replace(INK, INK_ON_WHITE)


def styles_of(result: Mapping[str, Any]) -> dict[str, Style]:
    """How each line of a claim's panels is drawn, by its name.

    >>> lines = [{"name": name} for name in ("2 layers, no_norm", "no_norm", "layer_norm")]
    >>> found = styles_of({"headline": ["batch_norm", "no_norm"], "panels": [{"lines": lines}]})
    >>> [(name, style.variant) for name, style in found.items()]
    [('batch_norm', 0), ('no_norm', 0), ('2 layers, no_norm', 1), ('layer_norm', 0)]
    """
    lines = (line["name"] for panel in result["panels"] for line in panel["lines"])
    numbers = {"batch_norm": 0, "no_norm": 1}
    variants: dict[str, int] = {}
    styles = {}
    for name in dict.fromkeys([*result["headline"], *lines]):  # the headline's are unbroken lines
        arm = _arm_of(name)
        variant = variants.setdefault(name.replace(arm, ""), len(variants))
        number = numbers.setdefault(arm, len(numbers))
        again = max(number - 2, 0) // 4  # the first two colours are taken
        styles[name] = Style(color_of(number - 4 * again), variant + again)
    return styles


def _arm_of(name: str) -> str:
    """What of a line's name says the arm.

    >>> [_arm_of(name) for name in ("2 layers, batch_norm_frozen", "layer_norm, 8", "8, running")]
    ['batch_norm', 'layer_norm', 'running']
    """
    for arm in ("no_norm", "batch_norm"):
        if arm in name:
            return arm
    parts = name.split(", ")
    return next((part for part in parts if "norm" in part), parts[-1])


def _draw_effects(axes: Axes, judged: Sequence[Mapping[str, Any]], num_ticks: int) -> None:
    """The effect of each comparison with its interval, from the top, in its outcome's colour."""
    make_bare(axes)
    axes.spines[:].set_color((INK, 0.3))
    axes.tick_params(labelcolor=(INK, _SOFT), length=0, which="both")
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=(INK, 0.3), linewidth=0.8)
    for row, of in enumerate(judged):
        value, low, high = of["effect"]
        color = VERDICT_COLORS[of["outcome"]]
        axes.hlines(row, low, high, color=color, linewidth=1.7, alpha=0.6)
        axes.plot([value], [row], color=color, marker="o", markersize=5, markeredgewidth=0)
        axes.vlines(of["smallest"], row - 0.5, row + 0.5, color=INK, linewidth=1.2)
    axes.set_ylim(len(judged) - 0.5, -0.5)
    _set_ticks(axes.xaxis, num_ticks, is_log=False)


def _draw_panel(
    axes: Axes, panel: Mapping[str, Any], styles: Sequence[Style], room: int, num_ticks: int
) -> np.ndarray:
    """The lines of a panel, or points where x is in words; returns where each ends, or NaN.

    Args:
        styles: of each of its lines.
        room: characters that fit below the axes, of categories.
        num_ticks: at most so many numbers stand at an axis.
    """
    lines, has_words = panel["lines"], _has_words(panel)
    values = list(dict.fromkeys(x for line in lines for x in line["x"]))
    log_x, log_y = panel["log_x"] and not has_words, panel["log_y"]
    make_bare(axes)
    axes.spines[:].set_color((INK, 0.3))
    axes.tick_params(labelcolor=(INK, _SOFT), length=0, which="both")
    axes.set_xscale("log" if log_x else "linear")
    axes.set_yscale("log" if log_y else "linear")
    ends = np.full((len(lines), 2), np.nan)
    for number, (line, style) in enumerate(zip(lines, styles, strict=True)):
        x = _drawable([values.index(v) for v in line["x"]] if has_words else line["x"], log_x)
        mean, low, high = (_drawable(line[key], log_y) for key in ("mean", "low", "high"))
        if has_words:
            x += 0.6 * ((number + 0.5) / len(lines) - 0.5)
        (_draw_points if has_words else _draw_line)(axes, x, mean, low, high, style)
        places = np.column_stack([x, mean])
        ends[number] = [np.nan, np.nan, *places[np.isfinite(places).all(1)].flat][-2:]
    _set_ticks(axes.yaxis, num_ticks, log_y)
    if has_words:
        _name_categories(axes, values, room)
    else:
        _set_ticks(axes.xaxis, num_ticks, log_x, values)
    return ends


def _has_words(panel: Mapping[str, Any]) -> bool:
    return any(isinstance(x, str) for line in panel["lines"] for x in line["x"])


def _draw_line(
    axes: Axes, x: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray, style: Style
) -> None:
    axes.plot(
        x,
        mean,
        color=style.color,
        linestyle=_DASHES[style.variant % len(_DASHES)],
        linewidth=1.7,
        marker="o" if len(x) <= 32 else None,
        markersize=3.2,
        markeredgewidth=0,
    )
    axes.fill_between(
        x, low, high, where=np.isfinite(high - low), color=style.color, alpha=0.13, linewidth=0
    )


def _draw_points(
    axes: Axes, x: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray, style: Style
) -> None:
    axes.vlines(x, low, high, color=style.color, linewidth=1.7, alpha=0.6)
    axes.plot(x, mean, color=style.color, linestyle="", **_point(style))


def _point(style: Style) -> dict[str, Any]:
    marker = _MARKERS[style.variant % len(_MARKERS)]
    return {"marker": marker, "markersize": 5, "markeredgewidth": 0}


def _drawable(values: Sequence[Any], is_log: bool) -> np.ndarray:
    """The values, NaN in the place of those that have no place on the axis.

    >>> _drawable([1, None, float("inf"), 0.0], True).tolist()
    [1.0, nan, nan, nan]
    """
    found = np.asarray(values, float)
    return np.where(np.isfinite(found) & ((found > 0) | (not is_log)), found, np.nan)


def _name_categories(axes: Axes, categories: Sequence[str], room: int) -> None:
    """The categories below their places; slanted where they'd run into each other."""
    names = [_words(category) for category in categories]
    each = room / len(names)
    texts = [textwrap.fill(name, int(each), break_long_words=False) for name in names]
    widths = [max(map(len, text.split("\n"))) for text in texts]
    if all((left + right) / 2 + 1 <= each for left, right in pairwise(widths)):
        axes.set_xticks(range(len(names)), texts)
    else:
        short = [shortened(name, 16) for name in names]
        axes.set_xticks(range(len(names)), short, rotation=25, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(categories) - 0.5)
    axes.grid(visible=False, axis="x")


def _set_ticks(axis: Axis, most: int, is_log: bool, values: Sequence[float] = ()) -> None:
    """Few ticks: at round numbers, or at the values of a logarithmic axis that has few."""
    low, high = axis.get_view_interval()
    is_whole = len(values) > 0 and all(float(value).is_integer() for value in values)
    axis.set_major_locator(MaxNLocator(most + 1, steps=[1, 2, 5, 10], integer=is_whole))
    if is_log and (ticks := _values_as_ticks(values, most) or _round_numbers(low, high, most)):
        axis.set_ticks(ticks)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: text_of(float(value)))


def _values_as_ticks(values: Sequence[float], most: int) -> list[float]:
    """The values, if there is room for all and each can be said in short; else nothing.

    >>> _values_as_ticks([1, 8, 64], 4), _values_as_ticks([0.01, 0.0316227, 0.1], 4)
    ([1.0, 8.0, 64.0], [])
    """
    ticks = sorted(float(value) for value in values)
    fit = 1 < len(ticks) <= most + 3 and ticks[0] > 0
    if not fit or any(float(text_of(tick)) != tick for tick in ticks):
        return []
    gaps = np.diff(np.log10(ticks))
    return ticks if gaps.min() > 0.5 / most * gaps.sum() else []


def _round_numbers(low: float, high: float, most: int) -> list[float]:
    """Powers of ten between two numbers, and 2 and 5 times them where these are few.

    >>> _round_numbers(0.02, 300, 6), _round_numbers(1.8, 25, 6), _round_numbers(1e-9, 1, 4)
    ([0.1, 1.0, 10.0, 100.0], [2.0, 5.0, 10.0, 20.0], [1e-09, 1e-06, 0.001, 1.0])
    """
    exponents = range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(high))) + 1)
    if len(exponents) >= 3:
        step = -(-len(exponents) // most)
        return [float(f"1e{k}") for k in exponents if k % step == 0]
    wider = range(exponents.start - 1, exponents.stop + 1)
    numbers = (float(f"{factor}e{k}") for k in wider for factor in (1, 2, 5))
    ticks = [number for number in numbers if low <= number <= high]
    return ticks[:: max(1, -(-len(ticks) // most))]


def _add_key(axes: Axes, names: Sequence[str], styles: Sequence[Style]) -> None:
    """The names right of the axes, in the order of the points."""
    handles = [Line2D([], [], color=style.color, linestyle="", **_point(style)) for style in styles]
    axes.legend(
        handles,
        names,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        labelcolor=[style.color for style in styles],
        fontsize=9,
        handletextpad=0.2,
    )


def _name_ends(
    axes: Axes, names: Sequence[str], ends: np.ndarray, styles: Sequence[Style], height: float
) -> None:
    """The names right of their lines' ends, apart from each other; at the bottom without a line."""
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # where the ends are, stays
    wanted = (axes.transScale + axes.transLimits).transform(ends)[:, 1]
    gap = max(map(_num_lines, names)) * _LINE / height
    places = spread_apart(np.nan_to_num(wanted), gap, 0.0, 0.96)
    for name, end, place, style in zip(names, ends, places, styles, strict=True):
        has_end = np.isfinite(end).all()
        leader = {"arrowstyle": "-", "color": style.color, "alpha": 0.4, "relpos": (0, 0.5)}
        axes.annotate(
            name,
            end if has_end else (1, place),
            xycoords="data" if has_end else "axes fraction",
            xytext=(1.03, place),
            textcoords="axes fraction",
            color=style.color,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops=leader if has_end else None,
        )


def _draw_key(figure: Figure) -> None:
    """What points, bars and strokes mean, above all claims."""
    key = (
        "Each point is the effect of a comparison, with its interval. The upright stroke is the "
        "smallest effect that counts. (A theorem has lines.)"
    )
    _write(figure, _PAD, figure.get_figheight() - 0.12, key, fontsize=9, alpha=_SOFT)


def _draw_cell(
    figure: Figure, result: Mapping[str, Any], left: float, top: float, head: float
) -> None:
    """A claim in an overview: its words, its verdict, and what it is judged by.

    Those are its effects; without any, the two lines of its first panel that it is about.

    Args:
        left, top: of the cell, in inches.
        head: inches of what is above its axes.
    """
    claim, y = _texts_above(result)
    at = left + _PAD
    how = {"fontsize": 9.5, "fontweight": "bold", "linespacing": 1.15}
    _write(figure, at, top, claim, **how)
    color = VERDICT_COLORS[result["verdict"]]
    below = top - _TITLE_LINE * _num_lines(claim) - 0.04
    _write(figure, at, below, result["verdict"], color=color, fontsize=9, fontweight="bold")
    styles = styles_of(result)
    for number, name in enumerate(_own_key(result)):
        line = below - 0.18 - _SMALL_LINE * number
        _write(figure, at, line, f"●  {_words(name)}", color=styles[name].color, fontsize=_SMALL)
    bottom = top - head - _AXES
    how = {"fontsize": _SMALL, "alpha": _SOFT, "va": "bottom"}
    _write(figure, at, bottom + _AXES + 0.05, y, **how)

    width, height = figure.get_size_inches()
    box = np.array([left + 0.5, bottom, _CELL - 0.72, _AXES]) / (width, height, width, height)
    axes = figure.add_axes(tuple(box))
    if result["judged"]:
        x = f"effect, {result['unit']}"
        _draw_effects(axes, result["judged"], num_ticks=3)
        axes.set_yticks([])
    else:
        panel, names = result["panels"][0], result["headline"]
        x = panel["x"]
        lines = {line["name"]: line for line in panel["lines"]}
        shown = {**panel, "lines": [lines[name] for name in names]}
        _draw_panel(axes, shown, [styles[name] for name in names], room=30, num_ticks=3)
    axes.tick_params(labelsize=_SMALL, pad=2)
    if not any(label.get_rotation() for label in axes.get_xticklabels()):
        text = textwrap.fill(_words(x), 34)
        axes.set_xlabel(text, fontsize=_SMALL, alpha=_SOFT, labelpad=2)


def _head(result: Mapping[str, Any]) -> float:
    """Inches of what is above the axes in an overview: the claim, the verdict, names."""
    claim, y = map(_num_lines, _texts_above(result))
    return _TITLE_LINE * claim + 0.34 + _SMALL_LINE * (y + len(_own_key(result)))


def _texts_above(result: Mapping[str, Any]) -> tuple[str, str]:
    """The claim and the name of y, in lines of a cell's width."""
    claim = _words(result["claim"])
    y = "" if result["judged"] else _words(result["panels"][0]["y"])
    return textwrap.fill(claim, 29), textwrap.fill(y, 37)


def _own_key(result: Mapping[str, Any]) -> Sequence[str]:
    """The names of a claim's two lines, where they are shown."""
    return [] if result["judged"] else result["headline"]


def _write(figure: Figure, left: float, top: float, text: str, **how: Any) -> None:
    """Text at a place in inches."""
    width, height = figure.get_size_inches()
    figure.text(left / width, top / height, text, **{"va": "top", **how})


def _label(line: Mapping[str, Any], width: int) -> str:
    """What stands at a line's end."""
    has_any = np.isfinite(np.asarray(line["mean"], float)).any()
    return textwrap.fill(_words(line["name"]) + ("" if has_any else " (no number)"), width)


def _num_lines(text: str) -> int:
    return text.count("\n") + 1


def _words(name: str) -> str:
    """A name as it is read; between two dollars matplotlib would see a formula."""
    return name.replace("_", " ").replace("$", r"\$")


def _settings() -> dict[Any, Any]:
    return rc(INK) | {"figure.facecolor": "none", "font.size": 9.5}
