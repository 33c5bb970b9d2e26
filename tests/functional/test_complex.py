"""Complex input, as Flax treats it: the mean is complex, the variance that of both parts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compiled import jbn
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from problems import KINDS_OF_MASK, close, normal, some_mask

with_and_without_mask = pytest.mark.parametrize("masked", KINDS_OF_MASK)
train = functools.partial(jbn.batch_norm, use_running_average=False, momentum=0.5, epsilon=1e-3)


def some(*shape, dtype=jnp.complex64, seed=0):
    """Complex normal numbers."""
    return lax.complex(normal(*shape, seed=seed), normal(*shape, seed=seed + 10)).astype(dtype)


def arguments(dtype=jnp.complex64):
    return {
        "x": 3 * some(12, 3, dtype=dtype) + jnp.asarray(1000 - 2000j, dtype),
        "stats": jbn.init_batch_stats(3, dtype),
        "scale": some(3, dtype=dtype, seed=1),
        "bias": some(3, dtype=dtype, seed=2),
    }


@with_and_without_mask
@pytest.mark.parametrize("transform", [jax.jit, lambda f: f], ids=["compiled", "eager"])
def test_result_and_state_are_the_reference(masked, transform):
    args, mask = arguments(), some_mask(masked, (12, 3))
    y, new = transform(lambda args: train(**args, mask=mask))(args)
    assert [v.dtype for v in (y, *new)] == [jnp.complex64, jnp.complex64, jnp.float32]
    exact, mean, var = reference.batch_norm(
        args["x"], args["scale"], args["bias"], mask=mask, epsilon=1e-3
    )
    close(y, exact, 2e-6)
    close(new.mean, mean.squeeze(0) / 2)
    close(new.var, reference.running(args["stats"].var, var, 0.5))


@pytest.mark.parametrize("parameters", ["real", "complex"])
@with_and_without_mask
def test_derivatives_are_those_of_the_plain_composition(parameters, masked):
    """The cotangent of a real scale is real."""

    def loss(norm, args):
        options = {"use_running_average": False, "momentum": 0.5, "epsilon": 1e-3, "mask": mask}
        y, stats = norm(**args, **options)
        state = jnp.sum(jnp.real(stats.mean * some(3, seed=4))) + jnp.sum(jnp.sin(stats.var))
        return jnp.sum(jnp.real(y * some(12, 3, seed=3)) ** 3) + state

    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        args, mask = arguments(jnp.complex128), some_mask(masked, (12, 3))
        if parameters == "real":
            args.update({name: jnp.real(args[name]) for name in ("scale", "bias")})
        actual, wanted = (
            jax.jit(jax.grad(functools.partial(loss, norm)))(args)
            for norm in (jbn.batch_norm, reference.plain_batch_norm)
        )
        close(actual, wanted, 1e-9)


@with_and_without_mask
def test_shards_are_the_whole_batch(masked):
    mask = some_mask(masked, (12, 3))
    x, stats = arguments()["x"], arguments()["stats"]
    rows = P("a")
    sharded = jax.shard_map(
        lambda x, mask: train(x, stats, mask=mask, axis_name="a"),
        mesh=Mesh(np.array(jax.devices()[:4]), "a"),
        in_specs=(rows, None if mask is None else rows),
        out_specs=(rows, P()),
    )
    close(jax.jit(sharded)(x, mask), train(x, stats, mask=mask), 2e-6)


def test_evaluation_subtracts_the_complex_mean():
    args = arguments()
    stats = jbn.BatchStats(some(3, seed=5), jnp.exp(normal(3)))
    y, _ = jbn.batch_norm(**{**args, "stats": stats}, use_running_average=True, epsilon=0.5)
    exact_x, mean, var, scale, bias = (
        np.asarray(v, np.complex128) for v in (args["x"], *stats, args["scale"], args["bias"])
    )
    close(y, (exact_x - mean) / np.sqrt(var + 0.5) * scale + bias, 2e-6)


def test_a_real_x_may_have_a_complex_result():
    x, stats = normal(6, 3), jbn.init_batch_stats(3)
    y, new = train(x, stats, dtype=jnp.complex64)
    close(y, reference.batch_norm(x, epsilon=1e-3).y.astype(np.complex128))
    assert new.mean.dtype == jnp.float32


def test_siblings_take_complex_input_too():
    x, stats = arguments()["x"], jbn.init_batch_stats(3, jnp.complex64)
    options = {"use_running_average": False, "momentum": 0.5}
    whole_y, whole = jbn.batch_norm(x, stats, **options)
    rows = jax.tree.map(lambda v: jnp.stack([v, v]), stats)
    y, moved = jbn.domain_batch_norm(x, rows, domain=1, **options)
    close((y, *(v[1] for v in moved)), (whole_y, *whole), 4e-6)
    y, ghost = jbn.ghost_batch_norm(x, stats, virtual_batch_size=6, **options)
    halves = [jbn.batch_norm(half, stats, **options)[0] for half in (x[:6], x[6:])]
    close((y, *ghost), (jnp.concatenate(halves), *whole), 4e-6)


def test_the_algebra_of_statistics_takes_complex_means():
    x = arguments()["x"]
    parts = jax.vmap(lambda part: jbn.moments(part, 0))(x.reshape(3, 4, 3))
    merged, whole = jbn.merge_moments(parts), jbn.moments(x, 0)
    close(merged, whole, 2e-7 * 2000)
    stats = [jbn.BatchStats(value, jnp.ones(3)) for value in (some(3), some(3, seed=1))]
    blend = jbn.interpolate_batch_stats(*stats, 0.25)
    close(blend.mean, 0.75 * stats[0].mean + 0.25 * stats[1].mean)
