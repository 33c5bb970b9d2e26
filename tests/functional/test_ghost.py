"""Ghost batch normalization: groups of a size that doesn't depend on the devices."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import jbn
from jax.sharding import NamedSharding, PartitionSpec
from problems import close

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(2, 3, (16, 5, 4)), jnp.float32)
SCALE = jnp.asarray(RNG.normal(size=4), jnp.float32)
BIAS = jnp.asarray(RNG.normal(size=4), jnp.float32)
STATS = jbn.BatchStats(jnp.arange(4.0), 1 + jnp.arange(4.0))
MASK = jnp.asarray(RNG.random((16, 5, 1)) < 0.6).at[4:8].set(False)

ghost = functools.partial(jbn.ghost_batch_norm, use_running_average=False, virtual_batch_size=4)
plain = functools.partial(jbn.batch_norm, use_running_average=False)


@pytest.mark.parametrize("mask", [None, MASK, MASK[0]], ids=["plain", "masked", "same mask"])
def test_each_group_is_a_batch_and_the_state_moves_as_by_the_whole_batch(mask):
    y, stats = jax.jit(ghost)(X, STATS, SCALE, BIAS, mask=mask, momentum=0.5)
    masks = [None] * 4 if mask is None else jnp.split(jnp.broadcast_to(mask, (16, 5, 1)), 4)
    groups = [
        plain(x, STATS, SCALE, BIAS, mask=m)[0] for x, m in zip(jnp.split(X, 4), masks, strict=True)
    ]
    close(y, jnp.concatenate(groups))
    close(stats, plain(X, STATS, mask=mask, momentum=0.5)[1])


def test_the_feature_axis_may_come_first():
    y, stats = ghost(X.transpose(2, 0, 1), STATS, SCALE, BIAS, axis=0)
    wanted = ghost(X, STATS, SCALE, BIAS)
    close((y.transpose(1, 2, 0), stats), wanted)


def test_one_group_is_batch_norm_and_evaluation_has_no_groups():
    close(ghost(X, STATS, SCALE, BIAS, virtual_batch_size=16), plain(X, STATS, SCALE, BIAS))
    evaluated = functools.partial(jbn.batch_norm, use_running_average=True)
    close(ghost(X, STATS, SCALE, use_running_average=True)[0], evaluated(X, STATS, SCALE)[0], 0)


def test_gradients_stay_within_a_group():
    def loss(x):
        return jnp.sum(jnp.sin(ghost(x, STATS, SCALE, BIAS)[0][:4]))

    def of_one_group(x):
        return jnp.sum(jnp.sin(plain(x, STATS, SCALE, BIAS)[0]))

    gradient = jax.grad(loss)(X)
    close(gradient[:4], jax.grad(of_one_group)(X[:4]), 1e-5)
    assert not np.any(gradient[4:])


def test_a_bad_group_has_no_part_in_the_state():
    y, stats = ghost(X.at[5, 0].set(jnp.nan), STATS, SCALE, BIAS)
    rest = jnp.concatenate([X[:4], X[8:]])
    close(stats, plain(rest, STATS)[1])
    assert np.isfinite(y[:4]).all()
    _, kept = ghost(jnp.full_like(X, jnp.nan), STATS)
    close(kept, STATS, 0)


@pytest.mark.optimized
def test_shards_of_whole_groups_give_the_same_numbers_and_y_takes_no_communication():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))

    def gradient_and_y(x):
        def loss(x):
            y = ghost(x, STATS, SCALE, BIAS)[0]
            return jnp.sum(y**3), y

        return jax.grad(loss, has_aux=True)(x)

    close(jax.jit(ghost)(sharded, STATS, SCALE, BIAS), ghost(X, STATS, SCALE, BIAS))
    compiled = jax.jit(gradient_and_y).lower(sharded).compile()
    close(compiled(sharded), gradient_and_y(X), 1e-5)
    collectives = r" (all-reduce|all-gather|all-to-all|collective-permute)(-start)?\("
    assert not re.search(collectives, compiled.as_text())


@pytest.mark.parametrize("size", [0, 3, 32])
def test_a_size_that_does_not_divide_the_batch_is_named(size):
    with pytest.raises(ValueError, match=rf"virtual_batch_size: found {size}, wanted a divisor"):
        ghost(X, STATS, virtual_batch_size=size)
