"""Progress by epoch: what it comes to, and that the losses are the engine's."""

import itertools

import jax
import numpy as np
import pytest
import similar_progress.collect as collect
from similar_progress.measure import PREDICTED, measure, unevenness
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, ModelConfig
from jbn.data import load
from jbn.train import (
    Hypers,
    batches_to_evaluate,
    evaluate_batches,
    final_variables,
    make_task,
    run_training,
)
from jbn.train.state import TrainKeys

EVEN = np.ones(10)
EARLY = np.array([9.0, 1, 0, 0, 0, 0, 0, 0, 0, 0])


def rows_of(progress):
    """Rows of trainings that make `progress(network, arm)` halvings, give or take 1%."""
    noise, rows = np.random.default_rng(0), []
    for title, (_, rates) in collect.NETWORKS.items():
        for arm, rate, split in itertools.product(collect.ARMS, rates, collect.REPEATS):
            made = progress(title, arm) * (1 + 0.01 * noise.random(10))
            losses = 2.3 * 2.0 ** -np.cumsum([0, *made])
            row = {"network": title, "arm": arm, "learning_rate": label(float(rate))}
            row |= {SPLIT: str(split), SEED: str(split), "val_accuracy": "0.9"}
            rows.append(row | dict(zip(collect.LOSSES, map(str, losses), strict=True)))
    return rows


@pytest.mark.parametrize(
    ("progress", "verdict"),
    [
        (lambda title, arm: EVEN if arm == "batch_norm" else EARLY, "holds"),
        (lambda title, arm: EVEN if arm == "batch_norm" else EARLY[::-1], "holds"),
        (
            lambda title, arm: EARLY if arm == "no_norm" and "sigmoids" in title else EVEN,
            "holds partly",
        ),
        (lambda title, arm: EARLY if arm == "batch_norm" else EVEN, "refuted"),
        (lambda title, arm: EARLY, "refuted"),
        # What diverges makes no even progress.
        (lambda title, arm: EARLY * (np.nan if arm == "batch_norm" else 1), "refuted"),
    ],
)
def test_a_verdict_is_on_how_even_the_progress_is(progress, verdict):
    finding = measure(rows_of(progress))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert finding.num_repeats == 10
    assert len(finding.panels) == len(finding.judged) == len(PREDICTED)


@pytest.mark.parametrize(
    ("progress", "wanted"),
    [
        (EVEN, 0),
        ([1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0.9),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 0.9),
        ([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], 0.5),
        # Ups and downs cancel out, but a training that ends where it began made no progress.
        ([2, 0, 2, 0, 2, 0, 2, 0, 2, 0], 0.1),
        ([1, -1, 0, 0, 0, 0, 0, 0, 0, 0], 0.9),
        ([5, -4, 0, 0, 0, 0, 0, 0, 0, 0], 0.9),
    ],
)
def test_unevenness_is_the_largest_distance_from_an_even_course(progress, wanted):
    found = unevenness(np.array(progress, float)[:, None, None])
    assert found.item() == pytest.approx(wanted)


@pytest.mark.slow
def test_losses_are_those_of_the_engines_training(monkeypatch):
    """The last one; and the first, which is that of the initial network."""
    shared = ArmConfig(model=ModelConfig(hidden_sizes=(8,)))
    monkeypatch.setattr(collect, "NETWORKS", {"x": (shared, np.array([1e-3, 1e-2]))})
    norm = collect.ARMS["batch_norm"]
    monkeypatch.setattr(collect, "ARMS", {"batch_norm": norm})
    rows, seconds = collect.rows([3])
    assert len(rows) == 2 * collect.NUM_SEEDS
    assert seconds > 0
    dataset = load(DataConfig(split_seed=3))
    config = shared.model_copy(update={"norm": norm})
    task = make_task(config, dataset.spec)
    hypers, row = Hypers.of(config)._replace(learning_rate=np.float32(1e-2)), rows[-1]
    assert (row[SPLIT], row[SEED], row["learning_rate"]) == ("3", "1003", "0.01")
    key = jax.random.key(1003)
    keys = TrainKeys.of(key)
    last, metrics = run_training(task, key, *dataset[:2], hypers)
    accuracy = float(metrics.val["accuracy"][-1])
    assert float(row["val_accuracy"]) == pytest.approx(accuracy, rel=1e-4)
    for state, name in ((task.init(keys, hypers), "train_loss_0"), (last, "train_loss_10")):
        variables = final_variables(task, state, dataset.train.x, keys, hypers)
        found = evaluate_batches(task, variables, batches_to_evaluate(dataset.train), hypers)
        assert float(row[name]) == pytest.approx(float(found.means["loss"]), rel=1e-3)
