"""The figures of a report: all that is written has room, and is written plainly."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jbn.report.figures import draw_learning_curves, draw_norms
from jbn.report.heat_map import draw_heat_map
from jbn.report.lines import draw_lines, draw_points
from jbn.report.metric import ACCURACY
from jbn.report.results import Cells
from jbn.report.style import to_svg
from jbn.report.sweep import Axis

LONG = [f"AN_ARM_{n} with a name that is long" for n in range(7)]
RATES = Axis(0, "learning rate", np.logspace(-4, 1, 8).tolist(), np.arange(8), True, True)
PATHS = Axis(1, "data path", ["a/long/path/to/FILE.npz", "b", "c"], np.arange(3), False, False)


def curves(arms, num_epochs, low=0.01, high=10.0):
    loss = np.geomspace(high, low, num_epochs) * np.ones((3, 1))
    found = {"val_accuracy": 1 / (1 + loss), "train_loss": loss, "gradient_norm": 100 * loss}
    return dict.fromkeys(arms, found)


def norms(arms, paths):
    gaps = {"mean_gap": [-30.0, 0.0, 200.0], "std_ratio": [1e-4, 1.0, 1e4]}
    return {arm: {"layers": dict.fromkeys(paths, gaps)} for arm in arms}


def cells(*shape):
    mean = np.linspace(0.1, 0.9875, np.prod(shape)).reshape(shape)
    return Cells(mean, np.full(shape, 0.01), np.ones(shape, int))


FIGURES = {
    "curves": lambda: draw_learning_curves(curves(["batch", "none"], 10), ACCURACY),
    "curves, seven arms": lambda: draw_learning_curves(curves(LONG, 30, low=1e-7), ACCURACY),
    "curves, one epoch": lambda: draw_learning_curves(curves(["batch"], 1), ACCURACY),
    "curves, flat": lambda: draw_learning_curves(
        curves(["batch"], 9, low=0.0121, high=0.0125), ACCURACY
    ),
    "norms": lambda: draw_norms(norms(["batch"], ["BatchNorm_0"]), ["batch"]),
    "norms, long": lambda: draw_norms(norms(LONG, ["encoder/layers_3/block/norm" * 3]), LONG),
    "map": lambda: draw_heat_map(cells(2, 8), ["batch", "none"], RATES, None, ACCURACY),
    "map, seven arms": lambda: draw_heat_map(cells(7, 8), LONG, RATES, None, ACCURACY),
    "maps": lambda: draw_heat_map(cells(7, 8, 3), LONG, RATES, PATHS, ACCURACY),
    "lines": lambda: draw_lines(cells(7, 8), LONG, RATES, "learning rate", ACCURACY),
    "lines, texts": lambda: draw_lines(
        cells(2, 8), ["a", "b"], RATES, "x", ACCURACY, ["1\n2\n3"] * 8
    ),
    "points": lambda: draw_points(cells(7, 3), LONG, PATHS.values, "data path", ACCURACY),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_everything_is_within_the_figure_and_nothing_over_another_panel(draw):
    """As matplotlib's font has it, which is a broad one."""
    figure = draw()
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    whole = figure.bbox
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    for box in boxes + [text.get_window_extent(renderer) for text in figure.texts]:
        assert min(box.x0, box.y0) >= 0, box
        assert box.x1 <= whole.x1, box
        assert box.y1 <= whole.y1, box
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other), (one, other)


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_no_tick_is_a_formula(draw):
    assert "<tspan" not in to_svg(draw())


def test_ticks_over_many_decades_are_powers_of_ten_and_within_one_are_round_numbers():
    of_decades = {1e-4, 1e-2, 1}, {1e-5, 1e-3, 1e-1}  # Matplotlib 3.10 names the odd powers
    for low, high, wanted in (
        (1e-6, 100.0, of_decades),
        (0.0121, 0.0125, [{0.0122, 0.0124}]),
    ):
        loss = draw_learning_curves(curves(["batch"], 9, low, high), ACCURACY).axes[1]
        loss.figure.draw_without_rendering()
        ticks = [*loss.yaxis.get_major_ticks(), *loss.yaxis.get_minor_ticks()]
        texts = [tick.label1.get_text().replace("\N{MINUS SIGN}", "-") for tick in ticks]
        named = {tick.get_loc(): float(t) for tick, t in zip(ticks, texts, strict=True) if t}
        assert any(some <= set(named.values()) for some in wanted)
        np.testing.assert_allclose(list(named.values()), list(named), rtol=1e-9)


@pytest.mark.parametrize(("largest", "scale"), [(0.07, "linear"), (30.0, "symlog")])
def test_small_gaps_of_means_have_a_linear_axis(largest, scale):
    layer = {"mean_gap": [0.0, None, largest], "std_ratio": [1.0, 1.1, None]}
    figure = draw_norms({"a": {"layers": {"BatchNorm_0": layer}}}, ["a"])
    assert figure.axes[0].get_xscale() == scale
