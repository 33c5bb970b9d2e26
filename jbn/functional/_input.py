"""Input normalization by the statistics of a stream, and its inverses."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jbn.functional._arguments import accumulation_dtype, broadcast_shape, check_floating
from jbn.functional._input_stats import (
    InputStats,
    exponent_of_2,
    split_input_axes,
    times_power_of_2,
)


def standardize(
    x: Float[Array, "*shape"], stats: InputStats, *, axis: int | Sequence[int] | None = None
) -> Float[Array, "*shape"]:
    """x with mean 0 and variance 1 (z-score).

        y = (x - mean) / std

    A constant feature becomes 0; `jbn.unstandardize` gives its value back exactly.

    Args:
        x: data; a real floating dtype.
        stats: the statistics of the training data, by `jbn.update_input_stats`. Statistics of no
            data act as mean 0, standard deviation 1, minimum 0 and maximum 1.
        axis: the feature axes of x, in x's order. None: the last axes of x, one for each axis of
            the statistics.

    Returns:
        y, of x's shape and dtype.

    Raises:
        TypeError: x isn't real and floating.
        ValueError: the features of x don't fit the statistics.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[1.0, 7.0], [3.0, 7.0]])
        >>> stats = jbn.update_input_stats(jbn.init_input_stats(2), x)
        >>> print(jbn.standardize(x, stats))
        [[-1.  0.]
         [ 1.  0.]]

    References:
        LeCun, Bottou, Orr and Müller, 1998, Efficient BackProp, Section 4.3.
    """
    x, dtype, stats = _beside(x, stats, axis)
    mean, remainder, std, exponent = _mean_and_std_in_units(stats)
    x = times_power_of_2(x, -exponent)
    # In (x - mean - remainder) / std the compiler would add the two constants and lose digits.
    return ((x - mean) / std - remainder / std).astype(dtype)


def unstandardize(
    y: Float[Array, "*shape"], stats: InputStats, *, axis: int | Sequence[int] | None = None
) -> Float[Array, "*shape"]:
    """The inverse of `jbn.standardize`.

        x = y * std + mean

    Args:
        y, stats, axis: as in `jbn.standardize`.

    Returns:
        x, of y's shape and dtype.

    Raises:
        TypeError, ValueError: as `jbn.standardize`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[1.0, 7.0], [3.0, 7.0]])
        >>> stats = jbn.update_input_stats(jbn.init_input_stats(2), x)
        >>> print(jbn.unstandardize(jbn.standardize(x, stats), stats))
        [[1. 7.]
         [3. 7.]]

    References:
        LeCun, Bottou, Orr and Müller, 1998, Efficient BackProp, Section 4.3.
    """
    y, dtype, stats = _beside(y, stats, axis)
    mean, remainder, std, exponent = _mean_and_std_in_units(stats)
    return times_power_of_2(y * std + remainder + mean, exponent).astype(dtype)


def center(
    x: Float[Array, "*shape"], stats: InputStats, *, axis: int | Sequence[int] | None = None
) -> Float[Array, "*shape"]:
    """x with mean 0.

        y = x - mean

    Args:
        x, stats, axis: as in `jbn.standardize`.

    Returns:
        y, of x's shape and dtype.

    Raises:
        TypeError, ValueError: as `jbn.standardize`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[1.0], [3.0]])
        >>> print(jbn.center(x, jbn.update_input_stats(jbn.init_input_stats(1), x)).ravel())
        [-1.  1.]

    References:
        LeCun, Bottou, Orr and Müller, 1998, Efficient BackProp, Section 4.3.
    """
    x, dtype, stats = _beside(x, stats, axis)
    mean, remainder = _mean(stats)
    # Without the barrier the compiler would add the two constants and lose digits.
    apart: Array = lax.optimization_barrier(remainder)
    return (x - mean - apart).astype(dtype)


def uncenter(
    y: Float[Array, "*shape"], stats: InputStats, *, axis: int | Sequence[int] | None = None
) -> Float[Array, "*shape"]:
    """The inverse of `jbn.center`.

        x = y + mean

    Args:
        y, stats, axis: as in `jbn.standardize`.

    Returns:
        x, of y's shape and dtype.

    Raises:
        TypeError, ValueError: as `jbn.standardize`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> stats = jbn.update_input_stats(jbn.init_input_stats(1), jnp.array([[1.0], [3.0]]))
        >>> print(jbn.uncenter(jnp.array([[-1.0], [1.0]]), stats).ravel())
        [1. 3.]

    References:
        LeCun, Bottou, Orr and Müller, 1998, Efficient BackProp, Section 4.3.
    """
    y, dtype, stats = _beside(y, stats, axis)
    mean, remainder = _mean(stats)
    return (y + remainder + mean).astype(dtype)


def rescale(
    x: Float[Array, "*shape"],
    stats: InputStats,
    *,
    low: float = 0.0,
    high: float = 1.0,
    axis: int | Sequence[int] | None = None,
) -> Float[Array, "*shape"]:
    """x shifted and scaled so that the data range from `low` to `high` (min-max).

        y = low + (x - min) * (high - low) / (max - min)

    A constant feature becomes `low`; `jbn.unrescale` gives its value back exactly. If x is outside
    the data's range, y is outside `low` to `high`.

    Args:
        x, stats, axis: as in `jbn.standardize`.
        low, high: the range; low < high.

    Returns:
        y, of x's shape and dtype.

    Raises:
        TypeError: x isn't real and floating.
        ValueError: the features of x don't fit the statistics, or low isn't below high.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[1.0], [2.0], [5.0]])
        >>> stats = jbn.update_input_stats(jbn.init_input_stats(1), x)
        >>> print(jbn.rescale(x, stats, low=-1.0, high=1.0).ravel())
        [-1.  -0.5  1. ]

    References:
        Han, Kamber and Pei, 2011, Data Mining: Concepts and Techniques, Section 3.5.2.
    """
    x, dtype, stats = _beside(x, stats, axis)
    start, extent, exponent = _range(stats, low, high)
    x = times_power_of_2(x, -exponent)
    return ((x - start) * ((high - low) / extent) + low).astype(dtype)


def unrescale(
    y: Float[Array, "*shape"],
    stats: InputStats,
    *,
    low: float = 0.0,
    high: float = 1.0,
    axis: int | Sequence[int] | None = None,
) -> Float[Array, "*shape"]:
    """The inverse of `jbn.rescale`.

        x = min + (y - low) * (max - min) / (high - low)

    Args:
        y, stats, low, high, axis: as in `jbn.rescale`.

    Returns:
        x, of y's shape and dtype.

    Raises:
        TypeError, ValueError: as `jbn.rescale`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> stats = jbn.update_input_stats(jbn.init_input_stats(1), jnp.array([[1.0], [5.0]]))
        >>> print(jbn.unrescale(jnp.array([[0.0], [0.25], [1.0]]), stats).ravel())
        [1. 2. 5.]

    References:
        Han, Kamber and Pei, 2011, Data Mining: Concepts and Techniques, Section 3.5.2.
    """
    y, dtype, stats = _beside(y, stats, axis)
    start, extent, exponent = _range(stats, low, high)
    x = (y - low) / ((high - low) / extent) + start
    return times_power_of_2(x, exponent).astype(dtype)


def scale_by_max_abs(
    x: Float[Array, "*shape"], stats: InputStats, *, axis: int | Sequence[int] | None = None
) -> Float[Array, "*shape"]:
    """x scaled so that the data lie between -1 and 1; 0 stays 0.

        y = x / max(|min|, |max|)

    Args:
        x, stats, axis: as in `jbn.standardize`.

    Returns:
        y, of x's shape and dtype.

    Raises:
        TypeError, ValueError: as `jbn.standardize`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[0.0], [1.0], [-4.0]])
        >>> stats = jbn.update_input_stats(jbn.init_input_stats(1), x)
        >>> print(jbn.scale_by_max_abs(x, stats).ravel())
        [ 0.    0.25 -1.  ]

    References:
        Pedregosa et al., 2011, Scikit-learn: Machine Learning in Python (`MaxAbsScaler`).
    """
    x, dtype, stats = _beside(x, stats, axis)
    return (x / _max_abs(stats)).astype(dtype)


def unscale_by_max_abs(
    y: Float[Array, "*shape"], stats: InputStats, *, axis: int | Sequence[int] | None = None
) -> Float[Array, "*shape"]:
    """The inverse of `jbn.scale_by_max_abs`.

        x = y * max(|min|, |max|)

    Args:
        y, stats, axis: as in `jbn.standardize`.

    Returns:
        x, of y's shape and dtype.

    Raises:
        TypeError, ValueError: as `jbn.standardize`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> stats = jbn.update_input_stats(jbn.init_input_stats(1), jnp.array([[1.0], [-4.0]]))
        >>> print(jbn.unscale_by_max_abs(jnp.array([[0.25], [-1.0]]), stats).ravel())
        [ 1. -4.]

    References:
        Pedregosa et al., 2011, Scikit-learn: Machine Learning in Python (`MaxAbsScaler`).
    """
    y, dtype, stats = _beside(y, stats, axis)
    return (y * _max_abs(stats)).astype(dtype)


def _beside(
    x: Float[Array, "..."], stats: InputStats, axis: int | Sequence[int] | None
) -> tuple[Float[Array, "..."], jnp.dtype, InputStats]:
    """x in the dtype to compute in, x's own dtype, and the statistics shaped to broadcast to x."""
    x = jnp.asarray(x)
    check_floating("x", x, complex_too=False)
    feature_axes, _ = split_input_axes(x, stats, axis)
    to_broadcast = broadcast_shape(x.shape, feature_axes)
    dtype = accumulation_dtype(x.dtype, stats.mean.dtype)
    return (
        x.astype(dtype),
        x.dtype,
        jax.tree.map(lambda value: value.astype(dtype).reshape(to_broadcast), stats),
    )


def _mean(stats: InputStats) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The mean and its remainder; for a constant feature its value and 0."""
    constant = stats.min == stats.max
    return (
        jnp.where(constant, stats.min, stats.mean),
        jnp.where(constant, 0, stats.remainders.mean),
    )


def _mean_and_std_in_units(
    stats: InputStats,
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."], Int[Array, "..."]]:
    """The mean, its remainder and a divisor, all times 2⁻ⁿ; and n.

    The divisor is the standard deviation, or 1 where that is 0. In units of 2ⁿ, which is next to
    it, no reciprocal and no difference is too large or small for the dtype.
    """
    spreads = (stats.min < stats.max) & (stats.std > 0)
    std = jnp.where(spreads, stats.std, 1)
    exponent = exponent_of_2(std)
    mean, remainder, std = (times_power_of_2(v, -exponent) for v in (*_mean(stats), std))
    return mean, remainder, std, exponent


def _range(
    stats: InputStats, low: float, high: float
) -> tuple[Float[Array, "..."], Float[Array, "..."], Int[Array, "..."]]:
    """The smallest value and the extent of the data, both times 2⁻ⁿ; and n."""
    if not low < high:
        raise ValueError(f"low, high: found {low} and {high}, wanted low below high")
    seen, spreads = stats.min <= stats.max, stats.min < stats.max
    start, end = jnp.where(seen, stats.min, 0), jnp.where(spreads, stats.max, 0)
    exponent = jnp.where(spreads, exponent_of_2(start, end), 0)
    start, end = (times_power_of_2(v, -exponent) for v in (start, end))
    return start, jnp.where(spreads, end - start, 1), exponent


def _max_abs(stats: InputStats) -> Float[Array, "..."]:
    """The divisor; NaN where the range of the data isn't known."""
    largest = jnp.maximum(jnp.abs(stats.min), jnp.abs(stats.max))
    unknown = (stats.min <= stats.max) & jnp.isinf(largest)
    divisor = jnp.where((stats.min <= stats.max) & (largest > 0), largest, 1)
    return jnp.where(unknown, jnp.nan, divisor)
