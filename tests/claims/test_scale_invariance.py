"""What is judged of the scale of weights, and what is computed of it."""

import itertools

import jax
import numpy as np
import pytest
import scale_invariance.collect as collect
from scale_invariance.measure import measure, narrowed
from values import SEED, SPLIT, label

from jbn import load_run
from jbn.config import DataConfig, config_from_dict
from jbn.data import load
from jbn.run import run
from jbn.store import read_trials


def rows_of(length_of, limit):
    """Rows of kernels that end with a squared length, and of arms that learn below a limit."""
    noise, rows = np.random.default_rng(0), []
    points = itertools.product(collect.ARMS, collect.REPEATS, collect.GAINS, collect.RATES)
    for arm, split, gain, rate in points:
        found = {"part": "training", "arm": arm, SPLIT: str(split), SEED: str(split)}
        found |= {"gain": label(gain), "hidden_rate": label(rate)}
        accuracy = 0.95 if arm != "no_norm" or rate < limit else 0.1
        found |= dict.fromkeys(collect.ACCURACIES, str(accuracy - 0.01 * noise.random()))
        for name, step in itertools.product(collect.HIDDEN, collect.STEPS):
            square = length_of(rate) if step == collect.STEPS[-1] else 1
            found[f"norm_{name}_{step}"] = str(np.sqrt(square) * (1 + 0.01 * noise.random()))
        rows.append(found | dict.fromkeys(collect.THEOREM, ""))
    for arm, split in itertools.product(collect.ARMS, collect.REPEATS):
        errors = dict.fromkeys(collect.THEOREM, "nan" if arm == "no_norm" else "1e-16")
        place = {"part": "theorem", "arm": arm, SPLIT: str(split), SEED: str(split)}
        rows.append(dict.fromkeys(rows[0], "") | place | errors)
    return rows


@pytest.mark.parametrize(
    ("length_of", "limit", "verdict"),
    [
        (lambda rate: rate, 1.5, "holds"),
        (lambda rate: max(1, rate), 1.5, "holds partly"),
        (lambda rate: 1, np.inf, "refuted"),
    ],
)
def test_verdicts_are_those_of_the_rule(length_of, limit, verdict):
    finding = measure(rows_of(length_of, limit))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert set(finding.headline) <= set(finding.panels[0].lines)
    assert (finding.num_repeats, finding.num_trainings) == (10, 3 * 10 * 2 * 13)


def test_sizes_that_are_not_finite_came_not_together():
    sizes = np.array([[[1.0, 1.0], [10.0, 100.0]], [[1.0, np.nan], [1.0, 1.0]]])
    np.testing.assert_allclose(narrowed(sizes), [1, 0])
    sizes[1, 0, 1] = np.inf
    np.testing.assert_allclose(narrowed(sizes), [1, 0])


@pytest.mark.slow
def test_one_rate_for_all_is_the_engines_training(tmp_path, monkeypatch):
    steps = (0, 90)
    norms = tuple(f"norm_{name}_{step}" for name in collect.HIDDEN for step in steps)
    less = {
        "RATES": np.array([0.1, 1.0]),
        "GAINS": (1.0,),
        "ARMS": {"batch_norm": collect.ARMS["batch_norm"]},
        "NUM_EPOCHS": 2,
        "STEPS": steps,
        "NORMS": norms,
    }
    for name, value in less.items():
        monkeypatch.setattr(collect, name, value)
    rows, _ = collect.rows([3])
    table = {
        "name": "x",
        "seed": 3,
        "num_seeds": 1,
        "data": {"split_seed": 3},
        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
        "train": {"num_epochs": 2, "recompute_stats": True},
    }
    run(config_from_dict(table), tmp_path, device=jax.devices()[0])
    (row,) = [row for row in rows if row["hidden_rate"] == "0.1"]
    for name in collect.ACCURACIES:
        assert float(row[name]) == pytest.approx(read_trials(tmp_path)[name][0], rel=1e-5)
    params = load_run(tmp_path).variables["params"]
    for name in collect.HIDDEN:
        squares = sum((np.asarray(of, np.float64) ** 2).sum() for of in params[name].values())
        assert float(row[f"norm_{name}_90"]) == pytest.approx(np.sqrt(squares), rel=1e-4)


def test_the_theorem_is_true_of_what_a_norm_follows_alone():
    dataset = load(DataConfig(split_seed=3))
    for arm, is_true in (("batch_norm", True), ("no_norm", False)):
        errors = collect.make_errors(collect.ARMS[arm], dataset)(dataset, 3)
        for name in collect.THEOREM:
            assert (errors[name] < 1e-12) == is_true, (arm, name)
