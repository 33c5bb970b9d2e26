"""Sums around a shift: count, mean and variance without the digits that far from zero cancel."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import NamedAxis, max_num_shards, num_reduced
from jbn.functional._mask import Mask, divisor, is_counted, total_weight, weighted

# The shift is the mean of a sample: about every 16th entry, and at least 8 entries. If it is the
# mean of a fraction f of the entries, then (shift - mean)² <= var * (1/f - 1) for any data. So the
# variance loses at most log2(16) bits, and reading takes one sixteenth more.
_SHIFT_STRIDE = 16
_SHIFT_MIN_COUNT = 8


class ShiftedMoments(NamedTuple):
    """Moments whose mean is the unevaluated sum `shift + offset`: twice the digits of one float."""

    count: Float[Array, "..."]  # type: ignore[assignment]  # hides tuple.count, on purpose
    shift: Inexact[Array, "..."]
    offset: Inexact[Array, "..."]
    var: Float[Array, "..."]


def sampled_moments(
    x: Inexact[Array, "..."],
    reduction_axes: tuple[int, ...],
    mask: Mask | None,
    named_axis: NamedAxis,
) -> ShiftedMoments:
    """The moments of x around the mean of a sample or, under a mask, of all counted entries."""
    if mask is None:
        sample = _sample(x, reduction_axes)
        (sample_sum,) = named_axis.sum([_sum(sample, reduction_axes)])
        num_sampled, num_all = (
            num_reduced(v.shape, reduction_axes) * named_axis.size() for v in (sample, x)
        )
        shift = as_shift(sample_sum / max(num_sampled, 1))
        count = jnp.full(shift.shape, num_all, shift.dtype)
        n = jnp.asarray(max(num_all, 1), shift.dtype)
        d = x - shift
    else:
        count = total_weight(mask, x.shape, reduction_axes, x.dtype)
        x_sum = _sum(weighted(x, mask), reduction_axes)
        count, x_sum = named_axis.sum([count, x_sum])
        n = divisor(count)
        shift = as_shift(x_sum / n)
        d = jnp.where(is_counted(mask), x - shift, 0)
    terms = [weighted(d, mask), weighted(squared(d), mask)]
    d_sum, d2_sum = named_axis.sum([_sum(term, reduction_axes) for term in terms])
    offset = d_sum / n
    var = jnp.real(d2_sum / n - squared(offset))
    # jnp.maximum would halve the derivative where the variance is 0.
    return ShiftedMoments(jnp.real(count), shift, offset, jnp.where(var < 0, 0, var))


def as_shift(near_mean: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """A constant near the mean, rounded so that all its uses see the same number.

    XLA computes `sum / count` again in each fusion that subtracts it. There a fused multiply-add
    may subtract the unrounded quotient, so x - shift would differ between two uses by the rounding
    of the mean. Rounding the quotient to one bit less than the dtype holds prevents that.
    """
    near_mean = lax.stop_gradient(near_mean)
    if jnp.iscomplexobj(near_mean):
        return lax.complex(as_shift(jnp.real(near_mean)), as_shift(jnp.imag(near_mean)))
    finfo = jnp.finfo(near_mean.dtype)
    return lax.reduce_precision(near_mean, finfo.nexp, finfo.nmant - 1)


def inverse_std(var: Float[Array, "..."], epsilon: Float[Array, ""]) -> Float[Array, "..."]:
    """1 / sqrt(var + epsilon); NaN if var has overflowed, since 0 would hide that in y.

    The remainder by the largest number changes no finite one, and that of infinity is NaN. A
    `where` would read var twice: XLA's GPU compiler could then not reduce and scale in one pass.
    """
    return lax.rsqrt(lax.rem(var + epsilon, jnp.finfo(var.dtype).max))


def squared(x: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """|x|², in x's dtype."""
    return x * jnp.conj(x)


def _sum(x: Inexact[Array, "..."], reduction_axes: tuple[int, ...]) -> Inexact[Array, "..."]:
    return jnp.sum(x, reduction_axes, keepdims=True)


def _sample(x: Inexact[Array, "..."], reduction_axes: tuple[int, ...]) -> Inexact[Array, "..."]:
    """About every 16th entry along the reduction axes; if x has few entries, more of them or all.

    Each device samples its own shard: the stride of a sharded axis divides the shard's size. The
    first axis comes last, because it is the one that is usually sharded. Along the last axis the
    sample is a run at the start: a stride there would read nearly all of x from memory.
    """
    stride = min(_SHIFT_STRIDE, max(1, num_reduced(x.shape, reduction_axes) // _SHIFT_MIN_COUNT))
    strides, sizes = [1] * x.ndim, list(x.shape)
    for axis in (*reduction_axes[1:], *reduction_axes[:1]):
        size, num_shards = x.shape[axis], max_num_shards(x, axis)
        most = max(1, min(stride, size // num_shards))
        if num_shards > 1:
            most = next(n for n in range(most, 0, -1) if size // num_shards % n == 0)
        if num_shards == 1 and axis == x.ndim - 1:
            sizes[axis] = -(-size // most)
        else:
            strides[axis] = most
        stride //= most
    return lax.slice(x, (0,) * x.ndim, sizes, strides)
