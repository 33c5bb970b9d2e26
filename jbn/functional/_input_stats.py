"""Statistics of a stream of inputs, which arrive in batches of any size and in any order."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jbn.functional._arguments import (
    accumulation_dtype,
    canonical_named_axis,
    check_floating,
    check_stacked,
    split_axes,
    unsharded_parts,
)
from jbn.functional._mask import Mask, divisor, expand_mask, is_counted, select, zero_like
from jbn.functional._moments import shifted_moments


class Remainders(NamedTuple):
    """The rounding errors of count, mean and variance; the next batch adds them back."""

    count: Float[Array, "*features"]  # type: ignore[assignment]  # hides tuple.count, on purpose
    mean: Float[Array, "*features"]
    var: Float[Array, "*features"]


class InputStats(NamedTuple):
    """Count, mean, biased variance, smallest and largest value of a stream, per feature."""

    count: Float[Array, "*features"]  # type: ignore[assignment]  # hides tuple.count, on purpose
    mean: Float[Array, "*features"]
    var: Float[Array, "*features"]
    min: Float[Array, "*features"]
    max: Float[Array, "*features"]
    remainders: Remainders


def init_input_stats(
    num_features: int | Sequence[int], dtype: DTypeLike = jnp.float32
) -> InputStats:
    """The statistics of no data: count, mean and variance 0, min ∞ and max -∞.

    Args:
        num_features: the number of features; a shape for several feature axes, () for none.
        dtype: the dtype of all arrays, float32 or float64.

    Returns:
        `InputStats`, each array of shape `(num_features,)` or of the shape given.

    Example:
        >>> import jbn
        >>> stats = jbn.init_input_stats(2)
        >>> print(stats.count, stats.mean, stats.min)
        [0. 0.] [0. 0.] [inf inf]

    References:
        Welford, 1962, Note on a Method for Calculating Corrected Sums of Squares and Products.
    """
    zero = jnp.zeros(num_features, dtype)
    infinity = jnp.full(num_features, jnp.inf, dtype)
    return InputStats(zero, zero, zero, infinity, -infinity, Remainders(zero, zero, zero))


def update_input_stats(
    stats: InputStats,
    x: Float[Array, "..."],
    *,
    axis: int | Sequence[int] | None = None,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
) -> InputStats:
    """The statistics of the stream with one more batch.

    They are exactly those of all entries together, for batches of any order and size.

    Args:
        stats: the statistics so far; made by `jbn.init_input_stats`.
        x: the batch; a real floating dtype.
        axis: the feature axes of x, in x's order. None: the last axes of x, one for each axis of
            the statistics.
        mask: True where an entry counts, or floating weights; broadcastable to x. The mask
            `jnp.isfinite(x)` leaves out missing values.
        axis_name: the mapped axis that the batch is spread over, or several.

    Returns:
        `InputStats` of the same shapes and dtypes.

    Raises:
        TypeError: x isn't real and floating, or the mask is neither boolean nor floating.
        ValueError: the features of x don't fit the statistics, an axis is out of range or repeated,
            the mask doesn't broadcast to x, or `axis_name` isn't bound.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> stats = jbn.init_input_stats(1)
        >>> stats = jbn.update_input_stats(stats, jnp.array([[1.0], [2.0], [3.0]]))
        >>> stats = jbn.update_input_stats(stats, jnp.array([[6.0]]))
        >>> print(stats.count, stats.mean, stats.var, stats.min, stats.max)
        [4.] [3.] [3.5] [1.] [6.]

    References:
        Chan, Golub and LeVeque, 1983, Algorithms for Computing the Sample Variance.
    """
    x = jnp.asarray(x)
    check_floating("x", x, complex_too=False)
    _, reduction_axes = split_input_axes(x, stats, axis)
    mask = expand_mask(mask, x.shape)
    x = x.astype(accumulation_dtype(x.dtype, stats.mean.dtype))
    named_axis = canonical_named_axis(axis_name)
    count, shift, offset, var = shifted_moments(x, reduction_axes, mask, named_axis)

    def largest(values: Float[Array, "..."]) -> Float[Array, "..."]:
        if mask is not None:
            values = jnp.where(is_counted(mask), values, -jnp.inf)
        return jnp.max(values, reduction_axes, keepdims=True, initial=-jnp.inf)

    minus_min, max = named_axis.max([largest(-x), largest(x)])
    zero = zero_like(count)
    # The remainder takes the digits of the shift that the statistics' dtype can't hold.
    remainder = shift - shift.astype(stats.mean.dtype).astype(shift.dtype)
    batch = InputStats(
        count, shift, var, -minus_min, max, Remainders(zero, offset + remainder, zero)
    )
    like_stats = jax.tree.map(lambda v, old: v.reshape(old.shape).astype(old.dtype), batch, stats)
    return _merge_two(stats, like_stats)


def merge_input_stats(parts: InputStats) -> InputStats:
    """The statistics of all streams together, from the statistics of each.

    More than two streams are merged in pairs. Two streams are merged by these formulas, per
    feature, where a is the stream with more entries:

        count = a.count + b.count        w = b.count / count        δ = b.mean - a.mean
        mean = a.mean + w δ              var = a.var + w (b.var - a.var + (1 - w) δ²)

    The statistics keep the rounding errors of these sums as remainders. So a float32 stream of 10⁹
    values doesn't stop counting at 2²⁴, and its mean still changes.

    Args:
        parts: statistics stacked along a new first axis, as `jax.vmap` and `jax.lax.scan` return
            them: each array of shape `(parts, *features)`.

    Returns:
        `InputStats` without the first axis, in the dtypes that came in.

    Raises:
        ValueError: there is no part, or the arrays have different shapes.

    Example:
        >>> import jax, jax.numpy as jnp, jbn
        >>> def stats_of(x):
        ...     return jbn.update_input_stats(jbn.init_input_stats(1), x)
        >>> streams = jnp.array([[[1.0], [2.0]], [[3.0], [6.0]]])
        >>> stats = jbn.merge_input_stats(jax.vmap(stats_of)(streams))
        >>> print(stats.count, stats.mean, stats.var, stats.min, stats.max)
        [4.] [3.] [3.5] [1.] [6.]

    References:
        Chan, Golub and LeVeque, 1983, Algorithms for Computing the Sample Variance; Knuth, 1997,
        The Art of Computer Programming 2, Section 4.2.2 (the exact error of a sum).
    """
    check_stacked("parts", parts)
    parts = jax.tree.map(unsharded_parts, parts)
    num_parts = parts.count.shape[0]
    while num_parts > 1:
        half = num_parts // 2
        merged = _merge_two(_rows(parts, 0, half), _rows(parts, half, 2 * half))
        if num_parts % 2:
            last = _rows(parts, num_parts - 1, num_parts)
            merged = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), merged, last)
        parts = merged
        num_parts -= half
    return jax.tree.map(lambda leaf: leaf[0], parts)


def _rows(parts: InputStats, start: int, end: int) -> InputStats:
    return jax.tree.map(lambda leaf: lax.slice_in_dim(leaf, start, end), parts)


def _merge_two(a: InputStats, b: InputStats) -> InputStats:
    """The statistics of two streams together, or of many pairs along a first axis."""
    # a becomes the larger stream, so merging an empty stream changes nothing.
    a, b = (
        jax.tree.map(functools.partial(select, a.count >= b.count), one, other)
        for one, other in ((a, b), (b, a))
    )
    count, count_remainder = _add(a.count, a.remainders.count, b.count, b.remainders.count)
    w = b.count / divisor(count)
    delta = (b.mean - a.mean) + (b.remainders.mean - a.remainders.mean)
    mean, mean_remainder = _add(a.mean, a.remainders.mean, w * delta, 0)
    growth = (b.var - a.var) + (b.remainders.var - a.remainders.var) + (1 - w) * delta**2
    var, var_remainder = _add(a.var, a.remainders.var, w * growth, 0)
    return InputStats(
        count,
        mean,
        var,
        jnp.minimum(a.min, b.min),
        jnp.maximum(a.max, b.max),
        Remainders(count_remainder, mean_remainder, var_remainder),
    )


def split_input_axes(
    x: Float[Array, "..."], stats: InputStats, axis: int | Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The feature axes of x, which are its last axes by default, and all other axes."""
    features = stats.mean.shape
    last = tuple(range(-len(features), 0))
    if axis is None and x.ndim < len(features):
        raise ValueError(f"x: found shape {x.shape}, wanted one that ends with {features}")
    feature_axes, others = split_axes(last if axis is None else axis, x.ndim)
    if tuple(x.shape[a] for a in feature_axes) != features:
        raise ValueError(
            f"x: found shape {x.shape}, wanted {features} along its feature axes, "
            f"{feature_axes}, as the statistics have"
        )
    return feature_axes, others


def _add(a, a_remainder, b, b_remainder):
    """The sum of two numbers that have remainders, and its remainder."""
    total, remainder = _sum_and_error(a, b)
    return _sum_and_error(total, remainder + (a_remainder + b_remainder))


def _sum_and_error(a, b):
    """a + b, and its exact rounding error."""
    total = lax.optimization_barrier(a + b)  # or the compiler might replace total - a by b
    b_seen = total - a
    return total, (a - (total - b_seen)) + (b - b_seen)
