"""Data normalized by their own moments, with a differential that stores x and small values."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import NamedAxis, max_num_shards, num_reduced
from jbn.functional._mask import (
    Mask,
    divisor,
    weighted,
    without_unusable,
    zero_like,
    zero_unless,
)
from jbn.functional._moments import shifted_moments
from jbn.functional._shifted import ShiftedMoments, as_shift, inverse_std

# Entries of a row that a GPU still keeps on the chip.
_MAX_ROW = 2**13


@functools.partial(jax.custom_jvp, nondiff_argnums=(5, 6, 7))
def normalize_rows(
    x: Inexact[Array, "..."],
    scale: Inexact[Array, "..."],
    bias: Inexact[Array, "..."],
    epsilon: Float[Array, ""],
    mask: Mask | None,
    reduction_axes: tuple[int, ...],
    named_axis: NamedAxis,
    dtype: jnp.dtype,
) -> Inexact[Array, "..."]:
    """y alone, as `normalize_by_moments` has it; a GPU reads a row once where it can."""
    arguments = x, scale, bias, epsilon, mask
    static = reduction_axes, named_axis, dtype
    if mask is not None or named_axis.name is not None or not _fits_on_chip(x, reduction_axes):
        return normalize_by_moments(*arguments, *static)[0]
    y: Array = lax.platform_dependent(
        *arguments,
        cuda=functools.partial(_normalize_centered, reduction_axes, dtype),
        default=lambda *arguments: normalize_by_moments(*arguments, *static)[0],
    )
    return y


@normalize_rows.defjvp
def _rows_jvp(
    reduction_axes: tuple[int, ...],
    named_axis: NamedAxis,
    dtype: jnp.dtype,
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
) -> tuple[Inexact[Array, "..."], Inexact[Array, "..."]]:
    """The derivative takes the moments, so here y is computed from them too."""
    return jax.jvp(
        lambda *arguments: normalize_by_moments(*arguments, reduction_axes, named_axis, dtype)[0],
        primals,
        tangents,
    )


def _fits_on_chip(x: Inexact[Array, "..."], reduction_axes: tuple[int, ...]) -> bool:
    """Whether the reduced axes are x's last ones, real, on one device, and not too large."""
    first = x.ndim - len(reduction_axes)
    return (
        tuple(sorted(reduction_axes)) == tuple(range(first, x.ndim))
        and not jnp.iscomplexobj(x)
        and x.dtype != jnp.float64
        and all(max_num_shards(x, axis) == 1 for axis in range(x.ndim))
        and 0 < num_reduced(x.shape, reduction_axes) <= _MAX_ROW
    )


def _normalize_centered(
    reduction_axes: tuple[int, ...],
    dtype: jnp.dtype,
    x: Inexact[Array, "..."],
    scale: Inexact[Array, "..."],
    bias: Inexact[Array, "..."],
    epsilon: Float[Array, ""],
    mask: None,
) -> Inexact[Array, "..."]:
    """y, by the mean of x - mean(x) and the mean square of what is left.

    XLA's GPU compiler makes one kernel of this chain: it reads a row, keeps it on the chip and
    writes y. The second mean takes away the rounding of the first.
    """
    x = x.astype(scale.dtype)
    d = x - as_shift(jnp.mean(x, reduction_axes, keepdims=True))
    d = d - jnp.mean(d, reduction_axes, keepdims=True)
    var = jnp.mean(jnp.square(d), reduction_axes, keepdims=True)
    return (d * (inverse_std(var, epsilon) * scale) + bias).astype(dtype)


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
def _by_moments_jvp(
    reduction_axes: tuple[int, ...],
    named_axis: NamedAxis,
    dtype: jnp.dtype,
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
) -> tuple[
    tuple[Inexact[Array, "..."], ShiftedMoments], tuple[Inexact[Array, "..."], ShiftedMoments]
]:
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
    reduction_axes: tuple[int, ...],
    named_axis: NamedAxis,
    dtype: jnp.dtype,
    x: Inexact[Array, "..."],
    moments: ShiftedMoments,
    scale: Inexact[Array, "..."],
    epsilon: Float[Array, ""],
    mask: Mask | None,
    dx: Inexact[Array, "..."],
    dscale: Inexact[Array, "..."],
    dbias: Inexact[Array, "..."],
    depsilon: Float[Array, ""],
) -> tuple[Inexact[Array, "..."], Inexact[Array, "..."], Float[Array, "..."]]:
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
