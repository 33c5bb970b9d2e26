"""Count, mean and variance of a batch: one pass over the data, accurate far from zero."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import (
    NamedAxis,
    accumulation_dtype,
    canonical_axes,
    check_floating,
    named_axis,
    num_reduced,
    real_dtype,
)
from jbn.functional._mask import Mask, divisor, expand_mask, is_counted, total_weight, weighted

# The shift is the mean of every 16th entry, and of no fewer than 8. If a fraction f of the
# entries makes the shift, then (shift - mean)² <= var * (1/f - 1) whatever the data, so the
# variance loses at most log2(16) bits, for one sixteenth more reading.
_SHIFT_STRIDE = 16
_SHIFT_MIN_COUNT = 8


class Moments(NamedTuple):
    """Count, mean and biased variance of a batch; the reduced axes stay, with size 1."""

    count: Float[Array, "..."]  # type: ignore[assignment]  # hides tuple.count, on purpose
    mean: Inexact[Array, "..."]
    var: Float[Array, "..."]


class ShiftedMoments(NamedTuple):
    """Moments whose mean is the unevaluated sum `shift + offset`: twice the digits of one float."""

    count: Float[Array, "..."]  # type: ignore[assignment]  # hides tuple.count, on purpose
    shift: Inexact[Array, "..."]
    offset: Inexact[Array, "..."]
    var: Float[Array, "..."]


def moments(
    x: Inexact[Array, "..."],
    reduction_axes: int | Sequence[int],
    *,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
) -> Moments:
    """The count, the mean and the biased variance of x over `reduction_axes`.

    With d = x - shift, where the shift is a value near the data (the mean of a sixteenth of it;
    under a mask, the mean of all counted entries):

        mean = shift + Σd / count        var = Σ|d|² / count - |Σd / count|²

    This reads x once, as E[x²] - E[x]² does, and doesn't cancel far from zero.

    Args:
        x: data of any shape; a floating dtype, real or complex.
        reduction_axes: the axes to average over; negative ones count from the end.
        mask: True where an entry counts; or, as floating numbers, how often it counts: weights,
            which make NaN where one is negative. Broadcastable to x. None counts all once. Constant
            to differentiation.
        axis_name: a mapped axis, or several, to average over as well (of `jax.vmap` or
            `jax.shard_map`).
        axis_index_groups: groups of indices of that axis to average within, as in `jbn.batch_norm`.

    Returns:
        `Moments(count, mean, var)`: arrays of x's shape with size 1 at the reduced axes, float32
        (float64 for a float64 x; the mean of a complex x is complex). Where nothing counts all
        three are 0.

    Raises:
        TypeError: x has no floating dtype, or the mask is neither boolean nor floating.
        ValueError: an axis is out of range or repeated, the mask doesn't broadcast to x, or
            `axis_name` isn't bound.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[10000.0], [10001.0], [10002.0]])
        >>> count, mean, var = jbn.moments(x, 0)
        >>> print(count, mean, var)
        [[3.]] [[10001.]] [[0.6666667]]
        >>> count, mean, var = jbn.moments(x, 0, mask=jnp.array([[1.0], [0.0], [3.0]]))
        >>> print(count, mean, var)
        [[4.]] [[10001.5]] [[0.75]]

    References:
        Chan, Golub and LeVeque, 1983, Algorithms for Computing the Sample Variance: Analysis and
        Recommendations (the shifted one-pass formula).
    """
    x = jnp.asarray(x)
    check_floating("x", x, complex_too=True)
    axes = canonical_axes("reduction_axes", reduction_axes, x.ndim)
    mask = expand_mask(mask, x.shape)
    x = x.astype(accumulation_dtype(x.dtype))
    count, shift, offset, var = shifted_moments(
        x, axes, mask, named_axis(axis_name, axis_index_groups)
    )
    return Moments(count, shift + offset, var)


def merge_moments(parts: Moments) -> Moments:
    """The moments of all data together, from those of its parts.

        count = Σ nᵢ    mean = Σ nᵢ meanᵢ / Σ nᵢ    var = Σ nᵢ (varᵢ + |meanᵢ - mean|²) / Σ nᵢ

    Exact for parts of any sizes. Use it for population statistics over many batches, or to move the
    running statistics once for all micro-batches of one optimizer step, by the values of the whole
    batch (each micro-batch is normalized with its own statistics all the same). A part with count 0
    has no say, whatever it holds.

    Args:
        parts: moments stacked along a new first axis, as `jax.vmap` and `jax.lax.scan` return them:
            counts of shape `(parts, ...)`, means and variances likewise.

    Returns:
        `Moments` without the first axis, in the dtypes that came in. Where all counts are 0, all
        three are 0.

    Raises:
        ValueError: the three have different shapes.

    Example:
        Three micro-batches of two, and one update:

        >>> import jax, jax.numpy as jnp, jbn
        >>> batch = jnp.array([[1.0], [3.0], [2.0], [2.0], [4.0], [6.0]])
        >>> micro_batches = batch.reshape(3, 2, 1)
        >>> whole = jbn.merge_moments(jax.vmap(lambda x: jbn.moments(x, 0))(micro_batches))
        >>> print(whole.count, whole.mean, whole.var.round(3))
        [[6.]] [[3.]] [[2.667]]
        >>> stats = jbn.update_batch_stats(jbn.init_batch_stats(1), whole, momentum=0.9)

    References:
        Chan, Golub and LeVeque, 1983, Algorithms for Computing the Sample Variance (pairwise
        merging).
    """
    count, mean, var = parts
    if not count.shape == mean.shape == var.shape or 0 in count.shape[:1] or count.ndim == 0:
        raise ValueError(
            f"parts: found shapes {count.shape}, {mean.shape} and {var.shape}, wanted one shape, "
            "with the parts, at least one, along its first axis"
        )
    dtype = accumulation_dtype(mean.dtype)
    count, var = (value.astype(real_dtype(dtype)) for value in (count, var))
    mean = mean.astype(dtype)
    merged = merge_shifted_moments(ShiftedMoments(count, mean, jnp.zeros_like(mean), var))
    values = merged.count, merged.shift + merged.offset, merged.var
    return Moments(*(new.astype(old.dtype) for new, old in zip(values, parts, strict=True)))


def merge_shifted_moments(parts: ShiftedMoments) -> ShiftedMoments:
    """The moments of all parts together, without the first axis, along which the parts are."""
    valid = parts.count != 0
    n, shift, offset, var = (jnp.where(valid, value, 0) for value in parts)
    total = jnp.sum(n, 0, keepdims=True)
    weights = n / divisor(total)
    # Of differences from the largest part: a sum of large means would lose their digits.
    near = jnp.take_along_axis(shift, jnp.argmax(n, 0, keepdims=True), 0)
    delta = jnp.where(valid, shift - near + offset, 0)
    mean_delta = jnp.sum(weights.astype(shift.dtype) * delta, 0, keepdims=True)
    spread = jnp.where(valid, jnp.real(squared(delta - mean_delta)), 0)
    return ShiftedMoments(total[0], near[0], mean_delta[0], jnp.sum(weights * (var + spread), 0))


def shifted_moments(
    x: Inexact[Array, "..."],
    reduction_axes: tuple[int, ...],
    mask: Mask | None,
    named: NamedAxis,
) -> ShiftedMoments:
    """The moments of an x that has the accumulation dtype already, over canonical axes."""
    if mask is None:
        few = _every_16th(x, reduction_axes)
        (few_sum,) = named.sum([_sum(few, reduction_axes)])
        num_few, num_all = (num_reduced(v.shape, reduction_axes) * named.size() for v in (few, x))
        shift = _as_shift(few_sum / max(num_few, 1))
        count = jnp.full_like(shift, num_all)
        n = jnp.full_like(shift, max(num_all, 1))
        d = x - shift
    else:
        count = total_weight(mask, x.shape, reduction_axes, x.dtype)
        x_sum = _sum(weighted(x, mask), reduction_axes)
        count, x_sum = named.sum([count, x_sum])
        n = divisor(count)
        shift = _as_shift(x_sum / n)
        d = jnp.where(is_counted(mask), x - shift, 0)
    terms = [weighted(d, mask), weighted(squared(d), mask)]
    d_sum, d2_sum = named.sum([_sum(term, reduction_axes) for term in terms])
    offset = d_sum / n
    var = jnp.real(d2_sum / n - squared(offset))
    # Not jnp.maximum, which would halve the derivative where the variance is 0.
    return ShiftedMoments(jnp.real(count), shift, offset, jnp.where(var < 0, 0, var))


def _as_shift(near_mean: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """A constant near the mean: the very same number wherever it is used.

    XLA computes `sum / count` anew in each fusion that subtracts it, and there a fused multiply-add
    may subtract the unrounded quotient: x - shift would differ by a rounding of the mean from one
    use to the next. Rounding to one bit less than the dtype holds stands between the two.
    """
    near_mean = lax.stop_gradient(near_mean)
    if jnp.iscomplexobj(near_mean):
        return lax.complex(_as_shift(jnp.real(near_mean)), _as_shift(jnp.imag(near_mean)))
    finfo = jnp.finfo(near_mean.dtype)
    return lax.reduce_precision(near_mean, finfo.nexp, finfo.nmant - 1)


def squared(x: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """|x|², in x's dtype."""
    return x * jnp.conj(x)


def _sum(x: Inexact[Array, "..."], reduction_axes: tuple[int, ...]) -> Inexact[Array, "..."]:
    return jnp.sum(x, reduction_axes, keepdims=True)


def _every_16th(x: Inexact[Array, "..."], reduction_axes: tuple[int, ...]) -> Inexact[Array, "..."]:
    """Entries taken evenly along the reduction axes; more of them, or all, where x has few."""
    stride = min(_SHIFT_STRIDE, max(1, num_reduced(x.shape, reduction_axes) // _SHIFT_MIN_COUNT))
    slices = [slice(None)] * x.ndim
    for axis in reduction_axes:
        step = max(1, min(stride, x.shape[axis]))
        slices[axis] = slice(None, None, step)
        stride //= step
    return x[tuple(slices)]
