"""Gradients that vanish: the verdicts, and the gradient that is looked at."""

import functools
import itertools

import jax
import numpy as np
import pytest
import vanishing_gradients.collect as collect
from values import SEED, SPLIT, label
from vanishing_gradients.measure import PREDICTED, SIZES, at_start, measure, nearer, values_of

from jbn.config import ArmConfig, DataConfig, NormConfig, TrainConfig
from jbn.data import Batch, load
from jbn.train import Hypers, TrainKeys, make_task, run_training

NETWORKS = [(name, str(p.depth), p.rates) for p in collect.PROGRAMS for name in p.cases]


def rows_of(first, accuracy, networks=NETWORKS):
    """Rows of ten splits: the first layer's gradient by network and arm, and the accuracy."""
    noise, rows = np.random.default_rng(0), []
    for case, depth, rates in networks:
        for arm, rate, split in itertools.product(collect.ARMS, rates, collect.REPEATS):
            row = {"case": case, "depth": depth, "arm": arm, "learning_rate": label(rate)}
            row |= {SPLIT: str(split), SEED: str(split)} | dict.fromkeys(SIZES, "1")
            size = first(case, arm) * (1 + 0.01 * noise.random())
            row |= {name: label(size) for name in SIZES if name.startswith("first")}
            found = label(accuracy(case, arm) + 0.001 * noise.random())
            rows.append(row | {"val_accuracy": found, "test_accuracy": found})
    return rows


def small_without(case, arm):
    return 1e-8 if arm == "no_norm" else 1.0


CASES = [
    (small_without, lambda case, arm: 0.9 if arm == "batch_norm" else 0.1, "holds"),
    # What comes back is learned from by one case alone.
    (
        small_without,
        lambda case, arm: 0.9 if (case, arm) == ("sigmoid", "batch_norm") else 0.1,
        "holds partly",
    ),
    (small_without, lambda case, arm: 0.1, "refuted"),
    # What was too small by four decades is too large by as many.
    (
        lambda case, arm: 1e-4 if arm == "no_norm" else 1e4,
        lambda case, arm: 0.9 if arm == "batch_norm" else 0.1,
        "refuted",
    ),
    (lambda case, arm: 0.0, lambda case, arm: 0.9 if arm == "batch_norm" else 0.1, "refuted"),
]


@pytest.mark.parametrize(("first", "accuracy", "verdict"), CASES)
def test_verdicts_are_those_of_the_rule(first, accuracy, verdict):
    finding = measure(rows_of(first, accuracy))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert [panel.title for panel in finding.panels[: len(PREDICTED)]] == [
        of.name for of in finding.judged
    ]
    assert finding.num_repeats == 10


def test_a_gradient_is_nearer_from_either_side():
    rows = rows_of(
        lambda case, arm: 1e-3 if arm == "no_norm" else 1e1,
        lambda case, arm: 0.9 if arm == "batch_norm" else 0.1,
        [("ReLU", "50", (1e-3, 1e-2))],
    )
    values = values_of(rows, (*SIZES, "val_accuracy", "test_accuracy"))
    np.testing.assert_allclose(at_start(values.at({"arm": "no_norm"})), -3, atol=0.01)
    np.testing.assert_allclose(nearer(values), 2, atol=0.01)


@pytest.fixture(scope="module")
def dataset():
    return load(ArmConfig().data)


CASE = collect.Case(collect.ACTIVATIONS.index(jax.nn.tanh), gain=2.0, shortcut=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["batch", "none"])
def test_sizes_are_float64s_by_differences_of_the_loss(dataset, kind):
    """Of three hidden layers that are written by hand."""
    config = ArmConfig(norm=NormConfig(kind=kind))
    model = functools.partial(collect.Deep, depth=3, case=CASE)
    task = make_task(config, dataset.spec, model=model)
    keys, hypers = (
        TrainKeys.of(jax.random.key(0)),
        Hypers.of(config)._replace(init_gain=np.float32(CASE.gain)),
    )
    state = task.init(keys, hypers)
    examples = Batch(dataset.train.x[:20], dataset.train.y[:20])
    found = collect.sizes(task, state, examples, keys, hypers)
    params = jax.tree.map(lambda v: np.asarray(v, np.float64), state.params)
    x = np.asarray(task.prepare(examples.x, hypers), np.float64).reshape(20, -1)

    def normalized(y, epsilon=config.norm.epsilon):
        return (y - y.mean(0)) / np.sqrt(y.var(0) + epsilon) if kind == "batch" else y

    def softmax_of(hidden):
        y = normalized(np.tanh(x @ hidden[0]))
        for kernel in hidden[1:]:
            y = y + normalized(np.tanh(y @ kernel))
        logits = np.exp(y @ params["logits"]["kernel"])
        return logits / logits.sum(-1, keepdims=True)

    def loss_of(hidden):
        return -np.log(softmax_of(hidden)[np.arange(20), examples.y]).mean()

    hidden = [params["first"]["Dense_0"]["kernel"], *params["others"]["Dense_0"]["kernel"]]
    error = softmax_of(hidden) - np.eye(10)[examples.y]
    assert found["error"] == pytest.approx(np.sqrt((error**2).sum(-1).mean()), rel=1e-4)
    for name, layer in (("first", 0), ("last", 2)):
        gradient = np.empty_like(hidden[layer])
        for place in np.ndindex(gradient.shape):
            losses = []
            for step in (1e-5, -1e-5):
                moved = [kernel.copy() for kernel in hidden]
                moved[layer][place] += step
                losses.append(loss_of(moved))
            gradient[place] = (losses[0] - losses[1]) / 2e-5
        assert found[name] == pytest.approx(np.linalg.norm(gradient), rel=1e-3)


@pytest.mark.slow
def test_a_lane_is_the_engines_training(dataset, monkeypatch):
    """At the end of an epoch, whose last batch is smaller; of splits that no claim knows."""
    config = ArmConfig(norm=collect.ARMS["batch_norm"], train=TrainConfig(num_epochs=1))
    datasets = [dataset, load(DataConfig(split_seed=3))]
    num_batches = make_task(config, dataset.spec).num_batches
    monkeypatch.setattr(collect, "STEPS", (0, 1, num_batches))
    lanes = [(CASE, np.float32(1e-3)), (CASE, np.float32(1e-2))]
    found = collect.trained(config, 3, lanes, datasets, [4, 5])
    model = functools.partial(collect.Deep, depth=3, case=CASE)
    task = make_task(config, datasets[1].spec, model=model)
    hypers = Hypers.of(config)._replace(
        init_gain=np.float32(CASE.gain), learning_rate=np.float32(1e-2)
    )
    train, key = datasets[1].train, jax.random.key(5)
    state, _ = run_training(task, key, train, datasets[1].val, hypers)
    first = Batch(*(v[: collect.NUM_EXAMPLES] for v in train))
    for name, size in collect.sizes(task, state, first, TrainKeys.of(key), hypers).items():
        of_end = found[f"{name}_{num_batches}"]
        assert of_end.shape == (2, 2)
        assert of_end[1, 1] == pytest.approx(float(size), rel=1e-3)
        assert np.ptp(of_end) > 1e-3
    assert found["test_accuracy"].min() > 0.5
