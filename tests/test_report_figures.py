"""The figures of a report: they show the data, and all that is written has room and is plain."""

from functools import partial
from itertools import combinations, product

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from jbn.report.figures import draw_learning_curves, draw_norms
from jbn.report.heat_map import draw_heat_map
from jbn.report.lines import draw_lines, draw_points
from jbn.report.metric import ACCURACY, Metric
from jbn.report.results import Cells
from jbn.report.style import color_of, to_svg
from jbn.report.sweep import Axis

LONG = [f"AN_ARM_{n} with a name that is long" for n in range(7)]
ARMS = ["batch", "none", "rms"]
SEEDS = (0.8, 1.0, 1.3)
RATES = Axis(0, "learning rate", np.logspace(-4, 1, 8).tolist(), np.arange(8), True, True)
PATHS = Axis(1, "data path", ["a/long/path/to/FILE.npz", "b", "c"], np.arange(3), False, False)


def curves(arms, num_epochs, low=0.01, high=10.0, seeds=(1.0, 1.0, 1.0)):
    """Of each arm others; the losses of the seeds are as these numbers."""
    of_seeds = np.geomspace(high, low, num_epochs) * np.reshape(seeds, (-1, 1))
    losses = {arm: (1 + number) * of_seeds for number, arm in enumerate(arms)}
    return {
        arm: {"val_accuracy": 1 / (1 + loss), "train_loss": loss, "gradient_norm": 100 * loss}
        for arm, loss in losses.items()
    }


def norms(arms, paths):
    """Of each layer of each arm others."""
    found = {arm: {"layers": {}} for arm in arms}
    for number, (arm, path) in enumerate(product(arms, paths)):
        means, ratios = [-30.0 - number, 0.0, 200.0, None], [1e-4, 1.0 + number, 1e4, None]
        found[arm]["layers"][path] = {"mean_gap": means, "std_ratio": ratios}
    return found


def cells(*shape):
    """Means in no order, no two the same; a seed diverged everywhere."""
    mean = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9875, np.prod(shape)))
    return Cells(mean.reshape(shape), np.full(shape, 0.01), np.ones(shape, int))


def some_diverged(*shape):
    """Such cells, and where seeds diverged: in every third."""
    num_diverged = (np.arange(np.prod(shape)) % 3 == 1).reshape(shape) * 2
    return cells(*shape)._replace(num_diverged=num_diverged), num_diverged.astype(bool)


FIGURES = {
    "curves": lambda: draw_learning_curves(curves(["batch", "none"], 10), ACCURACY),
    "curves, seven arms": lambda: draw_learning_curves(curves(LONG, 30, low=1e-7), ACCURACY),
    "curves, one epoch": lambda: draw_learning_curves(curves(["batch"], 1), ACCURACY),
    "curves, nearly one value": lambda: draw_learning_curves(
        curves(["batch"], 1, low=0.03, high=0.03, seeds=(1.0, 1.002, 1.005)), ACCURACY
    ),
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


def marked(axes, *markers):
    """The lines whose points are so marked."""
    return [line for line in axes.lines if line.get_marker() in markers]


def names_at(axis):
    """What stands at an axis' ticks, by place; nothing where the panel beside it has the names."""
    labels = [label.get_text() for label in axis.get_ticklabels()]
    return dict(zip(axis.get_ticklocs().tolist(), labels, strict=True)) if labels else {}


def test_learning_curves_are_the_means_over_seeds_in_the_arms_colours():
    wanted = curves(ARMS, 4, seeds=SEEDS)
    figure = draw_learning_curves(wanted, ACCURACY)
    panels = {
        "validation accuracy": "val_accuracy",
        "training loss (nats)": "train_loss",
        "gradient norm": "gradient_norm",
    }
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    for axes, key in zip(figure.axes, panels.values(), strict=True):
        for number, (arm, line) in enumerate(zip(ARMS, axes.lines, strict=True)):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
            np.testing.assert_allclose(line.get_ydata(), np.mean(wanted[arm][key], 0))
            assert same_color(line.get_color(), color_of(number))
            assert line.get_label() == arm
    check_legend(figure)


def check_legend(figure):
    """It names each arm beside its colour."""
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ARMS
    for number, handle in enumerate(legend.legend_handles):
        assert same_color(handle.get_color(), color_of(number))


def test_the_first_six_arms_have_six_colours_and_bands_about_their_curves():
    wanted = curves(LONG[:6], 4, seeds=SEEDS)
    axes = draw_learning_curves(wanted, ACCURACY).axes[0]
    assert len({line.get_color() for line in axes.lines}) == 6
    for found, line, band in zip(wanted.values(), axes.lines, axes.collections, strict=True):
        mean, std = (f(found["val_accuracy"], 0) for f in (np.mean, partial(np.std, ddof=1)))
        y = band.get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose([y.min(), y.max()], [(mean - std).min(), (mean + std).max()])
        assert same_color(band.get_facecolor()[0, :3], line.get_color())


def test_lines_go_through_the_means_at_the_values_and_their_ends_are_named():
    shown = cells(3, 8)
    (axes,) = draw_lines(shown, ARMS, RATES, "learning rate", ACCURACY).axes
    assert axes.get_xscale() == "log"
    drawn = zip(ARMS, shown.mean, marked(axes, "o"), axes.texts, strict=True)
    for number, (arm, mean, line, name) in enumerate(drawn):
        np.testing.assert_array_equal(line.get_xdata(), RATES.values)
        np.testing.assert_array_equal(line.get_ydata(), mean)
        assert same_color(line.get_color(), color_of(number))
        assert isinstance(name, Annotation)
        assert (name.get_text(), name.xy) == (arm, (RATES.values[-1], mean[-1]))
        assert same_color(name.get_color(), color_of(number))
    heights = [name.get_position()[1] for name in axes.texts]
    np.testing.assert_array_equal(np.argsort(heights), np.argsort(shown.mean[:, -1]))


def test_texts_of_lines_stand_below_their_values():
    texts = [f"{rate}\nand {number}" for number, rate in enumerate(RATES.values)]
    (axes,) = draw_lines(cells(2, 8), ARMS[:2], RATES, "x", ACCURACY, texts).axes
    assert names_at(axes.xaxis) == dict(zip(RATES.values, texts, strict=True))


def test_points_are_the_means_above_their_values_with_the_arms_from_left_to_right():
    shown = cells(3, 3)
    figure = draw_points(shown, ARMS, PATHS.values, "data path", ACCURACY)
    (axes,) = figure.axes
    points = marked(axes, "o")
    for number, (arm, mean, line) in enumerate(zip(ARMS, shown.mean, points, strict=True)):
        np.testing.assert_array_equal(np.round(line.get_xdata()), range(3))
        np.testing.assert_array_equal(line.get_ydata(), mean)
        assert same_color(line.get_color(), color_of(number))
        assert line.get_label() == arm
    assert (np.diff([line.get_xdata() for line in points], axis=0) > 0.1).all()
    assert names_at(axes.xaxis) == dict(enumerate(PATHS.values))
    check_legend(figure)


def test_bands_and_bars_are_a_deviation_about_the_mean_and_no_accuracy_is_above_one():
    shown = cells(3, 3)._replace(std=np.full((3, 3), 0.2))
    low, high = np.maximum(shown.mean - 0.2, 0), np.minimum(shown.mean + 0.2, 1)
    axis = RATES._replace(values=[1, 2, 3])
    (over,) = draw_lines(shown, ARMS, axis, "rate", ACCURACY).axes
    (beside,) = draw_points(shown, ARMS, PATHS.values, "path", ACCURACY).axes
    for arm, (band, bars) in enumerate(zip(over.collections, beside.collections, strict=True)):
        corners = band.get_paths()[0].vertices.tolist()
        for x, ends in zip(axis.values, zip(low[arm], high[arm], strict=True), strict=True):
            assert all([x, end] in corners for end in ends)
        assert isinstance(bars, LineCollection)
        drawn = [segment[:, 1] for segment in bars.get_segments()]
        np.testing.assert_array_equal(drawn, np.stack([low[arm], high[arm]], 1))
        assert same_color(bars.get_edgecolor()[0], color_of(arm))


def test_each_layers_gaps_are_in_its_row_in_its_arms_colour():
    """Of an arm that has no norms there are none."""
    figure = draw_norms(norms(ARMS[1:], ["first", "last"]), ARMS)
    rows = list(product((1, 2), ("first", "last")))
    names = [f"{ARMS[arm]}: {path}" for arm, path in rows]
    for axes, key, fit in zip(figure.axes, ("mean_gap", "std_ratio"), (0, 1), strict=True):
        for row, ((arm, path), line) in enumerate(zip(rows, marked(axes, "|"), strict=True)):
            gaps = norms(ARMS[1:], ["first", "last"])[ARMS[arm]]["layers"][path][key]
            np.testing.assert_array_equal(line.get_xdata(), np.array(gaps, float))
            np.testing.assert_array_equal(line.get_ydata(), [row] * 4)
            assert same_color(line.get_color(), color_of(arm))
        assert names_at(axes.yaxis) == (dict(enumerate(names)) if key == "mean_gap" else {})
        assert axes.get_ylim() == figure.axes[0].get_ylim() == (3.5, -0.5)
        assert list(axes.lines[-1].get_xdata()) == [fit, fit]


RMSE = Metric("rmse", higher_is_better=False)
# Of heat maps: the axis from below to above, and the metric.
MAPS = list(product((None, PATHS), (ACCURACY, RMSE)))


def shape_of(y):
    return (3, 8) if y is None else (3, 8, 3)


def maps_of(shown, y, metric):
    """The axes of the maps, and of each map its values, rows first."""
    figure = draw_heat_map(shown, ARMS, RATES, y, metric)
    *maps, _ = figure.axes  # the last one is the scale
    return maps, [shown.mean] if y is None else [mean.T for mean in shown.mean]


@pytest.mark.parametrize(("y", "metric"), MAPS)
def test_a_maps_cells_have_the_means_of_their_row_and_column(y, metric):
    size = 100 if metric is ACCURACY else 1
    for axes, mean in zip(*maps_of(cells(*shape_of(y)), y, metric), strict=True):
        written = {text.get_position(): float(text.get_text()) for text in axes.texts}
        wanted = {(column, row): size * value for (row, column), value in np.ndenumerate(mean)}
        assert written == pytest.approx(wanted, abs=size * (0.0051 if y else 0.00051))
        np.testing.assert_allclose(axes.images[0].get_array(), size * mean)


@pytest.mark.parametrize(("y", "rows"), [(None, ARMS), (PATHS, PATHS.values)])
def test_a_maps_names_stand_at_their_columns_and_rows(y, rows):
    maps, _ = maps_of(cells(*shape_of(y)), y, ACCURACY)
    for axes in maps:
        columns = {RATES.values[place]: name for place, name in names_at(axes.xaxis).items()}
        assert len(columns) == (8 if y is None else 4)  # of narrow ones every other
        np.testing.assert_allclose([*map(float, columns.values())], [*columns], rtol=0.05)
        assert names_at(axes.yaxis) == (dict(enumerate(rows)) if axes is maps[0] else {})
        assert axes.yaxis_inverted() == (y is None)  # the arms go down, and an axis goes up
    if y:
        assert [axes.get_title(loc="left") for axes in maps] == ARMS


def test_where_a_map_has_no_room_for_every_name_those_left_stand_at_their_places():
    across, up = (Axis(n, "x", list(range(100, 200)), np.arange(100), True, False) for n in (0, 1))
    axes = draw_heat_map(cells(1, 100, 100), ["a"], across, up, ACCURACY).axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        names = names_at(axis)
        assert 1 < len(names) < 100
        assert all(name == str(100 + place) for place, name in names.items())


@pytest.mark.parametrize(("y", "metric"), MAPS)
def test_each_arms_best_cell_has_a_frame(y, metric):
    best = np.argmax if metric is ACCURACY else np.argmin
    for axes, mean in zip(*maps_of(cells(*shape_of(y)), y, metric), strict=True):
        assert all(isinstance(patch, Rectangle) for patch in axes.patches)
        centres = [patch.get_center()[::-1] for patch in axes.patches]
        wanted = [*enumerate(best(mean, 1))] if y is None else [divmod(best(mean), 8)]
        np.testing.assert_allclose(centres, wanted)


def test_lines_and_points_have_a_cross_where_a_seed_diverged_and_nowhere_else():
    shown, has_diverged = some_diverged(3, 8)
    texts = [f"value {n}" for n in range(8)]
    lines = draw_lines(shown, ARMS, RATES, "rate", ACCURACY).axes[0]
    points = draw_points(shown, ARMS, texts, "value", ACCURACY).axes[0]
    for axes in (lines, points):
        both = zip(marked(axes, "o"), marked(axes, "x"), has_diverged, strict=True)
        for number, (means, crosses, has) in enumerate(both):
            np.testing.assert_array_equal(crosses.get_xydata(), means.get_xydata()[has])
            assert same_color(crosses.get_color(), color_of(number))


@pytest.mark.parametrize("y", [None, PATHS])
def test_a_maps_cells_have_a_cross_above_the_middle_where_a_seed_diverged(y):
    shown, has_diverged = some_diverged(*shape_of(y))
    maps, _ = maps_of(shown, y, ACCURACY)
    rows_first = [has_diverged] if y is None else has_diverged.swapaxes(1, 2)
    for axes, has in zip(maps, rows_first, strict=True):
        places = np.concatenate([line.get_xydata() for line in marked(axes, "x")])
        cells_of = np.round(places)
        assert sorted(cells_of[:, ::-1].tolist()) == np.argwhere(has).tolist()
        crosses, middles = (axes.transData.transform(of)[:, 1] for of in (places, cells_of))
        assert (crosses > middles).all()
