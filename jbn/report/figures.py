"""Learning curves, and batch statistics."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jbn.report.metric import Metric
from jbn.report.results import Curves, mean_and_std
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
from jbn.report.text import shortened

# Of a channel: the key, what it is, its value where the statistics fit, and the scale.
_GAPS = (
    ("mean_gap", "distance of the means, in deviations of the data", 0, "symlog"),
    ("std_ratio", "deviation of the data over the running one", 1, "log"),
)
_LINEAR = 0.1  # a symlog axis is linear up to here


def draw_learning_curves(curves: Curves, metric: Metric, ink: str = INK) -> Figure:
    """The metric, loss and gradient norm over the epochs: mean ± standard deviation over seeds.

    A seed that diverged has no loss any more; mean and deviation are then those of the others.
    """
    num_rows = -(-len(curves) // 4)  # of the legend
    measured = next(iter(curves.values()))
    units = " (nats)" if "val_accuracy" in measured else ""
    shown = [
        (f"val_{metric.name}", metric.words, "linear"),
        ("train_loss", f"training loss{units}", "log"),
        ("gradient_norm", "gradient norm", "log"),
    ]
    shown = [panel for panel in shown if panel[0] in measured]
    with matplotlib.rc_context(rc(ink)):
        figure = make_figure(3.4 + 0.2 * num_rows)
        panels = _side_by_side(
            figure, len(shown), left=0.75, gap=0.75, bottom=0.45, top=0.5 + 0.2 * num_rows
        )
        for axes, (key, label, scale) in zip(panels, shown, strict=True):
            for number, (arm, found) in enumerate(curves.items()):
                _draw_curve(axes, number, arm, found[key], scale)
            drawn = np.concatenate([line.get_ydata() for line in axes.lines])
            if np.any(np.isfinite(drawn) & (drawn > 0)):
                axes.set_yscale(scale)
                if scale == "log":
                    name_plainly(axes.yaxis)
            else:
                axes.text(0.5, 0.5, "every seed diverged", ha="center", transform=axes.transAxes)
                axes.set_axis_off()
            axes.set_xlabel("epoch")
            axes.set_title(label)
            axes.locator_params(axis="x", integer=True, min_n_ticks=1)
            make_bare(axes)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="upper left", ncols=4, frameon=False, handlelength=3, borderpad=1
        )
    return figure


def draw_norms(norms: Mapping[str, Any], arms: Sequence[str], ink: str = INK) -> Figure:
    """Each channel's gap between the data's statistics and the running ones, layer by layer.

    In the colours that the arms have in the learning curves.
    """
    lanes = [(arm, path) for arm, found in norms.items() for path in found["layers"]]
    names = [shortened(f"{shortened(arm)}: {path}", 48) for arm, path in lanes]
    with matplotlib.rc_context(rc(ink)):
        figure = make_figure(0.9 + 0.32 * len(lanes))
        left = room_for(names) + 0.2
        panels = _side_by_side(figure, 2, left=left, gap=0.25, bottom=0.25, top=0.3)
        for axes, (key, label, fit, scale) in zip(panels, _GAPS, strict=True):
            of_lanes = [np.array(norms[arm]["layers"][path][key], float) for arm, path in lanes]
            _set_scale(axes, scale, np.concatenate(of_lanes))
            for row, ((arm, _), values) in enumerate(zip(lanes, of_lanes, strict=True)):
                color = color_of(arms.index(arm))
                axes.plot(values, np.full(values.size, row), "|", color=color, markersize=11)
            axes.axvline(fit, color=ink, linewidth=0.8, alpha=0.6)
            axes.set_title(label)
            axes.set_yticks(range(len(lanes)), names)
            axes.tick_params(labelleft=axes is panels[0])
            axes.set_ylim(len(lanes) - 0.5, -0.5)
            make_bare(axes)
            axes.grid(visible=False, axis="y")
    return figure


def _set_scale(axes: Axes, scale: str, values: np.ndarray) -> None:
    """Makes the axis logarithmic; a symlog axis whose values are all in its linear part is linear.

    Matplotlib would put that one's ticks at its ends. A value that is None is NaN here.
    """
    if scale == "symlog" and not (np.abs(values) > _LINEAR).any():
        return
    axes.set_xscale(scale, **({"linthresh": _LINEAR} if scale == "symlog" else {}))
    name_plainly(axes.xaxis)


def _side_by_side(
    figure: Figure, num_panels: int, left: float, gap: float, bottom: float, top: float
) -> list[Axes]:
    """Axes of the figure's whole width and height, but for these inches."""
    step = (WIDTH - left - RIGHT + gap) / num_panels
    height = figure.get_figheight() - bottom - top
    return [
        add_panel(figure, left + number * step, bottom, step - gap, height)
        for number in range(num_panels)
    ]


def _draw_curve(axes: Axes, number: int, arm: str, values: np.ndarray, scale: str) -> None:
    """One arm's line and band."""
    mean, std = mean_and_std(values)
    epochs = np.arange(1, len(mean) + 1)
    color = color_of(number)
    axes.plot(
        epochs,
        mean,
        color=color,
        linestyle=dashes_of(number),
        marker="o" if len(epochs) == 1 else None,  # a line of one point can't be seen
        label=shortened(arm),
        linewidth=1.8,
    )
    # On a log axis a band that reaches zero would fill the panel.
    low = np.maximum(mean - std, mean / 10) if scale == "log" else mean - std
    axes.fill_between(epochs, low, mean + std, color=color, alpha=0.15, linewidth=0)
