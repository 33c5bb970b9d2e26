"""What the article's claims are judged by: grids of accuracies, tuning, widths, intervals."""

import csv
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from claims import CLAIMS, draw
from grids import Grid, decades_near_the_best, estimate, load_grid, tuned

from jbn.config import load_config, plan

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def test_a_grid_holds_each_trial_at_its_arm_point_and_seed(small_sweep):
    grid = load_grid(small_sweep)
    with (small_sweep / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert grid.test.size == len(rows)
    first = int(rows[0]["seed"])
    for row in rows:
        place = [list(map(str, values)).index(row[key]) for key, values in grid.axes.items()]
        index = (grid.arms.index(row["arm"]), *place, int(row["seed"]) - first)
        assert grid.test[index] == float(row["test_accuracy"])
        assert grid.val[index] == float(row["val_accuracy"])


def test_tuning_looks_at_validation_alone_and_at_the_mean_over_seeds():
    axes = {"model.init_gain": [1, 2], "optimizer.learning_rate": [0.1, 0.2, 0.3]}
    val, test = np.random.default_rng(0).random((2, 4, 2, 3, 5))
    found = tuned(Grid(list("abcd"), axes, val, test))
    for arm in range(4):
        for gain in range(2):
            best = max(range(3), key=lambda rate: val[arm, gain, rate].mean())
            np.testing.assert_array_equal(found[arm, gain], test[arm, gain, best])


def test_decades_count_what_is_within_a_point_of_the_best():
    rates = np.logspace(-4, 1, 16)  # three to a decade
    accuracy = np.full(16, 0.5)
    accuracy[[3, 4, 5, 9]] = [0.975, 0.98, 0.971, 0.969]
    assert decades_near_the_best(accuracy[:, None], rates) == pytest.approx(1)


def test_an_interval_is_that_of_the_mean_and_seeds_are_drawn_together():
    values = np.random.default_rng(0).normal(size=200)
    found = estimate(lambda v: v.mean(), values)
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / np.sqrt(200)
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    pairs = estimate(lambda a, b: (a - b).mean(), values + 1, values)
    assert pairs == pytest.approx((1, 1, 1))


RATE, ORDER, NORMALIZE = "optimizer.learning_rate", "train.order", "data.normalize"
# Accuracies, of an arm at a point, and the verdict that the claim's README has for them.
VERDICTS = [
    ("learning_rate", lambda arm, p: arm != "no_norm" or p[RATE] < 1e-3, "holds"),
    ("learning_rate", lambda arm, p: arm == "no_norm" or p[RATE] < 1e-3, "does not hold here"),
    ("initialization", lambda arm, p: arm != "no_norm" or p["model.init_gain"] < 1, "holds"),
    ("initialization", lambda arm, p: True, "does not hold here"),
    ("sample_order", lambda arm, p: arm == "batch_norm" or p[ORDER] == "shuffled", "holds"),
    (
        "sample_order",
        lambda arm, p: arm == "no_norm" or p[ORDER] in ("shuffled", "fixed"),
        "does not hold here",
    ),
    ("input_normalization", lambda arm, p: p[NORMALIZE] != "standardize", "holds"),
    ("input_normalization", lambda arm, p: p[NORMALIZE] != "none", "does not hold here"),
    ("momentum_and_epsilon", lambda arm, p: p["norm.momentum"] < 0.9, "holds"),
    (
        "momentum_and_epsilon",
        lambda arm, p: p["norm.momentum"] < 0.9 or p["train.num_epochs"] == 10,
        "holds partly",
    ),
    ("momentum_and_epsilon", lambda arm, p: True, "does not hold here"),
]


@pytest.mark.parametrize(("name", "is_good", "verdict"), VERDICTS)
def test_verdicts_are_those_that_were_announced(name, is_good, verdict):
    config = load_config(EXPERIMENTS / name / "config.toml")
    mean = [
        0.95 if is_good(trial.arm, trial.point) else 0.6
        for program in plan(config)
        for trial in sorted(program.trials, key=lambda trial: trial.number)
    ]
    numbers = [trial.number for program in plan(config) for trial in program.trials]
    shape = (len(config.arms), *map(len, config.sweep.axes.values()), config.num_seeds)
    accuracy = np.empty(len(mean))
    accuracy[numbers] = mean + 0.0001 * np.random.default_rng(0).random(len(mean))
    grid = Grid(list(config.arms), config.sweep.axes, *[accuracy.reshape(shape)] * 2)
    finding = importlib.import_module(f"{name}.measure").measure(grid)
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert len(draw(finding).axes[0].lines) == len(finding.lines)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_result_is_that_of_the_config_beside_it(name):
    config = load_config(EXPERIMENTS / name / "config.toml")
    results = json.loads((EXPERIMENTS / name / "results.json").read_text())
    assert results["num_runs"] == sum(len(program.trials) for program in plan(config))
    assert results["num_seeds"] == config.num_seeds
    assert (EXPERIMENTS / name / "figure.svg").is_file()
