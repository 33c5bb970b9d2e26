"""Every norm for shapes, axes, masks, weights, dtypes and offsets at random, by the reference."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from norms import NORMS, STATEFUL_NORMS, feature_shape
from problems import close

import jbn

LARGE_SHAPES = [(100_000, 1), (1, 100_000), (317, 3, 105), (1000, 2)]
small_shapes = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)
# |mean| / std: as far as the dtype has digits left.
OFFSETS = {
    jnp.bfloat16: [0, 1, 30],
    jnp.float16: [0, 1, 30, 300],
    jnp.float32: [0, 1, 30, 1e3, 1e5],
    jnp.float64: [0, 1, 30, 1e3, 1e5],
}


class Problem(NamedTuple):
    """x and dy (float64 NumPy, to be cast), and the options of the norm."""

    x: np.ndarray
    dy: np.ndarray
    mask: np.ndarray | None
    axis: tuple[int, ...]
    epsilon: float
    dtype: type


@st.composite
def problems(draw):
    shape = draw(st.one_of(small_shapes, st.sampled_from(LARGE_SHAPES)))
    ndim = len(shape)
    axis = draw(st.sets(st.integers(0, ndim - 1), max_size=ndim - 1).map(sorted))
    if math.prod(n for a, n in enumerate(shape) if a not in axis) < 2:
        axis, shape = [], (*shape[:-1], shape[-1] + 1)
    axis = tuple(draw(st.permutations([a - ndim * draw(st.booleans()) for a in axis])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(list(OFFSETS)))
    std = draw(st.sampled_from([0.01, 1, 100]))
    x = std * (draw(st.sampled_from(OFFSETS[dtype])) + rng.normal(size=shape))
    mask = draw_mask(draw, shape, rng)
    dy = rng.normal(size=shape)
    if mask is not None:
        x = np.where(mask, x, draw(st.sampled_from([0, np.nan, np.inf])))
        dy = np.where(mask, dy, 0)
    epsilon = draw(st.sampled_from([1e-5, 1e-3, 1.0]))
    return Problem(x, dy, mask, axis, epsilon, dtype)


def draw_mask(draw, shape, rng):
    """None, or a mask or weights that broadcast to the shape; or a mask of a single entry."""
    kind = draw(st.sampled_from([None, "mask", "weights", "one entry"]))
    if kind is None:
        return None
    if kind == "one entry":
        mask = np.zeros(shape, bool)
        mask.flat[rng.integers(mask.size)] = True
        return mask
    rows = (shape[0],) + (1,) * (len(shape) - 1)
    size = draw(st.sampled_from([shape, shape[-1:], rows]))
    mask = rng.random(size) < draw(st.sampled_from([0.2, 0.8, 1.0]))
    return mask if kind == "mask" else mask * rng.choice([0.25, 1, 4], size)


def cast(problem):
    """x, dy and the mask as arrays of the problem's dtype."""
    x, dy = (jnp.asarray(v, problem.dtype) for v in (problem.x, problem.dy))
    mask = problem.mask
    if mask is not None and mask.dtype != bool:
        mask = mask.astype(np.float32)
    return x, dy, None if mask is None else jnp.asarray(mask)


def unit(dtype):
    """The error allowed: that of rounding the result, or of the arithmetic in float32."""
    return {8: 1e-9, 4: 1e-6}.get(jnp.dtype(dtype).itemsize, float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@settings(max_examples=7)
@given(problems())
def test_result_and_gradient_are_the_reference_for_any_input(norm, problem):
    with jax.enable_x64(problem.dtype == jnp.float64):
        x, dy, mask = cast(problem)
        options = {"axis": problem.axis, "mask": mask, "epsilon": problem.epsilon}

        @jax.jit
        def run(x, dy, mask):
            y, vjp = jax.vjp(lambda x: norm.apply(x, **{**options, "mask": mask}), x)
            return y, *vjp(dy)

        y, dx = run(x, dy, mask)
    assert y.dtype == x.dtype
    exact = norm.judge(x, **options)
    held = np.abs(exact.y) < float(jnp.finfo(x.dtype).max)  # a masked entry may be far out
    close(np.where(held, np.asarray(y, np.float64), 0), np.where(held, exact.y, 0), unit(x.dtype))
    # Relative to the numbers that it is the difference of.
    r = 1 / np.sqrt(exact.var + problem.epsilon)
    terms = np.maximum(1, r * np.max(np.abs(np.asarray(dy, np.float64))))
    exact_dx = norm.judge_vjp(x, dy, **options)[0]
    close(np.asarray(dx, np.float64) / terms, exact_dx / terms, unit(problem.dtype))


@pytest.mark.parametrize("norm", STATEFUL_NORMS.values(), ids=STATEFUL_NORMS)
@settings(max_examples=7)
@given(problems(), st.floats(0, 1))
def test_state_is_the_reference_for_any_input(norm, problem, momentum):
    with jax.enable_x64(problem.dtype == jnp.float64):
        x, _, mask = cast(problem)
        features = feature_shape(x, problem.axis)
        old = jbn.init_batch_stats(features)

        @jax.jit
        def run(x, mask, momentum):
            options = {"axis": problem.axis, "mask": mask, "momentum": momentum}
            return norm(x, old, use_running_average=False, **options)[1]

        new = run(x, mask, jnp.float32(momentum))
    _, *batch = reference.batch_norm(x, mask=mask, axis=problem.axis)
    axes = reference.reduction_axes(x.ndim, problem.axis)
    weights = np.broadcast_to(1.0 if mask is None else np.asarray(mask, np.float64), x.shape)
    count = weights.sum(axes).reshape(features)
    var = batch[1].reshape(features)
    for before, after, value, size in zip(old, new, batch, (np.sqrt(var), var), strict=True):
        moved = np.where(count >= 2, reference.running(before, value, momentum), before)
        # A mean is rounded as the numbers are whose mean it is: in their deviations.
        unit_of = np.maximum(1, size)
        close(np.asarray(after, np.float64) / unit_of, moved / unit_of)
