"""The report of a sweep: accuracies by the axes, and each arm's best point."""

import csv
import json
import re
import warnings

import numpy as np
import pytest

from jbn import store
from jbn.config import SweepConfig, config_from_dict, plan
from jbn.report import load_curves, summary_table
from jbn.report.metric import ACCURACY
from jbn.report.page import write_report
from jbn.report.results import Cells, load_results, mean_and_std, metric_at_end
from jbn.report.sweep import at_best, axes_of, main_axis
from jbn.report.text import shortened, text_of, texts_of
from jbn.store.table import append_rows
from jbn.summary import summarize

ARMS = {"clean": {}, "noisy": {"data": {"label_noise": 0.1}}}
MANY = {f"arm {n:090}": {"data": {"label_noise": n / 100}} for n in range(40)}
RATES = [0.001, 0.01, 0.1, 1.0]
MOMENTA = [0.5, 0.9, 0.99]


@pytest.fixture
def write_sweep(tmp_path):
    """Writes a sweep's folder with made-up results; returns it."""

    def write(axes, arms=ARMS, num_seeds=2, num_epochs=3, mode="grid", diverged=()):
        config = config_from_dict(
            {
                "name": "made-up",
                "num_seeds": num_seeds,
                "train": {"num_epochs": num_epochs},
                "arms": arms,
                "sweep": {"mode": mode, "axes": axes},
            }
        )
        trials = sorted((t for p in plan(config) for t in p.trials), key=lambda t: t.number)
        rng = np.random.default_rng(0)
        rows, ends = [], []
        for trial in trials:
            about = {"trial": trial.number, "arm": trial.arm, **trial.point, "seed": trial.seed}
            for epoch in range(1, trial.config.train.num_epochs + 1):
                names = ("train_loss", "val_accuracy", "gradient_norm")
                metrics = {name: rng.uniform(0.1, 1) for name in names}
                rows.append({**about, "epoch": epoch, **metrics, "diverged_step": -1})
            ends.append(
                {
                    **about,
                    "group": 0,
                    "part": 0,
                    "num_parameters": 1,
                    "diverged_step": 4 if trial.number in diverged else -1,
                    "val_accuracy": metrics["val_accuracy"],
                    **{name: rng.uniform(0.1, 1) for name in ("test_loss", "test_accuracy")},
                    "seconds": 0.5,
                }
            )
        part = {"data_sha256": {}, "device": "cpu"}
        metrics_shown = {"shown": ["accuracy", "loss"], "higher_is_better": ["accuracy"]}
        with store.opened(tmp_path / "made-up", config, part, metrics_shown, {}) as folder:
            out = folder.path
            append_rows(out / "trials.csv", ends)
            append_rows(out / "metrics.csv", rows)
            group = {"group": 0, "arm": "", "part": 0, "trial": 0, "num_lanes": len(trials)}
            append_rows(out / "groups.csv", [{**group, "compile_seconds": 0.5}])
            tables = store.read_trials(out), store.read_metrics(out), store.read_groups(out)
            folder.finish({}, summarize(config, metrics_shown, *tables))
        return out

    return write


def page(folder):
    return write_report(folder).read_text()


def pictures(html):
    return re.findall("<svg.*?</svg>", html, re.DOTALL)


def test_it_shows_best_points_and_three_pictures(small_sweep):
    html = (small_sweep / "report.html").read_text()
    headings, rows = summary_table(json.loads((small_sweep / "summary.json").read_text()))
    assert headings[1:3] == ["learning\nrate", "norm\nmomentum"]
    assert rows[0][-2] == "4 of 12"
    for cell in (*headings, *rows[0], *rows[1]):
        assert f">{cell}</t" in html
    for title in (
        "Best points",
        "Accuracy by learning rate and norm momentum",
        "Accuracy over learning rate",
        "Learning curves of the best points",
    ):
        assert f"<h2>{title}</h2>" in html
    assert "2 arms, 6 points, 2 seeds each: 24 trials" in html
    assert "best mean validation accuracy" in html
    assert len(pictures(html)) == 3
    assert "Batch statistics" not in html


def test_the_heat_map_has_the_means_of_the_table_of_trials(small_sweep):
    with (small_sweep / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    heat_map = pictures((small_sweep / "report.html").read_text())[0]
    written = re.findall(r">\s*(\d+\.\d)\s*</text>", heat_map)
    for arm in ("batch_norm", "no_norm"):
        for momentum in ("0.5", "0.9"):
            for rate in ("0.01", "0.1", "1e+30"):
                point = (arm, rate, momentum)
                keys = ("arm", "optimizer.learning_rate", "norm.momentum")
                found = [row for row in rows if tuple(row[key] for key in keys) == point]
                assert len(found) == 2
                mean = np.mean([float(row["val_accuracy"]) for row in found])
                assert f"{100 * mean:.1f}" in written
    assert len([number for number in written if float(number) < 100]) >= 12


def test_captions_say_what_a_cross_is_where_a_seed_diverged_and_only_there(
    small_sweep, write_sweep
):
    html = (small_sweep / "report.html").read_text()
    assert html.count("a seed or more of it diverged") == 2
    html = page(write_sweep({"optimizer.learning_rate": RATES}))
    assert "diverged," not in html


def test_of_the_axes_not_shown_each_cell_has_the_best(write_sweep):
    axes = {
        "norm.momentum": MOMENTA,
        "norm.kind": ["batch", "rms"],
        "optimizer.learning_rate": RATES,
    }
    results = load_results(write_sweep(axes, diverged=range(0, 96, 5)))
    momentum, kind, rate = axes_of(results.config.sweep)
    assert main_axis([momentum, kind, rate]) is rate
    cells = metric_at_end(results)
    grid = cells.mean.reshape(2, 3, 2, 4)
    found = at_best(cells, [momentum, kind, rate], [rate, momentum], ACCURACY)
    assert found.mean.shape == (2, 4, 3)
    np.testing.assert_array_equal(found.mean, grid.max(2).transpose(0, 2, 1))
    # The deviation and the diverged seeds are those of the same point.
    flat = [cells.mean.ravel().tolist().index(mean) for mean in found.mean.ravel()]
    np.testing.assert_array_equal(found.std.ravel(), cells.std.ravel()[flat])
    np.testing.assert_array_equal(found.num_diverged.ravel(), cells.num_diverged.ravel()[flat])
    assert 0 < np.count_nonzero(found.num_diverged) < found.num_diverged.size
    over = at_best(cells, [momentum, kind, rate], [rate], ACCURACY)
    np.testing.assert_array_equal(over.mean, grid.max((1, 2)))
    html = page(write_sweep(axes))
    assert "Accuracy by learning rate and norm momentum" in html
    assert "Each cell has the best of norm kind." in html
    assert "Each value has the best of norm momentum and norm kind." in html


def test_numbers_are_drawn_in_ascending_order(write_sweep):
    results = load_results(write_sweep({"optimizer.learning_rate": [0.1, 10.0, 1.0]}))
    (axis,) = axes_of(results.config.sweep)
    assert axis.values == [0.1, 1.0, 10.0]
    cells = metric_at_end(results)
    found = at_best(cells, [axis], [axis], ACCURACY)
    np.testing.assert_array_equal(found.mean, cells.mean[:, [0, 2, 1]])


@pytest.mark.parametrize(
    ("values", "is_numeric", "is_log"),
    [
        ([0.001, 0.01, 0.1], True, True),
        ([0.001, 0.003, 0.01, 0.03], True, True),
        ([0.001, 0.1], True, True),
        ([16, 32, 64, 128, 256], True, True),
        ([0.5, 0.9, 0.99], True, False),
        ([1.0, 10.0, 19.0], True, False),
        ([0.0, 0.1, 1.0], True, False),
        ([0.1], True, False),
        (["a", "b"], False, False),
        ([True, False], False, False),
        ([[8], [8, 8]], False, False),
        ([0.1, "a"], False, False),
    ],
)
def test_which_axes_are_numeric_and_which_logarithmic(values, is_numeric, is_log):
    (axis,) = axes_of(SweepConfig(axes={"norm.x": values}))
    assert (axis.is_numeric, axis.is_log) == (is_numeric, is_log)


def test_the_accuracy_at_the_end_is_that_of_a_trials_own_last_epoch(write_sweep):
    folder = write_sweep({"train.num_epochs": [1, 4]}, num_seeds=3)
    curves = load_results(folder).curves["val_accuracy"]
    expected = np.stack([curves[:, 0, :, 0], curves[:, 1, :, 3]], axis=1)
    cells = metric_at_end(load_results(folder))
    np.testing.assert_allclose(cells.mean, expected.mean(-1))
    np.testing.assert_allclose(cells.std, expected.std(-1, ddof=1))
    summary = json.loads((folder / "summary.json").read_text())
    for arm, found in load_curves(folder).items():
        num_epochs = summary["arms"][arm]["point"]["train.num_epochs"]
        assert {values.shape for values in found.values()} == {(3, num_epochs)}


@pytest.mark.parametrize(
    ("axes", "options", "num_pictures"),
    [
        ({"optimizer.learning_rate": RATES}, {}, 3),
        ({"norm.momentum": [0.9]}, {"arms": {"batch": {}}, "num_seeds": 1, "num_epochs": 1}, 3),
        ({"norm.use_bias": [True, False], "norm.kind": ["rms", "batch"]}, {}, 3),
        ({"model.hidden_sizes": [[8], [8, 8]], "optimizer.learning_rate": RATES}, {}, 3),
        ({"optimizer.learning_rate": RATES, "norm.momentum": MOMENTA}, {"diverged": range(48)}, 3),
        ({"optimizer.learning_rate": RATES}, {"mode": "zip"}, 2),
        ({"norm.kind": ["rms", "batch"], "norm.momentum": [0.5, 0.9]}, {"mode": "zip"}, 2),
        ({"norm.momentum": [0.9, 0.9], "norm.kind": ["rms", "batch"]}, {"mode": "zip"}, 2),
        ({"norm.momentum": np.linspace(0, 1, 30).tolist()}, {"mode": "zip"}, 2),
        ({"norm.momentum": MOMENTA}, {"arms": MANY}, 3),
    ],
)
def test_every_sweep_has_its_pictures(write_sweep, axes, options, num_pictures):
    assert len(pictures(page(write_sweep(axes, **options)))) == num_pictures


def test_axes_that_change_together_have_no_heat_map(write_sweep):
    axes = {"optimizer.learning_rate": RATES, "train.batch_size": [8, 16, 32, 64]}
    html = page(write_sweep(axes, mode="zip"))
    assert "Accuracy by" not in html
    assert "Together with learning rate changes batch size." in html
    for text in ("0.001", "64", "learning rate, batch size"):
        assert re.search(rf">\s*{text}\s*</text>", pictures(html)[0])


def test_values_that_look_like_html_or_formulas_are_text(write_sweep):
    values = ["<script>", r"$\frac$ & $x$"]
    html = page(write_sweep({"data.path": values}, arms={"one": {"data": {"name": "csv"}}}))
    assert "<script>" not in html
    assert all("&lt;script&gt;" in picture for picture in pictures(html)[:2])
    assert all(r"$\frac$ &amp; $x$" in picture for picture in pictures(html)[:2])


def test_ten_thousand_cells_are_a_small_page(write_sweep):
    axes = {
        "optimizer.learning_rate": np.logspace(-4, 1, 100).tolist(),
        "norm.momentum": np.linspace(0, 1, 100).tolist(),
    }
    folder = write_sweep(axes, {"batch": {}}, num_seeds=1, num_epochs=1, diverged=range(5000))
    write_report(folder)
    assert (folder / "report.html").stat().st_size < 1_000_000


def test_the_table_of_a_sweep_fits_a_terminal():
    accuracy = {"mean": 0.98, "interval": [0.975, 0.985]}
    arm = {
        "point": {"optimizer.learning_rate": 0.0215443, "norm.kind": "batch"},
        "num_diverged": 100,
        "num_trials": 128,
        "test_accuracy": accuracy,
        "test_loss": {"mean": 0.1},
        "epochs_to_target": {"median": None, "num_reached": 1},
        "compile_seconds": 101.25,
        "train_seconds": 0.5,
    }
    summary = {"num_seeds": 8, "shown": ["accuracy", "loss"], "target": 0.95, "arms": {"a": arm}}
    headings, rows = summary_table(summary)
    assert rows == [
        ["a", "0.0215", "batch", "0.980 [0.975, 0.985]", "0.100", "never", "100 of 128", "101.8"]
    ]
    columns = zip(headings, rows[0], strict=True)
    widths = [max(map(len, [*heading.split("\n"), cell])) for heading, cell in columns]
    assert sum(widths) + 2 * len(widths) <= 80
    arm |= {"test_accuracy": {"mean": None, "interval": None}, "test_loss": {"mean": None}}
    assert summary_table(summary | {"arms": {"a": arm}})[1][0][3:5] == ["diverged"] * 2


def test_mean_and_deviation_are_of_what_is_finite():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.inf]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean, std = mean_and_std(values)
    np.testing.assert_array_equal(mean, [2, 5, np.nan])
    np.testing.assert_allclose(std, [np.sqrt(2), np.nan, np.nan])


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.0001, 0.000278256, 10.0], ["0.0001", "0.00028", "10"]),
        ([0.9, 0.99, 0.999, 0.9999], ["0.9", "0.99", "0.999", "0.9999"]),
        ([0.99999, 1.0975], ["0.99999", "1.1"]),
        ([0.12341, 0.12342], ["0.12341", "0.12342"]),
        ([1e30, 1e-30], ["1e30", "1e-30"]),
        ([128, 131072], ["128", "131072"]),
        ([True, "a", None], ["true", "a", "None"]),
        ([0.1, 0.1], ["0.1", "0.1"]),
    ],
)
def test_values_are_short_and_differ(values, texts):
    assert texts_of(values) == texts


def test_long_names_lose_their_middle():
    assert text_of({"a": [1, 2.5]}) == "a 1, 2.5"
    assert shortened("x" * 24) == "x" * 24
    assert len(shortened("x" * 25)) == 24


def test_cells_are_a_tuple_of_equal_shapes(small_sweep):
    cells = metric_at_end(load_results(small_sweep))
    assert isinstance(cells, Cells)
    assert {values.shape for values in cells} == {(2, 6)}
    np.testing.assert_array_equal(cells.num_diverged, [[2, 2, 0, 0, 0, 0]] * 2)
