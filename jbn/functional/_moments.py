"""Count, mean and variance of a batch: one pass over the data, accurate far from zero."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jbn.functional._arguments import (
    NamedAxis,
    accumulation_dtype,
    canonical_axes,
    check_floating,
    expand_mask,
    named_axis,
    num_reduced,
)

# The shift is the mean of every 16th entry, and of no fewer than 8. If a fraction f of the
# entries makes the shift, then (shift - mean)² <= var * (1/f - 1) whatever the data, so the
# variance loses at most log2(16) bits, for one sixteenth more reading.
_SHIFT_STRIDE = 16
_SHIFT_MIN_COUNT = 8


class Moments(NamedTuple):
    """Count, mean and biased variance of a batch; the reduced axes stay, with size 1."""

    count: Float[Array, "..."]  # type: ignore[assignment]  # hides tuple.count, on purpose
    mean: Float[Array, "..."]
    var: Float[Array, "..."]


class ShiftedMoments(NamedTuple):
    """Moments whose mean is the unevaluated sum `shift + offset`: twice the digits of one float."""

    count: Float[Array, "..."]  # type: ignore[assignment]  # likewise
    shift: Float[Array, "..."]
    offset: Float[Array, "..."]
    var: Float[Array, "..."]


def moments(
    x: Float[Array, "..."],
    reduction_axes: int | Sequence[int],
    *,
    mask: Bool[Array, "..."] | None = None,
    axis_name: str | Sequence[str] | None = None,
) -> Moments:
    """The count, the mean and the biased variance of x over `reduction_axes`.

    With d = x - shift, where the shift is a value near the data (the mean of a sixteenth of it;
    under a mask, the mean of all counted entries):

        mean = shift + Σd / count        var = Σd² / count - (Σd / count)²

    This reads x once, as E[x²] - E[x]² does, and doesn't cancel far from zero.

    Args:
        x: data of any shape; a floating dtype.
        reduction_axes: the axes to average over; negative ones count from the end.
        mask: True where an entry counts; broadcastable to x. None counts all.
        axis_name: a mapped axis, or several, to average over as well (of `jax.vmap` or
            `jax.shard_map`).

    Returns:
        `Moments(count, mean, var)`: arrays of x's shape with size 1 at the reduced axes, float32
        (float64 for a float64 x). Where nothing counts all three are 0.

    Raises:
        TypeError: x has no floating dtype, or the mask isn't boolean.
        ValueError: an axis is out of range or repeated, the mask doesn't broadcast to x, or
            `axis_name` isn't bound.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> count, mean, var = jbn.moments(jnp.array([[10000.], [10001.], [10002.]]), 0)
        >>> print(count, mean, var)
        [[3.]] [[10001.]] [[0.6666667]]

    References:
        Chan, Golub and LeVeque, 1983, Algorithms for Computing the Sample Variance: Analysis and
        Recommendations (the shifted one-pass formula).
    """
    x = jnp.asarray(x)
    check_floating("x", x)
    axes = canonical_axes("reduction_axes", reduction_axes, x.ndim)
    mask = expand_mask(mask, x.shape)
    x = x.astype(accumulation_dtype(x.dtype))
    count, shift, offset, var = shifted_moments(x, axes, mask, named_axis(axis_name))
    return Moments(count, shift + offset, var)


def shifted_moments(
    x: Float[Array, "..."],
    reduction_axes: tuple[int, ...],
    mask: Bool[Array, "..."] | None,
    named: NamedAxis,
) -> ShiftedMoments:
    """The moments of an x that has the accumulation dtype already, over canonical axes."""
    if mask is None:
        few = _every_16th(x, reduction_axes)
        (few_sum,) = named.sum([_sum(few, reduction_axes)])
        few_mean = few_sum / (num_reduced(few.shape, reduction_axes) * named.size())
        shift = _as_shift(few_mean)
        count = jnp.full_like(shift, num_reduced(x.shape, reduction_axes) * named.size())
        divisor = count
        d = x - shift
    else:
        # Counted as integers: a float32 sum of ones sticks at 2**24.
        num_true = jnp.sum(
            jnp.broadcast_to(mask, x.shape), reduction_axes, jnp.int32, keepdims=True
        )
        x_sum = _sum(jnp.where(mask, x, 0), reduction_axes)
        count, x_sum = named.sum([num_true.astype(x.dtype), x_sum])
        divisor = jnp.maximum(count, 1)
        shift = _as_shift(x_sum / divisor)
        d = jnp.where(mask, x - shift, 0)
    d_sum, d2_sum = named.sum([_sum(d, reduction_axes), _sum(d * d, reduction_axes)])
    offset = d_sum / divisor
    var = d2_sum / divisor - offset * offset
    # Not jnp.maximum, which would halve the derivative where the variance is 0.
    return ShiftedMoments(count, shift, offset, jnp.where(var < 0, 0, var))


def _as_shift(near_mean: Float[Array, "..."]) -> Float[Array, "..."]:
    """A constant near the mean: the very same number wherever it is used.

    XLA computes `sum / count` anew in each fusion that subtracts it, and there a fused multiply-add
    may subtract the unrounded quotient: x - shift would differ by a rounding of the mean from one
    use to the next. Rounding to one bit less than the dtype holds stands between the two.
    """
    finfo = jnp.finfo(near_mean.dtype)
    return lax.stop_gradient(lax.reduce_precision(near_mean, finfo.nexp, finfo.nmant - 1))


def _sum(x: Float[Array, "..."], reduction_axes: tuple[int, ...]) -> Float[Array, "..."]:
    return jnp.sum(x, reduction_axes, keepdims=True)


def _every_16th(x: Float[Array, "..."], reduction_axes: tuple[int, ...]) -> Float[Array, "..."]:
    """Entries taken evenly along the reduction axes; more of them, or all, where x has few."""
    stride = min(_SHIFT_STRIDE, max(1, num_reduced(x.shape, reduction_axes) // _SHIFT_MIN_COUNT))
    slices = [slice(None)] * x.ndim
    for axis in reduction_axes:
        step = max(1, min(stride, x.shape[axis]))
        slices[axis] = slice(None, None, step)
        stride //= step
    return x[tuple(slices)]
