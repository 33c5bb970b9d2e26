"""Recipes for batch norm: the verdicts, and what each of them computes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipes.collect as collect
from recipes.measure import measure
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from jbn.data import load
from jbn.linen import BatchNorm
from jbn.train import (
    Hypers,
    TrainKeys,
    batches_to_evaluate,
    evaluate_batches,
    final_variables,
    make_task,
    run_training,
)


def rows_of(accuracy):
    """Rows of ten splits, with accuracies of `accuracy(batch_size, arm, part)`, less noise."""
    noise, rows = np.random.default_rng(0), []
    for program in collect.PROGRAMS:
        for arm, rate, part, split in itertools.product(
            program.arms, collect.RATES, collect.PARTS, collect.REPEATS
        ):
            row = {"batch_size": str(program.batch_size), "arm": arm, "learning_rate": label(rate)}
            row |= {"part": label(part), SPLIT: str(split), SEED: str(split)}
            found = accuracy(program.batch_size, arm, part) - 0.002 * noise.random()
            rows.append(row | dict.fromkeys(collect.MEASURES, str(found)))
    return rows


def of_recipes(size, arm, part):
    return 0.9 + 0.05 * (arm in ("ghost_norm", "decay_of_all")) + 0.05 * (part > 0)


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [
        (of_recipes, "holds"),
        (
            lambda size, arm, part: of_recipes(size, arm, part) if size == 240 else 0.9,
            "holds partly",
        ),
        (lambda size, arm, part: 0.9 + 0.05 * (arm == "decay_of_all"), "holds partly"),
        (lambda size, arm, part: 0.9, "refuted"),
        (lambda size, arm, part: 0.9 - of_recipes(size, arm, part), "refuted"),
        # Decay of the kernels is not what is claimed.
        (lambda size, arm, part: 0.9 + 0.05 * arm.startswith("decay"), "refuted"),
    ],
)
def test_verdicts_are_those_of_the_rule(accuracy, verdict):
    finding = measure(rows_of(accuracy))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert set(finding.headline) <= set(finding.panels[0].lines)
    assert (finding.num_repeats, finding.num_trainings) == (10, (3 + 1 + 1 + 1) * 5 * 10)


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
def test_a_weighed_norm_is_float64s(part):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 4, 4, 2)), jnp.float32)
    params = {name: rng.normal(size=2).astype(np.float32) for name in ("scale", "bias")}
    stats = {"mean": np.array([1.0, -1.0], np.float32), "var": np.array([0.5, 2.0], np.float32)}
    variables = jax.tree.map(jnp.asarray, {"params": params, "batch_stats": stats})
    found = collect.Weighed(part=part, use_running_average=True).apply(variables, x)
    if part == 0:
        wanted = BatchNorm(use_running_average=True).apply(variables, x)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    of_image = np.asarray(x, np.float64)
    mean = (1 - part) * stats["mean"] + part * of_image.mean((1, 2), keepdims=True)
    square = (1 - part) * (stats["var"] + stats["mean"] ** 2)
    square = square + part * (of_image**2).mean((1, 2), keepdims=True)
    wanted = (of_image - mean) / np.sqrt(square - mean**2 + 1e-5)
    wanted = wanted * params["scale"] + params["bias"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_each_decay_is_of_its_own_parameters():
    params = {
        "Conv_0": {"kernel": 1.0},
        "BatchNorm_0": {"scale": 1.0, "bias": 1.0},
        "Dense_0": {"kernel": 1.0, "bias": 1.0},
    }
    optimizer = collect.descent(collect.Decay(0.1, 0.01), 1.0)
    zeros = jax.tree.map(lambda _: 0.0, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    assert {name: dict(of) for name, of in updates.items()} == {
        "Conv_0": {"kernel": pytest.approx(-0.1)},
        "BatchNorm_0": {"scale": pytest.approx(-0.01), "bias": pytest.approx(-0.01)},
        "Dense_0": {"kernel": pytest.approx(-0.1), "bias": 0.0},
    }


@pytest.mark.slow
@pytest.mark.parametrize("norm", [collect.PLAIN, collect.GHOST])
def test_a_lane_is_the_engines_training(norm, monkeypatch):
    """With decay of the kernels, on a split that no claim knows."""
    for name, value in (("NUM_EPOCHS", 2), ("CHANNELS", (4,)), ("PARTS", (0.0, 0.9))):
        monkeypatch.setattr(collect, name, value)
    dataset = collect.less_of(load(DataConfig(split_seed=3)), collect.NUM_EXAMPLES)
    lanes = [(collect.Decay(0.3, 0.0), np.float32(0.03))]
    found = collect.trained(norm, 32, lanes, [dataset], [5])
    assert found["test_accuracy"].shape == (1, 1, 2)
    assert np.ptp(found["test_accuracy"]) > 0
    config = ArmConfig(
        model=ModelConfig(kind="cnn", channels=(4,)),
        norm=norm,
        optimizer=OptimizerConfig(kind="momentum", learning_rate=0.03, weight_decay=0.3),
        train=TrainConfig(num_epochs=2, recompute_stats=True),
    )
    task, hypers, key = make_task(config, dataset.spec), Hypers.of(config), jax.random.key(5)
    state, _ = run_training(task, key, dataset.train, dataset.val, hypers)
    variables = final_variables(task, state, dataset.train.x, TrainKeys.of(key), hypers)
    evaluated = functools.partial(evaluate_batches, task, variables, hypers=hypers)
    for name, of in zip(collect.MEASURES, (dataset.val, dataset.test), strict=True):
        wanted = float(evaluated(batches_to_evaluate(of)).means["accuracy"])
        assert found[name][0, 0, 0] == pytest.approx(wanted, abs=2e-3)
