"""Steps to a target: what they come to, and that they are the engine's."""

import itertools

import convergence.collect as collect
import jax
import numpy as np
import pytest
from convergence.measure import PREDICTED, best_steps, measure
from values import SEED, SPLIT, label, values_of

from jbn.config import ArmConfig, DataConfig, ModelConfig, NormConfig, TrainConfig
from jbn.data import load
from jbn.train import Hypers, make_task, run_training


def rows_of(steps):
    """Rows with so many steps to each target, `steps(network, arm, target)`, give or take 1%."""
    noise, rows = np.random.default_rng(0), []
    for title, network in collect.NETWORKS.items():
        for arm, rate, split in itertools.product(network.arms, network.rates, collect.REPEATS):
            for seed in range(network.num_seeds):
                row = {"network": title, "arm": arm, "learning_rate": label(rate)}
                row |= {SPLIT: str(split), SEED: str(split + 1000 * seed)}
                for target, name in collect.MEASURES.items():
                    found = steps(title, arm, target) * (1 + 0.01 * noise.random())
                    row[name] = label(found)
                rows.append(row)
    return rows


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [
        (lambda title, arm, target: target / 2 * (2 if arm == "no_norm" else 1), "holds"),
        (
            lambda title, arm, target: 50 * (2 if arm == "no_norm" and "sigm" in title else 1),
            "holds partly",
        ),
        (lambda title, arm, target: 50, "refuted"),
        (lambda title, arm, target: np.inf, "not shown"),
        # What neither reaches says nothing of either.
        (
            lambda title, arm, target: (
                np.inf if target > 90 else 25 * (2 if arm == "no_norm" else 1)
            ),
            "holds",
        ),
        (lambda title, arm, target: np.inf if arm == "batch_norm" else 50, "refuted"),
    ],
)
def test_a_verdict_is_on_how_often_the_steps_are_halved(steps, verdict):
    finding = measure(rows_of(steps))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert finding.num_repeats == 10
    assert len(finding.panels) == len(finding.judged) == len(PREDICTED)
    if verdict == "holds":
        assert [of.effect.value for of in finding.judged] == pytest.approx([1] * 4, abs=0.02)


def test_a_rate_is_chosen_by_other_splits_and_who_never_reached_it_counts_beyond_the_end():
    network = collect.Network(ArmConfig(), {}, (90,), rates=(0.1, 0.2), num_steps=100, every=5)
    steps = {"0.1": [10, 20, np.inf], "0.2": [40, np.inf, 30]}
    rows = [
        {"learning_rate": rate, SPLIT: str(n), SEED: "0"}
        | dict.fromkeys(collect.MEASURES.values(), str(found))
        for rate, of_rate in steps.items()
        for n, found in enumerate(of_rate)
    ]
    values = values_of(rows, tuple(collect.MEASURES.values()))
    found, never, rates = best_steps(values, 90, network)
    # Without split 0 it is 0.1: 20 × 105 < 105 × 30; without 1: 10 × 105 < 40 × 30; without 2: 0.1.
    np.testing.assert_allclose(found[:, 0], [10, 20, 105])
    np.testing.assert_array_equal(never[:, 0], [False, False, True])
    np.testing.assert_array_equal(rates[:, 0], 0.1)


@pytest.mark.slow
def test_steps_are_those_of_the_engines_training(monkeypatch):
    """Looked at each epoch, on two splits by one program."""
    shared = ArmConfig(
        data=DataConfig(name="wine"),
        model=ModelConfig(hidden_sizes=(5,)),
        train=TrainConfig(num_epochs=4, batch_size=16),
    )
    norm = NormConfig(momentum_warmup=True)
    num_batches = 9
    network = collect.Network(
        shared, {"batch_norm": norm}, (80,), (1e-3, 1e-2), 4 * num_batches, num_batches
    )
    monkeypatch.setattr(collect, "NETWORKS", {"x": network})
    rows, seconds = collect.rows([3, 4])
    assert len(rows) == 4
    assert seconds > 0
    for row in rows:
        split = int(row[SPLIT])
        assert split == int(row[SEED])
        dataset = load(DataConfig(name="wine", split_seed=split))
        config = shared.model_copy(update={"norm": norm})
        task = make_task(config, dataset.spec)
        assert task.num_batches == num_batches
        hypers = Hypers.of(config)._replace(learning_rate=np.float32(row["learning_rate"]))
        _, metrics = run_training(task, jax.random.key(split), *dataset[:2], hypers)
        accuracy = np.asarray(metrics.val["accuracy"])
        for target, name in collect.MEASURES.items():
            reached = np.flatnonzero(accuracy >= target / 100)
            found = float(row[name])
            if found > 0:  # before the first step there is no epoch's metrics
                wanted = num_batches * (1 + reached[0]) if len(reached) else np.inf
                assert found == wanted
