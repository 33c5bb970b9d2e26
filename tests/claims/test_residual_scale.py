"""Gamma in residual networks: the verdicts, and what a network computes and learns."""

import functools
import itertools

import jax
import numpy as np
import pytest
import residual_scale.collect as collect
from residual_scale.measure import ARMS, measure
from values import MEASURES, SEED, SPLIT, label
from vanishing_gradients.collect import applied

from jbn.config import ArmConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import load
from jbn.train import (
    Hypers,
    TrainKeys,
    batches_to_evaluate,
    evaluate_batches,
    make_task,
    run_training,
)


def rows_of(accuracy):
    """Rows of ten splits, with accuracies of `accuracy(blocks, arm)`, less noise."""
    noise, rows = np.random.default_rng(0), []
    varied = itertools.product(collect.BLOCKS, ARMS, collect.RATES.tolist(), collect.REPEATS)
    for blocks, arm, rate, split in varied:
        row = {"blocks": str(blocks), "arm": arm, "learning_rate": label(rate)}
        row |= {SPLIT: str(split), SEED: str(split)}
        found = accuracy(blocks, arm) - 0.005 * noise.random()
        rows.append(row | dict.fromkeys(MEASURES, str(found)))
    return rows


IN_ORDER = {"neither": 0.8, "batch_norm": 0.85, "gamma_from_0": 0.9}


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [
        (lambda blocks, arm: IN_ORDER.get(arm, 0.1), "holds"),
        (lambda blocks, arm: 0.9 if blocks == 20 else IN_ORDER.get(arm, 0.1), "holds partly"),
        (lambda blocks, arm: 0.9 - 0.1 * (arm == "neither"), "holds partly"),
        (lambda blocks, arm: 0.9, "refuted"),
        (lambda blocks, arm: -IN_ORDER.get(arm, 0.1), "refuted"),
        # Without a norm gamma has no part in the verdict.
        (lambda blocks, arm: 0.9 if arm == "no_norm, gamma_from_0" else 0.1, "refuted"),
    ],
)
def test_verdicts_are_those_of_the_rule(accuracy, verdict):
    finding = measure(rows_of(accuracy))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert set(finding.headline) <= set(finding.panels[0].lines)
    assert (finding.num_repeats, finding.num_trainings) == (10, 2 * 5 * 8 * 10)


@pytest.fixture(scope="module")
def dataset():
    return load(ArmConfig().data)


@pytest.mark.parametrize("program", collect.PROGRAMS)
def test_a_network_is_the_sum_that_float64_makes(dataset, program):
    """Of two blocks; gamma and beta are drawn, but those of the first layer."""
    config = ArmConfig(norm=program.norm)
    task = make_task(config, dataset.spec, model=functools.partial(collect.residual, 2))
    hypers = Hypers.of(config)
    state = task.init(TrainKeys.of(jax.random.key(0)), hypers)
    assert ("scale" in str(state.params)) == program.norm.use_scale
    blocks, rng = collect.with_gamma(state.params, 1.0)["others"], np.random.default_rng(0)
    drawn = {
        name: of if name == "Dense_0" else {k: rng.normal(size=v.shape) for k, v in of.items()}
        for name, of in blocks.items()
    }
    state = state._replace(params=state.params | {"others": drawn})
    images = dataset.train.x[:50]
    logits, _ = applied(task, state, images, hypers)
    x = np.asarray(task.prepare(images, hypers), np.float64).reshape(50, -1)
    affine = next((of for name, of in drawn.items() if name != "Dense_0"), {})

    def branch(x, layer):
        y = np.maximum(x @ np.asarray(layer["kernel"], np.float64) + layer["bias"], 0)
        is_normalized = program.norm.kind == "batch"
        return (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-3) if is_normalized else y

    x = branch(x, state.params["first"]["Dense_0"])
    for n in range(2):
        layer = {name: of[n] for name, of in drawn["Dense_0"].items()}
        gamma, beta = (affine[k][n] if affine else v for k, v in (("scale", 1), ("bias", 0)))
        x = x + gamma * branch(x, layer) + beta
    np.testing.assert_allclose(logits, x @ state.params["logits"]["kernel"], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_point_is_the_engines_training_with_another_gamma(dataset, monkeypatch):
    """Of one epoch, on a split that no claim knows."""
    monkeypatch.setattr(collect, "NUM_EPOCHS", 1)
    run = collect.make_training(NormConfig(), 2, dataset.spec, [(0.0, 0.01), (1.0, 0.01)])
    from_0, from_1 = run(dataset, 3)
    assert from_0["test_accuracy"] != from_1["test_accuracy"]
    config = ArmConfig(
        optimizer=OptimizerConfig(kind="momentum", learning_rate=0.01),
        train=TrainConfig(num_epochs=1),
    )
    task = make_task(config, dataset.spec, model=functools.partial(collect.residual, 2))
    hypers, key = Hypers.of(config), jax.random.key(3)
    state, _ = run_training(task, key, dataset.train, dataset.val, hypers)
    variables = collect.end(task, state, dataset.train.x, TrainKeys.of(key), hypers)
    found = evaluate_batches(task, variables, batches_to_evaluate(dataset.test), hypers)
    assert from_1["test_accuracy"] == pytest.approx(float(found.means["accuracy"]), rel=1e-5)
