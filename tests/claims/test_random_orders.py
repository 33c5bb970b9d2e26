"""Whether two random orders come to more nearly the same: the verdict, and what is collected."""

import itertools

import numpy as np
import pytest
from random_orders.collect import ARMS, NETWORKS, NUM_ORDERS, RATES, REPEATS, make_run
from random_orders.measure import measure
from values import SEED, SPLIT

from jbn.config import ArmConfig, DataConfig, ModelConfig, TrainConfig
from jbn.data import load
from jbn.train import make_task


def rows_of(disagreement):
    """Rows whose disagreement is `disagreement(depth, arm)`, give or take a thousandth."""
    noise, rows = np.random.default_rng(0), []
    for (optimizer, depth), arm, split in itertools.product(NETWORKS, ARMS, REPEATS):
        for rate, order in itertools.product(RATES[optimizer], range(NUM_ORDERS)):
            row = {"optimizer": optimizer, "depth": str(depth), "arm": arm, SPLIT: str(split)}
            row |= {"learning_rate": str(rate), SEED: str(order)}
            row |= dict.fromkeys(("val_accuracy", "test_accuracy"), "0.9")
            found = disagreement(depth, arm) + 0.001 * noise.random()
            rows.append(row | {"disagreement": str(found)})
    return rows


@pytest.mark.parametrize(
    ("disagreement", "verdict"),
    [
        (lambda depth, arm: 0.05 if arm == "no_norm" else 0.01, "holds"),
        (lambda depth, arm: 0.05 if arm == "no_norm" and depth == 10 else 0.01, "holds partly"),
        (lambda depth, arm: 0.05 if arm == "batch_norm" else 0.01, "refuted"),
        (lambda depth, arm: 0.01, "refuted"),
    ],
)
def test_the_verdict_is_that_of_the_rule(disagreement, verdict):
    finding = measure(rows_of(disagreement))
    assert finding.verdict == verdict
    assert finding.num_repeats == len(REPEATS)
    assert {len(row) for row in finding.rows} == {len(finding.headings)}


@pytest.mark.parametrize("order", ["shuffled", "fixed"])
def test_orders_alone_differ(order):
    """In a fixed order the key of the order has no part, and all trainings are one."""
    dataset = load(DataConfig())
    config = ArmConfig(
        model=ModelConfig(hidden_sizes=(8,)), train=TrainConfig(num_epochs=1, order=order)
    )
    found = make_run(make_task(config, dataset.spec), [0.003, 0.01], 3)(dataset, 5)
    assert found["disagreement"].shape == (2, 3)
    assert (found["disagreement"] > 0).all() == (order == "shuffled")
    assert found["test_accuracy"].mean() > 0.3
