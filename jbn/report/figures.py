"""Learning curves and batch statistics as SVG that takes the page's colours."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("agg")  # no window, wherever this runs
from matplotlib.figure import Figure

# Readable on white and on black; each arm has its own dashes too.
_COLORS = ("#3182ce", "#dd6b20", "#2f9e6e", "#b8529f", "#97801c", "#718096")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
# matplotlib wants a colour; the SVG gets the text colour of its surroundings in its place.
_INK = "#010203"

_PANELS = (
    ("val_accuracy", "validation accuracy", "linear"),
    ("train_loss", "training loss (nats)", "log"),
    ("gradient_norm", "gradient norm", "log"),
)
# Of a channel: the key, what it is, its value where the statistics fit, and the scale.
_GAPS = (
    ("mean_gap", "distance of the means, in deviations of the data", 0, "symlog"),
    ("std_ratio", "deviation of the data over the running one", 1, "log"),
)


def draw_learning_curves(rows: Sequence[Mapping[str, Any]], ink: str = _INK) -> Figure:
    """Accuracy, loss and gradient norm over the epochs: mean ± standard deviation over seeds."""
    with matplotlib.rc_context(_style(ink)):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        panels = figure.subplots(1, len(_PANELS))
        arms = list(dict.fromkeys(row["arm"] for row in rows))
        for axes, (key, label, scale) in zip(panels, _PANELS, strict=True):
            for number, arm in enumerate(arms):
                epochs, values = _curves(rows, arm, key)
                mean, std = values.mean(0), values.std(0, ddof=min(1, len(values) - 1))
                color, dashes = (cycle[number % len(cycle)] for cycle in (_COLORS, _DASHES))
                axes.plot(epochs, mean, color=color, linestyle=dashes, label=arm, linewidth=1.8)
                # On a log axis a band that reaches zero would fill the panel.
                low = np.maximum(mean - std, mean / 10) if scale == "log" else mean - std
                axes.fill_between(epochs, low, mean + std, color=color, alpha=0.15, linewidth=0)
            drawn = np.concatenate([line.get_ydata() for line in axes.lines])
            if np.any(np.isfinite(drawn) & (drawn > 0)):
                axes.set_yscale(scale)
            else:
                axes.text(0.5, 0.5, "every seed diverged", ha="center", transform=axes.transAxes)
            axes.set_xlabel("epoch")
            axes.set_title(label, fontsize=10)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.2)
            axes.spines[["top", "right"]].set_visible(False)
            axes.patch.set_visible(False)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=4,
            frameon=False,
            handlelength=3,
            borderpad=1,
        )
        figure.patch.set_visible(False)
    return figure


def draw_norms(norms: Mapping[str, Any], arms: Sequence[str], ink: str = _INK) -> Figure:
    """Each channel's gap between the data's statistics and the running ones, layer by layer.

    In the colours that the arms have in the learning curves.
    """
    lanes = [(arm, path) for arm, found in norms.items() for path in found["layers"]]
    with matplotlib.rc_context(_style(ink)):
        figure = Figure(figsize=(11, 0.9 + 0.32 * len(lanes)), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (key, label, fit, scale) in zip(panels, _GAPS, strict=True):
            axes.set_xscale(scale, **({"linthresh": 0.1} if scale == "symlog" else {}))
            for row, (arm, path) in enumerate(lanes):
                values = np.array(norms[arm]["layers"][path][key], float)  # None is NaN
                color = _COLORS[arms.index(arm) % len(_COLORS)]
                axes.plot(values, np.full(values.size, row), "|", color=color, markersize=11)
            axes.axvline(fit, color=ink, linewidth=0.8, alpha=0.6)
            axes.set_title(label, fontsize=10)
            axes.set_yticks(range(len(lanes)), [f"{arm}: {path}" for arm, path in lanes])
            axes.set_ylim(len(lanes) - 0.5, -0.5)
            axes.grid(alpha=0.2, axis="x")
            axes.spines[["top", "right"]].set_visible(False)
            axes.patch.set_visible(False)
        figure.patch.set_visible(False)
    return figure


def _style(ink: str) -> dict[Any, Any]:
    return {
        "font.family": "sans-serif",
        "font.size": 10,
        "svg.fonttype": "none",
        "svg.hashsalt": "jbn",
    } | dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink
    )


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element, the same bytes for the same data."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jbn"}):
        figure.savefig(
            file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    svg = file.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def _curves(rows: Sequence[Mapping[str, Any]], arm: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs, and values of shape (seeds, epochs); NaN where a seed had diverged."""
    mine = [row for row in rows if row["arm"] == arm]
    epochs = sorted({row["epoch"] for row in mine})
    seeds = sorted({row["seed"] for row in mine})
    values = np.full((len(seeds), len(epochs)), np.nan)
    for row in mine:
        if row[key] is not None:
            values[seeds.index(row["seed"]), epochs.index(row["epoch"])] = row[key]
    return np.asarray(epochs), values
