"""Probed runs are the engine's: same parameters, at the steps that are named."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import kernels, make_probed, norm

from jbn.config import ArmConfig, DataConfig, ModelConfig, TrainConfig
from jbn.data import load
from jbn.train import Batch, Hypers, TrainKeys, make_task, run_training

CONFIG = ArmConfig(
    data=DataConfig(name="wine"),
    model=ModelConfig(hidden_sizes=(5,)),
    train=TrainConfig(num_epochs=2, batch_size=20),
)


@pytest.fixture(scope="module")
def dataset():
    return load(CONFIG.data)


def test_a_probed_run_is_the_engines_and_is_looked_at_where_it_says(dataset):
    """At the end of each epoch, whose last batch is smaller."""
    task = make_task(CONFIG, dataset.spec)
    num_batches = task.num_batches
    assert len(dataset.train.y) % 20 > 0
    probed_run = make_probed(
        task,
        lambda task: lambda state, *rest: (state.step, kernels(state.params)[0]),
        rates=[1e-3, 1e-2],
        num_steps=2 * num_batches,
        every=num_batches,
    )
    steps, probed = probed_run(dataset, 1)
    assert steps.shape == (2, 3)
    np.testing.assert_array_equal(steps[1], [0, num_batches, 2 * num_batches])
    run = jax.jit(functools.partial(run_training, task))
    hypers = Hypers.of(CONFIG)._replace(learning_rate=np.float32(1e-2))
    state, _ = run(jax.random.key(1), dataset.train, dataset.val, hypers)
    np.testing.assert_allclose(probed[1, -1], kernels(state.params)[0], rtol=1e-4, atol=1e-6)
    assert np.abs(probed_run(dataset, 0)[1][1, -1] - probed[1, -1]).max() > 1e-3


def test_the_gradient_is_that_of_the_loss_of_the_first_examples(dataset):
    config = CONFIG.model_copy(update={"train": TrainConfig(batch_size=16, order="fixed")})
    task = make_task(config, dataset.spec)
    run = make_probed(
        task, lambda task: lambda state, *rest: state, rates=[0.1], num_steps=1, every=1
    )
    states = run(dataset, 0)
    before, after = (
        jax.tree.map(lambda leaf, n=n: jnp.asarray(leaf[0, n]), states) for n in (0, 1)
    )
    first = Batch(dataset.train.x[:16], jnp.asarray(dataset.train.y[:16]))
    keys = TrainKeys.of(jax.random.key(0))
    gradient, *_ = task.gradient(before, first, keys, Hypers.of(config))
    found = kernels(gradient)
    # Adam's first step is the rate, against the sign of the gradient.
    for gradient, old, new in zip(
        found, kernels(before.params), kernels(after.params), strict=True
    ):
        large = np.abs(gradient) > 1e-4
        assert large.mean() > 0.3
        np.testing.assert_allclose((new - old)[large], -0.1 * np.sign(gradient[large]), rtol=1e-2)


@pytest.mark.parametrize("size", [1e-36, 1e-25, 1.0, 1e25])
def test_a_norm_is_float64s_of_numbers_whose_squares_are_not_float32s(size):
    x = size * np.random.default_rng(0).normal(size=(20, 5))
    found = float(norm(jnp.asarray(x, jnp.float32)))
    assert found == pytest.approx(np.linalg.norm(x), rel=1e-6)


def test_the_norm_of_nothing_is_nothing():
    assert float(norm(jnp.zeros((3, 2)))) == 0
