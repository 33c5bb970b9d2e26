"""Step sizes by depth: the verdicts, and what is looked at in a residual network."""

import functools
import itertools

import jax
import numpy as np
import pytest
import step_size_by_depth.collect as collect
import step_size_by_depth.measure as measured
from values import SEED, SPLIT, label
from vanishing_gradients.collect import applied

from jbn.config import DataConfig, NormConfig
from jbn.data import load
from jbn.train import (
    Hypers,
    TrainKeys,
    batches_to_evaluate,
    evaluate_batches,
    run_training,
)


def rows_of(limit, growth):
    """Rows of ten splits: networks learn up to a limit, and what blocks add grows."""
    noise, rows = np.random.default_rng(0), []
    nothing = dict.fromkeys((*collect.ACCURACIES, *collect.SIZES), "")
    for blocks, arm, split in itertools.product(collect.BLOCKS, collect.ARMS, collect.REPEATS):
        named = {"blocks": str(blocks), "arm": arm, SPLIT: str(split), SEED: str(split)}
        for rate in collect.RATES.tolist():
            of_noise = limit(blocks, arm) * 10 ** noise.uniform(-0.4, 0.4)
            found = dict.fromkeys(collect.ACCURACIES, "0.9" if rate < of_noise else "0.1")
            named |= {"part": "training", "learning_rate": label(rate)}
            rows.append(nothing | named | found)
        if blocks == collect.BLOCKS[-1]:
            sizes = growth(arm) ** np.arange(blocks) * (1 + 0.01 * noise.random(blocks))
            found = dict(zip(collect.SIZES, map(str, np.tile(sizes, 2)), strict=True))
            rows.append(nothing | named | {"part": "untrained", "learning_rate": ""} | found)
    return rows


@pytest.mark.parametrize(
    ("limit", "growth", "verdict"),
    [
        (lambda n, arm: 1e-3 if arm == "no_norm" else 1, lambda arm: 1.5, "holds partly"),
        (
            lambda n, arm: 1e-3 if arm == "no_norm" else 1,
            lambda arm: 1.5 if arm == "no_norm" else 1,
            "holds",
        ),
        (lambda n, arm: 1e-3 if arm == "no_norm" and n == 20 else 1, lambda arm: 1, "holds partly"),
        (lambda n, arm: 1e-3 if arm == "batch_norm" else 1, lambda arm: 1, "refuted"),
        (lambda n, arm: 0.1, lambda arm: 1, "refuted"),
        # Nothing is learned at all.
        (lambda n, arm: 1e-9, lambda arm: 1, "refuted"),
    ],
)
def test_verdicts_are_those_of_the_rule(limit, growth, verdict):
    finding = measured.measure(rows_of(limit, growth))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert (finding.num_repeats, finding.num_trainings) == (10, 3 * 2 * 13 * 10)


def test_the_grids_ends_are_marked():
    learns, fails = np.full(3, 90.0), np.full(3, 10.0)
    assert measured.censored(np.array([learns, fails])) == ""
    assert measured.censored(np.array([learns, learns])) == " or more"
    assert measured.censored(np.array([fails, fails])) == " or less"


def test_wide_blocks_grow_as_in_theory():
    """Of 1000 units: the mean growth over the last ten of 20 blocks."""
    rng, x, sizes = np.random.default_rng(0), None, []
    for _ in range(21):
        taken = rng.normal(size=(20, 1000)) if x is None else x
        y = np.maximum(taken @ rng.normal(size=(1000, 1000)) / 1000**0.5, 0)
        x = y if x is None else x + y
        sizes.append(np.sqrt((y**2).mean()))
    assert (sizes[-1] / sizes[-11]) ** 0.1 == pytest.approx(measured.GROWTH, rel=0.02)
    root = measured.GROWTH
    assert (root**2 - 1.5) * (root - 1) == pytest.approx(1 / np.pi, rel=1e-3)


@pytest.fixture(scope="module")
def dataset():
    """Of a split that no claim knows."""
    return load(DataConfig(split_seed=3))


@pytest.mark.parametrize("kind", ["batch", "none"])
def test_sizes_are_those_of_a_float64_network(dataset, kind, monkeypatch):
    """The same network puts out the model's logits."""
    monkeypatch.setattr(collect, "SIZES", ("size_1", "size_2", "mean_1", "mean_2"))
    task = collect.make_residual(NormConfig(kind=kind), 2, dataset)
    found = collect.untrained(task, dataset, 5)
    hypers = Hypers.of(task.config)
    state = task.init(TrainKeys.of(jax.random.key(5)), hypers)
    images = dataset.train.x[: collect.NUM_EXAMPLES]

    def branch(x, kernel):
        y = np.maximum(x @ np.asarray(kernel, np.float64), 0)
        return (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-3) if kind == "batch" else y

    x = np.asarray(task.prepare(images, hypers), np.float64).reshape(len(images), -1)
    x = branch(x, state.params["first"]["Dense_0"]["kernel"])
    for n, kernel in enumerate(state.params["others"]["Dense_0"]["kernel"], 1):
        y = branch(x, kernel)
        assert found[f"size_{n}"] == pytest.approx(np.sqrt((y**2).mean()), rel=1e-4)
        wanted = np.sqrt((y.mean(0) ** 2).mean())
        assert found[f"mean_{n}"] == pytest.approx(wanted, rel=1e-4, abs=1e-6)
        x = x + y
    logits, _ = applied(task, state, images, hypers)
    np.testing.assert_allclose(logits, x @ state.params["logits"]["kernel"], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_rate_is_the_engines_training(dataset, monkeypatch):
    less = {"NUM_EPOCHS": 1, "BLOCKS": (2,), "RATES": np.array([1e-3, 0.1])}
    names = ("size_1", "size_2", "mean_1", "mean_2")
    less |= {"SIZES": names, "ARMS": {"batch_norm": collect.ARMS["batch_norm"]}}
    for name, value in less.items():
        monkeypatch.setattr(collect, name, value)
    rows, _ = collect.rows([3])
    assert [row["part"] for row in rows] == ["training", "training", "untrained"]
    assert rows[0]["test_accuracy"] != rows[1]["test_accuracy"]
    task = collect.make_residual(collect.ARMS["batch_norm"], 2, dataset)
    key = jax.random.key(3)
    hypers = Hypers.of(task.config)._replace(learning_rate=np.float32(0.1))
    state, _ = run_training(task, key, dataset.train, dataset.val, hypers)
    variables = collect.end(task, state, dataset.train.x, TrainKeys.of(key), hypers)
    evaluated = functools.partial(evaluate_batches, task, variables, hypers=hypers)
    found = evaluated(batches_to_evaluate(dataset.test)).means["accuracy"]
    assert float(rows[1]["test_accuracy"]) == pytest.approx(float(found), rel=1e-5)
