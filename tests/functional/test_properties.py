"""Shapes, axes, masks, offsets and dtypes at random, against the reference."""

import jax.numpy as jnp
import numpy as np
import reference
from hypothesis import given
from hypothesis import strategies as st

import jbn

SHAPES = [(2,), (7, 1), (1, 6), (2, 3, 1, 4), (33, 2)]


@st.composite
def problems(draw):
    """x, batch_norm's options, and the mask that goes with them."""
    shape = draw(st.sampled_from(SHAPES))
    ndim = len(shape)
    axis = draw(st.sets(st.integers(0, ndim - 1), max_size=ndim - 1).map(sorted))
    if np.prod([n for a, n in enumerate(shape) if a not in axis]) < 2:
        axis = []
    axis = tuple(draw(st.permutations([a - ndim * draw(st.booleans()) for a in axis])))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([jnp.float32, jnp.bfloat16, jnp.float16]))
    offset = draw(st.sampled_from([0, 1, 30, 1e3, 1e5] if dtype == jnp.float32 else [0, 1, 30]))
    x = jnp.asarray(offset + generator.normal(size=shape), dtype)
    mask_shape = draw(st.sampled_from([None, shape, shape[-1:], (shape[0],) + (1,) * (ndim - 1)]))
    if mask_shape is None:
        return x, axis, None
    mask = jnp.asarray(generator.random(mask_shape) < draw(st.sampled_from([0.2, 0.8, 1.0])))
    fill = draw(st.sampled_from([0, np.nan, np.inf]))
    return jnp.where(mask, x, jnp.asarray(fill, dtype)), axis, mask


@given(problems(), st.sampled_from([1e-5, 1e-3, 1.0]), st.floats(0, 1))
def test_batch_norm_is_the_reference_for_any_input(problem, epsilon, momentum):
    x, axis, mask = problem
    features = [x.shape[a] for a in sorted(a % x.ndim for a in axis)]
    old = jbn.init_batch_stats(features)
    y, new = jbn.batch_norm(
        x,
        old,
        use_running_average=False,
        axis=axis,
        mask=mask,
        epsilon=epsilon,
        momentum=momentum,
    )

    exact, mean, var = reference.batch_norm(x, epsilon=epsilon, mask=mask, axis=axis)
    unit = 1e-6 if x.dtype == jnp.float32 else float(jnp.finfo(x.dtype).eps)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    error = np.abs(np.asarray(y, np.float64) - exact)
    assert np.all(error <= unit * np.maximum(1, np.abs(exact)))

    axes = reference.reduction_axes(x.ndim, axis)
    count = np.broadcast_to(True if mask is None else mask, x.shape).sum(axes).reshape(features)
    for before, after, batch in zip(old, new, (mean, var), strict=True):
        moved = np.where(count >= 2, reference.running(before, batch, momentum), before)
        np.testing.assert_allclose(np.asarray(after, np.float64), moved, 1e-6, 1e-6)
