"""Data normalized by their own moments, with a differential that stores x and small values."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import NamedAxis
from jbn.functional._mask import (
    Mask,
    divisor,
    weighted,
    without_unusable,
    zero_like,
    zero_unless,
)
from jbn.functional._moments import shifted_moments
from jbn.functional._shifted import ShiftedMoments, inverse_std


@functools.partial(jax.custom_jvp, nondiff_argnums=(5, 6, 7))
def normalize_by_moments(
    x: Inexact[Array, "..."],
    scale: Inexact[Array, "..."],
    bias: Inexact[Array, "..."],
    epsilon: Float[Array, ""],
    mask: Mask | None,
    reduction_axes: tuple[int, ...],
    named_axis: NamedAxis,
    dtype: jnp.dtype,
) -> tuple[Inexact[Array, "..."], ShiftedMoments]:
    """y and the moments of x. Scale, bias and epsilon broadcast, in the accumulation dtype."""
    x_dtype = x.dtype
    x, usable = without_unusable(x.astype(scale.dtype), mask)
    moments = shifted_moments(x, reduction_axes, mask, named_axis)
    shift, offset = _shift_and_offset(moments, x_dtype, dtype)
    factor = inverse_std(moments.var, epsilon).astype(x.dtype) * scale
    # In (x - shift - offset) XLA would join the two subtractions and lose the digits of offset.
    y = (x - shift) * factor + (bias - offset * factor)
    return zero_unless(usable, y).astype(dtype), moments


@normalize_by_moments.defjvp
def _by_moments_jvp(reduction_axes, named_axis, dtype, primals, tangents):
    """The differential, written so that its transpose is the textbook backward pass.

    The checkpoint around it makes reverse mode store its arguments (x and per-channel values)
    instead of intermediate results of x's size. `prevent_cse=False` removes the scheduling barrier
    of a checkpoint, which would cost what the checkpoint saves.
    """
    x, scale, _, epsilon, mask = primals
    y, moments = normalize_by_moments(*primals, reduction_axes, named_axis, dtype)
    differential = jax.checkpoint(
        functools.partial(_differential, reduction_axes, named_axis, dtype), prevent_cse=False
    )
    dy, doffset, dvar = differential(x, moments, scale, epsilon, mask, *tangents[:4])
    dcount, dshift = zero_like(moments.count), zero_like(moments.shift)
    return (y, moments), (dy, ShiftedMoments(dcount, dshift, doffset, dvar))


def _differential(
    reduction_axes, named_axis, dtype, x, moments, scale, epsilon, mask, dx, dscale, dbias, depsilon
):
    """dy, dmean and dvar, linear in dx, dscale, dbias and depsilon.

    With r = 1 / sqrt(var + epsilon), x̂ = (x - mean) * r, m = Σdx / n and p = Re Σdx·x̂* / n:
    dmean = m, dvar = 2 p / r,
    dy = scale r (dx - m - x̂ p) + x̂ (dscale - scale r² depsilon / 2) + dbias.
    """
    shift, offset = _shift_and_offset(moments, x.dtype, dtype)
    x, usable = without_unusable(x.astype(scale.dtype), mask)
    dx = dx.astype(scale.dtype)
    real_r = inverse_std(moments.var, epsilon)
    r = real_r.astype(x.dtype)
    x_hat = (x - shift) * r - offset * r

    counted = weighted(dx, mask)
    terms = [counted, counted * jnp.conj(x_hat)]
    sums = named_axis.sum([jnp.sum(term, reduction_axes, keepdims=True) for term in terms])
    n = divisor(moments.count).astype(x.dtype)
    m, real_p = sums[0] / n, jnp.real(sums[1] / n)

    k, p = scale * r, real_p.astype(x.dtype)
    dr = (real_r * depsilon / 2).astype(x.dtype)
    dy = k * dx + x_hat * (dscale - k * p - k * dr) + (dbias - k * m)
    return zero_unless(usable, dy).astype(dtype), m, 2 * real_p / real_r


def _shift_and_offset(
    moments: ShiftedMoments, x_dtype: jnp.dtype, y_dtype: jnp.dtype
) -> tuple[Inexact[Array, "..."], Inexact[Array, "..."]]:
    """(shift, offset), whose sum is the mean.

    If x and y both have 16 bits, shift is the whole mean, which is cheaper. A second number would
    matter only so far from zero that 16-bit data have no digits left.
    """
    if x_dtype.itemsize == y_dtype.itemsize == 2:
        return moments.shift + moments.offset, zero_like(moments.offset)
    return moments.shift, moments.offset
