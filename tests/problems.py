"""Input for the tests, the same in every run; and what "equal" and "close" mean in them."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
from norms import feature_shape

LAYOUTS = {
    "dense": ((6, 3), -1),
    "channel last": ((2, 4, 3, 5), -1),
    "channel first": ((2, 5, 4, 3), 1),
    "features first": ((3, 6), 0),
    "two feature axes": ((4, 3, 5), (0, 2)),
    "feature axes out of order": ((4, 3, 5), (-1, 1)),
    "vector": ((6,), ()),
    "size-1 dimensions": ((1, 6, 1, 1), -1),
}
KINDS_OF_MASK = [None, "mask", "weights"]
UNUSABLE = [np.nan, np.inf, -np.inf]


def rng(*seed):
    return np.random.default_rng(zlib.crc32(repr(seed).encode()))


def normal(*shape, dtype=None, seed=0):
    """Normal numbers: float32, or float64 where that is enabled, unless a dtype is given."""
    return jnp.asarray(rng(shape, seed).normal(size=shape), dtype)


def problem(shape, axis, masked, dtype=jnp.float32):
    """x, scale, bias and a mask, with some numbers in them."""
    x = jnp.asarray(3 * rng(shape, 0).normal(size=shape) + 2, dtype)
    scale, bias = some_scale_and_bias(*feature_shape(x, axis))
    return x, scale, bias, some_mask(masked, shape)


def some_scale_and_bias(*features):
    """Computed by NumPy, as all here: an operation of JAX is compiled for each shape."""
    return jnp.asarray(1 + rng(features, 1).normal(size=features) / 2), normal(*features, seed=2)


def some_mask(kind, shape):
    """None; a mask that leaves out three in ten; or weights, as many of which are 0."""
    if kind is None:
        return None
    if kind == "mask":
        return jnp.asarray(rng(shape).random(shape) < 0.7)
    return jnp.asarray(
        rng(shape).choice([0, 0.5, 1, 3], shape, p=[0.3, 0.2, 0.3, 0.2]), jnp.float32
    )


def equal(a, b):
    np.testing.assert_array_equal(np.asarray(a, np.float64), np.asarray(b, np.float64))


def close(actual, exact, tolerance=1e-6):
    """Arrays, or trees of them, within the tolerance relative to max(1, |exact|)."""
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(exact), strict=True):
        a, e = (np.asarray(v, np.complex128 if np.iscomplexobj(v) else np.float64) for v in (a, e))
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        largest = np.max(np.abs(a - e) / np.maximum(1, np.abs(e)), initial=0)
        assert largest <= tolerance, f"off by {largest:.2g}, {tolerance:.2g} allowed"


def same(actual, wanted, tolerance):
    """Trees of one structure; arrays of one shape and dtype, within the tolerance of each entry."""
    _same(actual, wanted, lambda dtype: tolerance)


def same_as_rounded(actual, wanted, tolerance):
    """The same, but that 16 bits may be off by a unit in the last place."""
    _same(
        actual,
        wanted,
        lambda dtype: max(tolerance, float(jnp.finfo(dtype).eps) * (dtype.itemsize == 2)),
    )


def _same(actual, wanted, tolerance_of):
    assert jax.tree.structure(actual) == jax.tree.structure(wanted)
    for a, w in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
        assert (a.shape, a.dtype) == (w.shape, w.dtype)
        allowed = tolerance_of(w.dtype)
        a, w = (np.asarray(v, np.float64) for v in (a, w))
        np.testing.assert_allclose(a, w, rtol=allowed, atol=allowed)
