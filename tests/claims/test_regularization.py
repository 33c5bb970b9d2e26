"""What is judged of batch normalization and dropout, and the data they are judged by."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regularization.collect as collect
from regularization.measure import measure
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, OptimizerConfig, TrainConfig
from jbn.data import load
from jbn.models import MLP
from jbn.train import Hypers, make_task, run_training


def rows_of(accuracy):
    """Rows with test accuracies of `accuracy(data, arm)`, less noise."""
    noise, rows = np.random.default_rng(0), []
    arms = [
        collect.named(norm, dropout)
        for norm in collect.NORMS
        for dropout in collect.DROPOUTS.get(norm, (0.0,))
    ]
    varied = (collect.SETTINGS, arms, collect.RATES, collect.REPEATS, collect.SEEDS)
    for data, arm, rate, split, more in itertools.product(*varied):
        place = {"data": data, "arm": arm, "learning_rate": label(rate)}
        place |= {SPLIT: str(split), SEED: str(split + more)}
        found = accuracy(data, arm) - 0.01 * noise.random()
        rows.append(place | dict.fromkeys(collect.MEASURES, str(found)))
    return rows


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [
        (lambda data, arm: 0.9 - 0.1 * (arm == "no_norm"), "holds"),
        (
            lambda data, arm: 0.8 + 0.1 * ("dropout" in arm) - 0.1 * (arm == "no_norm"),
            "holds partly",
        ),
        (lambda data, arm: 0.8 + 0.1 * ("dropout" in arm), "refuted"),
    ],
)
def test_verdicts_are_those_of_the_rule(accuracy, verdict):
    finding = measure(rows_of(accuracy))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert set(finding.headline) <= set(finding.panels[0].lines)
    assert (finding.num_repeats, finding.num_trainings) == (10, 2 * 8 * 5 * 10 * 2)


def test_examples_that_are_not_trained_with_are_tested_with():
    whole = load(DataConfig(split_seed=3))
    less = collect.less_of(whole, 160)
    assert [len(part.y) for part in (less.train, less.val, less.test)] == [160, 178, 179 + 1280]
    for kept, of in zip((*less.train, *less.test), (*whole.train, *whole.test), strict=True):
        assert kept.dtype == of.dtype
    images = np.concatenate([less.train.x, less.test.x]).reshape(1619, -1)
    assert len(np.unique(images, axis=0)) == len(
        np.unique(np.concatenate([whole.train.x, whole.test.x]).reshape(1619, -1), axis=0)
    )
    np.testing.assert_allclose(less.input_stats.mean, whole.train.x[::9].mean(0), rtol=1e-5)


@pytest.mark.slow
def test_without_dropout_it_is_the_engines_training_of_the_articles_network(monkeypatch):
    monkeypatch.setattr(collect, "RATES", (0.1, 0.3))
    monkeypatch.setattr(collect, "SEEDS", (0,))
    config = ArmConfig(
        data=DataConfig(label_noise=0.4),
        optimizer=OptimizerConfig(kind="sgd"),
        train=TrainConfig(num_epochs=2),
    )
    datasets = [collect.less_of(load(DataConfig(split_seed=split)), 160) for split in (3, 4)]
    found = collect.train(config, datasets, (3, 4), (0.0,))
    assert len(found) == 4
    mlp = make_task(config, datasets[1].spec)
    hypers = Hypers.of(config)._replace(learning_rate=jnp.float32(0.3))
    _, val, *_ = datasets[1]
    metrics = jax.jit(run_training, static_argnums=0)(
        mlp, jax.random.key(4), datasets[1].train, val, hypers
    )[1]
    place, values = found[-1]
    assert place == {"dropout": 0, "learning_rate": 0.3, SPLIT: 4, SEED: 4}
    assert values["val_accuracy"] == pytest.approx(float(metrics.val["accuracy"][-1]), abs=1e-6)


def test_dropout_drops_in_training_alone():
    x = jnp.ones((2000, 5))
    plain = MLP(collect.SIZES, 3)
    variables = plain.init(jax.random.key(0), x, train=False)
    net = collect.Net(3, None, 0.5)
    outputs = [
        net.apply(variables, x, train=True, rngs={"dropout": jax.random.key(n)}) for n in range(2)
    ]
    assert float(jnp.abs(outputs[0] - outputs[1]).max()) > 0.1
    np.testing.assert_allclose(
        net.apply(variables, x, train=False), plain.apply(variables, x, train=False), rtol=1e-6
    )
