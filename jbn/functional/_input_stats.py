"""Statistics of a stream of inputs, which arrive in batches of any size and in any order."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int

from jbn.functional._arguments import (
    accumulation_dtype,
    canonical_named_axis,
    check_floating,
    check_stacked,
    check_values,
    split_axes,
    unsharded_parts,
)
from jbn.functional._mask import Mask, divisor, expand_mask, is_counted, select, zero_like
from jbn.functional._moments import shifted_moments


class Remainders(NamedTuple):
    """The rounding errors of count, mean and standard deviation; the next batch adds them back."""

    count: Float[Array, "*features"]  # type: ignore[assignment]  # hides tuple.count, on purpose
    mean: Float[Array, "*features"]
    std: Float[Array, "*features"]


class InputStats(NamedTuple):
    """Count, mean, standard deviation, smallest and largest value of a stream, per feature.

    The standard deviation divides by the count, not by the count less 1. `num_nonfinite` counts the
    entries that were NaN or infinite: they are left out.
    """

    count: Float[Array, "*features"]  # type: ignore[assignment]  # hides tuple.count, on purpose
    mean: Float[Array, "*features"]
    std: Float[Array, "*features"]  # not the variance, which can be too large or small for float32
    min: Float[Array, "*features"]
    max: Float[Array, "*features"]
    num_nonfinite: Int[Array, "*features"]
    remainders: Remainders

    @property
    def var(self) -> Float[Array, "*features"]:
        """The biased variance, std²."""
        return self.std**2


def init_input_stats(
    num_features: int | Sequence[int], dtype: DTypeLike = jnp.float32
) -> InputStats:
    """The statistics of no data: count, mean and standard deviation 0, min ∞ and max -∞.

    Args:
        num_features: the number of features; a shape for several feature axes, () for none.
        dtype: the dtype of the statistics, float32 or float64.

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

    def filled(value: float) -> Float[Array, "..."]:
        """An array of its own: one that is used twice can't be donated."""
        return jnp.full(num_features, value, dtype)

    return InputStats(
        count=filled(0.0),
        mean=filled(0.0),
        std=filled(0.0),
        min=filled(jnp.inf),
        max=filled(-jnp.inf),
        num_nonfinite=jnp.zeros(num_features, jnp.int32),
        remainders=Remainders(filled(0.0), filled(0.0), filled(0.0)),
    )


def known_input_stats(
    mean: Sequence[float] | Float[ArrayLike, "..."],
    std: Sequence[float] | Float[ArrayLike, "..."],
    *,
    count: float | Float[ArrayLike, "..."] = 1.0,
    dtype: DTypeLike = jnp.float32,
) -> InputStats:
    """Statistics that are known already, such as ImageNet's, for `jbn.standardize`.

    The smallest and the largest value are unknown, -∞ and ∞: `jbn.rescale` and
    `jbn.scale_by_max_abs` make NaN of them.

    Args:
        mean, std: mean and standard deviation per feature, of one shape.
        count: the number of values that they are of. It matters if more data update or join them.
        dtype: the dtype of the statistics, float32 or float64.

    Returns:
        `InputStats`, each array of the shape of mean.

    Raises:
        ValueError: mean and std have different shapes; or a mean isn't finite, a standard deviation
            isn't finite or is below 0, or a count is below 0 (unless they are traced).

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> stats = jbn.known_input_stats(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
        >>> print(jbn.standardize(jnp.array([[0.485, 0.68, 0.181]]), stats).round())
        [[ 0.  1. -1.]]

    References:
        Russakovsky et al., 2015, ImageNet Large Scale Visual Recognition Challenge,
        arXiv:1409.0575 (the data of the example's numbers).
    """
    mean, std = jnp.asarray(mean, dtype), jnp.asarray(std, dtype)
    if mean.shape != std.shape:
        raise ValueError(f"std: found shape {std.shape}, wanted {mean.shape}, as mean has")
    check_values("mean", mean, jnp.isfinite, "finite numbers")
    check_values("std", std, lambda v: jnp.isfinite(v) & (v >= 0), "finite numbers from 0 on")
    check_values("count", jnp.asarray(count, dtype), lambda v: v >= 0, "numbers from 0 on")
    return init_input_stats(mean.shape, dtype)._replace(
        count=jnp.array(jnp.broadcast_to(jnp.asarray(count, dtype), mean.shape)),
        mean=jnp.array(mean),
        std=jnp.array(std),
        min=jnp.full(mean.shape, -jnp.inf, dtype),
        max=jnp.full(mean.shape, jnp.inf, dtype),
    )


def update_input_stats(
    stats: InputStats,
    x: Float[Array, "..."],
    *,
    axis: int | Sequence[int] | None = None,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
) -> InputStats:
    """The statistics of the stream with one more batch.

    They are exactly those of all entries together, for batches of any order and size. Entries that
    are NaN or infinite are left out, and counted in `num_nonfinite`. The standard deviation is
    right whenever it is a normal number of the dtype, even where its square isn't.

    Args:
        stats: the statistics so far; made by `jbn.init_input_stats` or `jbn.known_input_stats`.
        x: the batch; a real floating dtype.
        axis: the feature axes of x, in x's order. None: the last axes of x, one for each axis of
            the statistics.
        mask: True where an entry counts, or floating weights; broadcastable to x.
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
        >>> print(stats.count, stats.mean, stats.std.round(3), stats.min, stats.max)
        [4.] [3.] [1.871] [1.] [6.]

    References:
        Chan, Golub and LeVeque, 1983, Algorithms for Computing the Sample Variance.
    """
    x = jnp.asarray(x)
    check_floating("x", x, complex_too=False)
    _, reduction_axes = split_input_axes(x, stats, axis)
    mask = expand_mask(mask, x.shape)
    counts, is_nonfinite = jnp.isfinite(x), ~jnp.isfinite(x)
    if mask is not None:
        counts, is_nonfinite = counts & is_counted(mask), is_nonfinite & is_counted(mask)
    weights = counts if mask is None or mask.dtype == bool else jnp.where(counts, mask, 0)
    x = jnp.where(counts, x, 0).astype(accumulation_dtype(x.dtype, stats.mean.dtype))
    named_axis = canonical_named_axis(axis_name)

    def largest(values: Float[Array, "..."]) -> Float[Array, "..."]:
        values = jnp.where(counts, values, -jnp.inf)
        return jnp.max(values, reduction_axes, keepdims=True, initial=-jnp.inf)

    minus_min, max = named_axis.max([largest(-x), largest(x)])
    # Squares of numbers from -1 to 1 neither overflow nor, all of them, underflow.
    exponent = exponent_of_2(minus_min, max)
    count, shift, offset, var = shifted_moments(
        times_power_of_2(x, -exponent), reduction_axes, weights, named_axis
    )
    mean, remainder, std = (times_power_of_2(v, exponent) for v in (shift, offset, jnp.sqrt(var)))
    # The remainder also takes the digits of the mean that the statistics' dtype can't hold.
    remainder += mean - mean.astype(stats.mean.dtype).astype(mean.dtype)
    zero = zero_like(count)
    remainders = Remainders(zero, remainder, zero)
    num_nonfinite = jnp.sum(is_nonfinite, reduction_axes, jnp.int32, keepdims=True)
    (num_nonfinite,) = named_axis.sum([num_nonfinite])
    batch = InputStats(count, mean, std, -minus_min, max, num_nonfinite, remainders)
    like_stats = jax.tree.map(lambda v, old: v.reshape(old.shape).astype(old.dtype), batch, stats)
    return _merge_two(stats, like_stats)


def merge_input_stats(parts: InputStats) -> InputStats:
    """The statistics of all streams together, from the statistics of each.

    More than two streams are merged in pairs. Two streams are merged by these formulas, per
    feature, where a is the stream with more entries:

        count = a.count + b.count        w = b.count / count        δ = b.mean - a.mean
        mean = a.mean + w δ              std² = a.std² + w (b.std² - a.std² + (1 - w) δ²)

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
        >>> print(stats.count, stats.mean, stats.std.round(3), stats.min, stats.max)
        [4.] [3.] [1.871] [1.] [6.]

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
    whole: InputStats = jax.tree.map(lambda leaf: leaf[0], parts)
    return whole


def _rows(parts: InputStats, start: int, end: int) -> InputStats:
    rows: InputStats = jax.tree.map(lambda leaf: lax.slice_in_dim(leaf, start, end), parts)
    return rows


def _merge_two(a: InputStats, b: InputStats) -> InputStats:
    """The statistics of two streams together, or of many pairs along a first axis."""
    # a becomes the larger stream, so merging an empty stream changes nothing.
    a, b = (
        jax.tree.map(functools.partial(select, a.count >= b.count), one, other)
        for one, other in ((a, b), (b, a))
    )
    count, count_remainder = _add(a.count, a.remainders.count, b.count, b.remainders.count)
    w = b.count / divisor(count)
    # All lengths in units of the largest: then their squares neither overflow nor underflow.
    exponent = exponent_of_2(a.mean, b.mean, a.std, b.std)

    def in_units(stats: InputStats) -> tuple[Float[Array, "..."], ...]:
        lengths = stats.mean, stats.remainders.mean, stats.std, stats.remainders.std
        return tuple(times_power_of_2(length, -exponent) for length in lengths)

    a_mean, a_mean_remainder, a_std, a_std_remainder = in_units(a)
    b_mean, b_mean_remainder, b_std, b_std_remainder = in_units(b)
    delta = (b_mean - a_mean) + (b_mean_remainder - a_mean_remainder)
    difference = (b_std - a_std) + (b_std_remainder - a_std_remainder)
    growth = w * (difference * (b_std + a_std) + (1 - w) * delta**2)  # of the variance
    both = a_std + jnp.sqrt(a_std**2 + growth)
    lengths = (
        *_add(a_mean, a_mean_remainder, w * delta, 0),
        *_add(a_std, a_std_remainder, growth / divisor(both), 0),
    )
    mean, mean_remainder, std, std_remainder = (times_power_of_2(v, exponent) for v in lengths)
    return InputStats(
        count,
        mean,
        std,
        jnp.minimum(a.min, b.min),
        jnp.maximum(a.max, b.max),
        a.num_nonfinite + b.num_nonfinite,
        Remainders(count_remainder, mean_remainder, std_remainder),
    )


def exponent_of_2(*lengths: Float[Array, "..."]) -> Int[Array, "..."]:
    """The n with 2ⁿ⁻¹ ≤ length < 2ⁿ, for the largest finite length; 0 if all are 0 or infinite."""
    sizes = [jnp.where(jnp.isfinite(length), jnp.abs(length), 0) for length in lengths]
    largest = functools.reduce(jnp.maximum, sizes)
    finfo, integer = jnp.finfo(largest.dtype), _integer_like(largest)
    # The bits of a positive number: its exponent, counted from the smallest one, and its digits.
    exponent = (lax.bitcast_convert_type(largest, integer) >> finfo.nmant) + finfo.minexp
    return jnp.where(largest > 0, exponent, 0)


def times_power_of_2(x: Float[Array, "..."], n: Int[Array, "..."]) -> Float[Array, "..."]:
    """x 2ⁿ, in two steps: 2ⁿ itself may be too large or small for the dtype."""
    half = n // 2
    return x * _power_of_2(half, x.dtype) * _power_of_2(n - half, x.dtype)


def _power_of_2(n: Int[Array, "..."], dtype: jnp.dtype) -> Float[Array, "..."]:
    """2ⁿ, exactly; n is between the smallest and the largest exponent of the dtype."""
    finfo = jnp.finfo(dtype)
    return lax.bitcast_convert_type((n + 1 - finfo.minexp) << finfo.nmant, dtype)


def _integer_like(x: Float[Array, "..."]) -> DTypeLike:
    integer: DTypeLike = jnp.int32 if x.dtype.itemsize == 4 else jnp.int64
    return integer


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


def _add(
    a: Float[Array, "..."],
    a_remainder: Float[Array, "..."],
    b: Float[Array, "..."],
    b_remainder: Float[Array, "..."] | int,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The sum of two numbers that have remainders, and its remainder."""
    total, remainder = _sum_and_error(a, b)
    return _sum_and_error(total, remainder + (a_remainder + b_remainder))


def _sum_and_error(
    a: Float[Array, "..."], b: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """a + b, and its exact rounding error."""
    total = lax.optimization_barrier(a + b)  # or the compiler might replace total - a by b
    b_seen = total - a
    return total, (a - (total - b_seen)) + (b - b_seen)
