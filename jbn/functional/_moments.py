"""Count, mean and variance of a batch, from one pass over the data and accurate far from zero."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import (
    NamedAxis,
    accumulation_dtype,
    canonical_axes,
    canonical_named_axis,
    check_floating,
    check_stacked,
    real_dtype,
)
from jbn.functional._blocks import as_blocks, block_moments
from jbn.functional._mask import Mask, divisor, expand_mask, zero_like
from jbn.functional._shifted import ShiftedMoments, as_shift, sampled_moments, squared


class Moments(NamedTuple):
    """Count, mean and biased variance of a batch; the reduced axes stay, with size 1."""

    count: Float[Array, "..."]  # type: ignore[assignment]  # hides tuple.count, on purpose
    mean: Inexact[Array, "..."]
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

    With d = x - shift, where the shift is a value near the data:

        mean = shift + Σd / count        var = Σ|d|² / count - |Σd / count|²

    The shift is the mean of a sixteenth of the data or, under a mask, of all counted entries. On a
    CPU each block of 32 entries has a shift of its own. Without a mask, x is read once, as by
    E[x²] - E[x]², but far from zero no digits cancel.

    Args:
        x: data of any shape; a floating dtype, real or complex.
        reduction_axes: the axes to average over; negative ones count from the end.
        mask: True where an entry counts; or floating weights, where an entry of weight 2 counts as
            two entries. Broadcastable to x. None: each entry counts once. A negative weight makes
            its moments NaN. Derivatives treat the mask as a constant.
        axis_name: the mapped axis of `jax.vmap` or `jax.shard_map` to average over as well, or
            several.
        axis_index_groups: groups of that axis's indices to average within, as in `jbn.batch_norm`.

    Returns:
        `Moments(count, mean, var)`: arrays of x's shape with size 1 at the reduced axes. They are
        float32, or float64 for a float64 x; the mean of a complex x is complex. All three are 0
        where nothing counts.

    Raises:
        TypeError: x isn't floating, or the mask is neither boolean nor floating.
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
        x, axes, mask, canonical_named_axis(axis_name, axis_index_groups)
    )
    return Moments(count, shift + offset, var)


def merge_moments(parts: Moments) -> Moments:
    """The moments of all data together, from the moments of its parts.

        count = Σ nᵢ    mean = Σ nᵢ meanᵢ / Σ nᵢ    var = Σ nᵢ (varᵢ + |meanᵢ - mean|²) / Σ nᵢ

    The formulas are exact for parts of any size. Use them for population statistics over many
    batches, or to update the running statistics once per optimizer step. The update then has the
    moments of all the step's micro-batches together, but each micro-batch is still normalized with
    its own statistics. A part with count 0 is ignored, whatever its mean and variance.

    Args:
        parts: moments stacked along a new first axis, as `jax.vmap` and `jax.lax.scan` return them.
            Count, mean and var each have the shape `(parts, ...)`.

    Returns:
        `Moments` without the first axis, in the dtypes that came in. All three are 0 where all
        counts are 0.

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
    parts = Moments(*map(jnp.asarray, parts))
    check_stacked("parts", parts)
    count, mean, var = parts
    dtype = accumulation_dtype(mean.dtype)
    count, var = (value.astype(real_dtype(dtype)) for value in (count, var))
    mean = mean.astype(dtype)
    merged = merge_shifted_moments(ShiftedMoments(count, mean, zero_like(mean), var))
    values = merged.count, merged.shift + merged.offset, merged.var
    return Moments(*(new.astype(old.dtype) for new, old in zip(values, parts, strict=True)))


def merge_shifted_moments(parts: ShiftedMoments) -> ShiftedMoments:
    """The moments of all parts together; the parts are stacked along the first axis."""
    valid = parts.count != 0
    n, shift, offset, var = (jnp.where(valid, value, 0) for value in parts)
    total = jnp.sum(n, 0, keepdims=True)
    weights = n / divisor(total)
    # Averages the differences from a value near all means: a sum of large means loses digits.
    reference = as_shift(jnp.sum(weights.astype(shift.dtype) * shift, 0, keepdims=True))
    delta = jnp.where(valid, shift - reference + offset, 0)
    mean_delta = jnp.sum(weights.astype(shift.dtype) * delta, 0, keepdims=True)
    between = jnp.where(valid, jnp.real(squared(delta - mean_delta)), 0)
    return ShiftedMoments(
        total[0], reference[0], mean_delta[0], jnp.sum(weights * (var + between), 0)
    )


def shifted_moments(
    x: Inexact[Array, "..."],
    reduction_axes: tuple[int, ...],
    mask: Mask | None,
    named_axis: NamedAxis,
) -> ShiftedMoments:
    """The moments of x over canonical axes; x already has the accumulation dtype.

    A CPU computes them by blocks where it can: that is faster there.
    """
    blocks = as_blocks(x, reduction_axes) if mask is None and named_axis.name is None else None
    if blocks is None:
        return sampled_moments(x, reduction_axes, mask, named_axis)
    moments: ShiftedMoments = lax.platform_dependent(
        x,
        cpu=lambda x: block_moments(x, reduction_axes, blocks),
        default=lambda x: sampled_moments(x, reduction_axes, mask, named_axis),
    )
    return moments
