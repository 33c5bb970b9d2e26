"""The rule of all claims, its intervals, and the table of trials that they are of."""

import doctest
import importlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from values import MEASURES, SEED, SPLIT, read_rows, train, tuned, values_of, write_rows
from verdicts import Comparison, judge, mean_of

from jbn import store

RATE = "optimizer.learning_rate"


def test_an_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [mean_of(rng.normal(size=10)) for _ in range(4000)]
    assert np.mean([of.low < 0 < of.high for of in found]) == pytest.approx(0.95, abs=0.01)


def test_of_many_comparisons_few_claims_are_right_by_chance():
    """Where each effect is the smallest that counts, none should hold and none be refuted."""
    rng = np.random.default_rng(0)
    verdicts = [
        judge([Comparison(str(n), 2 + rng.normal(size=10), 2, "holds") for n in range(6)])[0]
        for _ in range(1000)
    ]
    assert np.mean([verdict != "not shown" for verdict in verdicts]) < 0.05


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ([3.0, 3.0], "holds"),
        ([3.0, 1.0], "holds partly"),
        ([1.0, -3.0], "refuted"),
        ([2.0, 1.0], "not shown"),
        ([2.0, 3.0], "holds partly"),
        ([2.0, 2.0], "not shown"),
    ],
)
def test_a_claim_is_judged_by_its_comparisons(effects, verdict):
    spread = np.linspace(-0.1, 0.1, 10)
    comparisons = [Comparison(str(mean), mean + spread, 2.0, "holds") for mean in effects]
    assert judge(comparisons)[0] == verdict


def test_rows_make_a_grid_and_come_back_from_a_file(tmp_path):
    varied = {"arm": "ab", RATE: ["0.1", "1.0"], SPLIT: "12", SEED: "345"}
    points = [dict(zip(varied, p, strict=True)) for p in itertools.product(*varied.values())]
    rows = [point | dict.fromkeys(MEASURES, str(n / 100)) for n, point in enumerate(points)]
    write_rows(tmp_path / "values.csv", rows)
    assert read_rows(tmp_path / "values.csv") == rows
    values = values_of(rows[::-1])
    for row in rows:
        found = values.at({"arm": row["arm"], RATE: row[RATE]})
        assert found.labels == {}
        of_point = found.measures["test_accuracy"]
        assert of_point.shape == (2, 3)
        assert float(row["test_accuracy"]) in of_point
    of_other_seeds = [row if row[SPLIT] == "1" else row | {SEED: row[SEED] + "0"} for row in rows]
    for name, of in values_of(of_other_seeds).measures.items():
        np.testing.assert_array_equal(of, values_of(rows).measures[name])
    with pytest.raises(ValueError, match="wanted one for each of arm × optimizer"):
        values_of(rows[1:])
    with pytest.raises(ValueError, match="wanted one for each of arm × optimizer"):
        values_of([*rows, rows[0]])


def test_a_split_has_no_part_in_the_choice_of_its_point():
    val, test = np.random.default_rng(0).random((2, 5, 4, 3))
    found = tuned(val, test)
    for split in range(4):
        others = np.delete(val, split, axis=1)
        best = max(range(5), key=lambda point: others[point].mean())
        np.testing.assert_array_equal(found[split], test[best, split])


EXPERIMENTS = Path(__file__).parents[1] / "experiments"
MODULES = [
    ".".join(path.relative_to(EXPERIMENTS).with_suffix("").parts)
    for path in sorted([*EXPERIMENTS.glob("*.py"), *EXPERIMENTS.glob("*/*.py")])
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_experiments_are_right(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0
    assert found.attempted > 0


CONFIG = """
name = "x"
seed = 100
num_seeds = 1
[model]
hidden_sizes = [4]
[train]
num_epochs = 1
[sweep]
data.split_seed = [100, 101, 102]
"""


def test_a_small_training_takes_two_splits(tmp_path):
    (tmp_path / "x.toml").write_text(CONFIG)
    rows, seconds = train(tmp_path / "x.toml", tmp_path / "x", small=True)
    assert [(row[SPLIT], row[SEED]) for row in rows] == [("100", "100"), ("101", "100")]
    assert seconds > 0
    trials = store.read_trials(tmp_path / "x")
    assert [float(row["test_accuracy"]) for row in rows] == pytest.approx(
        trials["test_accuracy"].tolist(), rel=1e-5
    )
