"""Moments by blocks, as a CPU computes them: right, and without a copy of x."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import jbn
from problems import close, normal

from jbn.functional._arguments import NamedAxis
from jbn.functional._blocks import as_blocks, block_moments, cut
from jbn.functional._shifted import sampled_moments

# x's shape, the axes to reduce, and the shape of the blocks.
CASES = [
    ((5, 16), (1,), (5, 1, 16)),
    ((5, 64), (1,), (5, 8, 8)),
    ((3, 4, 96), (1, 2), (3, 32, 12)),
    ((3, 8200), (1,), (3, 25, 328)),  # so many lanes that they aren't added in turn
    ((96, 8), (0,), (3, 32, 8)),
    ((31, 3), (0,), (1, 31, 3)),
    ((2, 4, 8, 3), (0, 1, 2), (2, 32, 3)),
    ((2, 4, 8, 3), (1, 2), (2, 1, 32, 3)),
    ((2, 3, 8, 8), (0, 2, 3), (2, 3, 8, 8)),  # the channels in the middle
    ((2, 4, 16, 3, 4), (1, 2, 4), (2, 2, 32, 3, 4)),  # groups of channels
    ((7, 37), (1,), None),  # a prime number of entries: no blocks
    ((74, 3), (0,), None),
    ((2, 1), (1,), (2, 1, 1)),
]


@pytest.mark.parametrize(("shape", "axes", "wanted"), CASES, ids=str)
def test_the_moments_of_blocks_are_those_of_x(shape, axes, wanted):
    x = normal(*shape) + 1e4
    blocks = cut(shape, axes)
    assert (None if blocks is None else blocks.shape) == wanted
    if blocks is None:
        return
    found = jax.jit(lambda x: block_moments(x, axes, blocks))(x)
    exact = np.asarray(x, np.float64)
    mean, var = exact.mean(axes, keepdims=True), exact.var(axes, keepdims=True)
    std = np.sqrt(var.max())
    shift, offset = (np.asarray(value, np.float64) for value in (found.shift, found.offset))
    assert np.abs(shift + offset - mean).max() <= 1e-7 * std
    np.testing.assert_allclose(found.var, var, rtol=1e-6)
    assert found.count.shape == mean.shape
    assert (found.count == x.size // mean.size).all()


@pytest.mark.parametrize("outlier", [0.0, 1e6])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_worst_blocks_cost_three_bits(axis, outlier):
    """The four entries that make a block's shift are outliers, and nothing else is."""
    x = np.array(normal(32, 32, 4) + 1e4)  # 32 blocks of 32 entries
    x[:4] = outlier
    x = x.reshape(1024, 4).T if axis else x.swapaxes(0, 1).reshape(1024, 4)
    blocks = cut(x.shape, (axis,))
    found = jax.jit(lambda x: block_moments(x, (axis,), blocks))(x)
    var = x.astype(np.float64).var(axis, keepdims=True)
    np.testing.assert_allclose(found.var, var, rtol=8 * 2.0**-23)


@pytest.mark.parametrize(("shape", "axes"), [((256, 96), (1,)), ((16, 32, 32, 8), (0, 1, 2))])
def test_derivatives_of_moments_are_those_of_their_definition(shape, axes):
    x, weights = normal(*shape), normal(*shape, seed=1)

    def of_moments(x):
        _, mean, var = jbn.moments(x * weights, axes)
        return jnp.sum(jnp.sin(mean) + jnp.cos(var))

    def of_definition(x):
        z = x * weights
        return jnp.sum(jnp.sin(z.mean(axes)) + jnp.cos(z.var(axes)))

    close(jax.grad(of_moments)(x), jax.grad(of_definition)(x), 1e-6)
    tangent = normal(*shape, seed=2)
    for function, wanted in (
        (of_moments, of_definition),
        (jax.grad(of_moments), jax.grad(of_definition)),
    ):
        close(jax.jvp(function, (x,), (tangent,))[1], jax.jvp(wanted, (x,), (tangent,))[1], 1e-5)


def test_what_an_accelerator_computes_is_the_same():
    x = normal(64, 96) + 100
    (mine, theirs) = (
        block_moments(x, (1,), cut(x.shape, (1,))),
        sampled_moments(x, (1,), None, NamedAxis()),
    )
    np.testing.assert_allclose(mine.shift + mine.offset, theirs.shift + theirs.offset, rtol=1e-6)
    np.testing.assert_allclose(mine.var, theirs.var, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "dtype", "has_blocks"),
    [
        ((256, 64), jnp.float32, True),
        ((255, 64), jnp.float32, False),  # small
        ((256, 64), jnp.complex64, False),
        ((0, 64), jnp.float32, False),
        ((2**17, 0), jnp.float32, False),
    ],
    ids=str,
)
def test_a_large_real_x_is_cut(shape, dtype, has_blocks):
    assert (as_blocks(jnp.zeros(shape, dtype), (1,)) is not None) == has_blocks


def test_an_x_that_a_mesh_shards_is_not_cut():
    x = normal(256, 64)
    sharded = jax.device_put(x, jax.NamedSharding(jax.make_mesh((4,), ("batch",)), jax.P("batch")))
    assert as_blocks(sharded, (1,)) is None
    close(jbn.layer_norm(sharded), jbn.layer_norm(x), 1e-6)
    # JAX doesn't show it under jit with automatic axes; then XLA shards the blocks.
    automatic = jax.make_mesh((4,), ("batch",), (jax.sharding.AxisType.Auto,))
    for spec in (jax.P("batch"), jax.P(None, "batch")):
        placed = jax.device_put(x, jax.NamedSharding(automatic, spec))
        close(jbn.layer_norm(placed), jbn.layer_norm(x), 1e-6)


@pytest.mark.optimized
@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (lambda x: jbn.layer_norm(x), (256, 768)),
        (lambda x: jbn.instance_norm(x), (8, 28, 28, 32)),
        (lambda x: jbn.group_norm(x, num_groups=8), (8, 28, 28, 32)),
        (
            lambda x: jbn.batch_norm(x, jbn.init_batch_stats(32), use_running_average=False)[0],
            (8, 28, 28, 32),
        ),
    ],
    ids=["layer", "instance", "group", "batch"],
)
def test_forward_on_a_cpu_writes_no_copy_of_x(norm, shape):
    x = jnp.ones(shape)
    compiled = jax.jit(norm).lower(x).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < x.nbytes / 4
