"""Gradients that explode: the verdicts, and the trainings."""

import itertools

import exploding_gradients.collect as collect
import exploding_gradients.measure as measured
import initialization.collect as initialization
import numpy as np
import pytest
from trainings import ARMS
from values import MEASURES, SEED, SPLIT, label


def rows_of(accuracy):
    """Rows of ten splits, with accuracies of `accuracy(arm, gain)`, less noise."""
    noise, rows = np.random.default_rng(0), []
    points = itertools.product(ARMS, collect.GAINS, collect.RATES, collect.REPEATS)
    for arm, gain, rate, split in points:
        row = {"arm": arm, "gain": label(gain), "learning_rate": label(rate)}
        row |= {SPLIT: str(split), SEED: str(split)}
        found = str(accuracy(arm, gain) - 0.01 * noise.random())
        rows.append(row | dict.fromkeys(MEASURES, found) | {"diverged_step": "-1"})
    return rows


CASES = [
    (lambda arm, gain: 0.1 if arm == "no_norm" else 0.9, "holds"),
    (lambda arm, gain: 0.1 if arm == "no_norm" or gain > 100 else 0.9, "holds partly"),
    # Nothing diverges, and nothing is learned.
    (lambda arm, gain: 0.1, "refuted"),
    (lambda arm, gain: 0.4 if arm == "batch_norm" else 0.1, "refuted"),
]


@pytest.mark.parametrize(("accuracy", "verdict"), CASES)
def test_verdicts_are_those_of_the_rule(accuracy, verdict):
    finding = measured.measure(rows_of(accuracy))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert finding.num_repeats == 10


@pytest.mark.slow
def test_runs_are_those_of_initialization_and_diverge_to_guessing(monkeypatch):
    monkeypatch.setattr(initialization, "OPTIMIZERS", ("sgd",))
    monkeypatch.setattr(initialization, "DEPTHS", (2,))
    monkeypatch.setattr(collect, "DEPTH", 2)
    for module in (collect, initialization):
        monkeypatch.setattr(module, "ARMS", {"no_norm": ARMS["no_norm"]})
        monkeypatch.setattr(module, "WIDTH", 8)
        monkeypatch.setattr(module, "GAINS", np.array([1.0, 1000.0]))
        monkeypatch.setattr(module, "RATES", np.array([0.1, 10.0]))
    rows, _ = collect.rows([3])
    others, _ = initialization.rows([3])
    assert [{"optimizer": "sgd", "depth": "2", **row} for row in rows] == others
    good, *_, bad = rows
    assert float(good["test_accuracy"]) > 0.7
    assert good["diverged_step"] == "-1"
    assert float(bad["test_accuracy"]) < 0.2
    assert int(bad["diverged_step"]) >= 0
