"""Rows as a GPU normalizes them where no derivative is taken: one chain of means."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compiled import jbn
from problems import close, normal

from jbn.functional._by_moments import _fits_on_chip, _normalize_centered


def lowered(function, *args):
    """The program that a GPU's compiler gets."""
    return jax.jit(function).trace(*args).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.optimized
@pytest.mark.parametrize("offset", [0, 1e2, 1e4, 1e5])
@pytest.mark.parametrize(("shape", "axes"), [((16, 512), (1,)), ((8, 4, 5, 6), (1, 2, 3))])
def test_centering_keeps_the_digits(shape, axes, offset):
    x = normal(*shape) + offset
    features = (*[1] * len(axes), shape[-1])
    scale, bias = 1 + normal(*features), normal(*features)
    centered = functools.partial(_normalize_centered, axes, jnp.dtype(jnp.float32))
    found = jax.jit(centered)(x, scale, bias, jnp.float32(1e-5), None)
    rows = np.asarray(x, np.float64).reshape(shape[0], -1)
    wanted = reference.batch_norm(rows.T).y.T.reshape(shape)
    close(found, wanted * np.asarray(scale, np.float64) + np.asarray(bias, np.float64))


def test_a_gpu_computes_three_means_one_after_the_other():
    x = normal(16, 512)
    layer_norm = lowered(jbn.layer_norm, x)
    assert layer_norm.count("stablehlo.reduce(") == 3
    assert "stablehlo.slice" not in layer_norm  # no sample
    # The moments are kept for the backward pass, so with a derivative they come from sums.
    with_derivative = lowered(lambda x: jax.vjp(jbn.layer_norm, x)[0], x)
    assert "stablehlo.slice" in with_derivative


def test_an_overflow_is_nan():
    x = jnp.where(jnp.arange(512) % 2 > 0, 1e19, -1e19)[None]
    one, zero = jnp.ones((1, 512)), jnp.zeros((1, 512))
    dtype, epsilon = jnp.dtype(jnp.float32), jnp.float32(1e-5)
    assert jnp.isnan(_normalize_centered((1,), dtype, x, one, zero, epsilon, None)).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "axes", "fits"),
    [
        ((4, 8192), jnp.float32, (1,), True),
        ((4, 8192), jnp.bfloat16, (1,), True),
        ((4, 8, 16), jnp.float32, (2, 1), True),
        ((4, 8193), jnp.float32, (1,), False),
        ((4, 8), jnp.complex64, (1,), False),
        ((4, 8, 16), jnp.float32, (0, 2), False),
        ((4, 8, 16), jnp.float32, (1,), False),
        ((4, 0), jnp.float32, (1,), False),
    ],
    ids=str,
)
def test_which_rows_fit_on_a_chip(shape, dtype, axes, fits):
    assert _fits_on_chip(jnp.zeros(shape, dtype), axes) == fits


def test_sharded_rows_do_not():
    devices = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Explicit,))
    with jax.sharding.set_mesh(devices):
        x = jax.device_put(jnp.zeros((8, 64)), jax.P("data"))
        assert not _fits_on_chip(x, (1,))
