"""Normalization of each example by itself: layer normalization and RMS normalization."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import (
    NamedAxis,
    canonical_axes,
    canonical_named_axis,
    check_floating,
    check_not_alone,
    layer_arguments,
    num_reduced,
)
from jbn.functional._by_moments import normalize_rows
from jbn.functional._mask import (
    Mask,
    divisor,
    total_weight,
    weighted,
    without_unusable,
    zero_like,
    zero_unless,
)
from jbn.functional._shifted import inverse_std, squared


def layer_norm(
    x: Inexact[Array, "*shape"],
    scale: Inexact[Array, "*features"] | None = None,
    bias: Inexact[Array, "*features"] | None = None,
    *,
    reduction_axes: int | Sequence[int] = -1,
    feature_axes: int | Sequence[int] = -1,
    epsilon: float | Float[Array, ""] = 1e-6,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    dtype: DTypeLike | None = None,
) -> Inexact[Array, "*shape"]:
    """x normalized over `reduction_axes`, each example by itself, in training and evaluation alike.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    It is as accurate far from zero as `jbn.batch_norm`. The backward pass stores x, the
    mask and values of the size of the statistics.

    Args:
        x: data of any shape; a floating dtype, real or complex.
        scale: γ, of x's shape along `feature_axes`: `(features,)` for a single axis. None is 1.
        bias: β, of the same shape. None is 0.
        reduction_axes: the axes to average over.
        feature_axes: the axes along which scale and bias vary (their sizes in x's order).
        epsilon: added to the variance before the root. It may be traced.
        mask: True where an entry counts, or floating weights; as in `jbn.batch_norm`.
        axis_name, axis_index_groups: the mapped axis that the reduced axes are spread over, and
            groups of its indices; as in `jbn.batch_norm`.
        dtype: the dtype of y, complex if x is. None is x's dtype.

    Returns:
        y, of x's shape and `dtype`.

    Raises:
        TypeError: x, scale or bias aren't floating, scale or bias is complex while x is real, or
            the mask is neither boolean nor floating.
        ValueError: an axis is out of range or repeated, a shape doesn't fit x, `axis_name` isn't
            bound, epsilon is below 0, or each mean is that of one value.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[1.0, 3.0], [10.0, 30.0]])
        >>> print(jbn.layer_norm(x, scale=jnp.array([1.0, 2.0])).round(3))
        [[-1.  2.]
         [-1.  2.]]

    References:
        Ba, Kiros and Hinton, 2016, Layer Normalization, arXiv:1607.06450.
    """
    x = jnp.asarray(x)
    check_floating("x", x, complex_too=True)
    axes = canonical_axes("reduction_axes", reduction_axes, x.ndim)
    features = canonical_axes("feature_axes", feature_axes, x.ndim)
    *arguments, dtype = layer_arguments(x, scale, bias, features, epsilon, mask, dtype)
    named_axis = canonical_named_axis(axis_name, axis_index_groups)
    check_not_alone(x.shape, axes, named_axis)
    return normalize_rows(*arguments, axes, named_axis, dtype)


def rms_norm(
    x: Inexact[Array, "*shape"],
    scale: Inexact[Array, "*features"] | None = None,
    *,
    reduction_axes: int | Sequence[int] = -1,
    feature_axes: int | Sequence[int] = -1,
    epsilon: float | Float[Array, ""] = 1e-6,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    dtype: DTypeLike | None = None,
) -> Inexact[Array, "*shape"]:
    """x divided by its root mean square over `reduction_axes`.

        y = x / sqrt(mean(|x|²) + epsilon) * scale

    No mean is subtracted, so no digits are lost far from zero. No bias is added. The backward pass
    stores x, the mask and values of the size of the root mean square.

    Args:
        x, scale, reduction_axes, feature_axes, epsilon, mask, axis_name, axis_index_groups, dtype:
            as in `jbn.layer_norm`.

    Returns:
        y, of x's shape and `dtype`.

    Raises:
        TypeError, ValueError: as `jbn.layer_norm`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> print(jbn.rms_norm(jnp.array([[1.0, 7.0], [-10.0, 70.0]])).round(1))
        [[ 0.2  1.4]
         [-0.2  1.4]]

    References:
        Zhang and Sennrich, 2019, Root Mean Square Layer Normalization, arXiv:1910.07467.
    """
    x = jnp.asarray(x)
    check_floating("x", x, complex_too=True)
    axes = canonical_axes("reduction_axes", reduction_axes, x.ndim)
    features = canonical_axes("feature_axes", feature_axes, x.ndim)
    x, scale, _, epsilon, mask, dtype = layer_arguments(
        x, scale, None, features, epsilon, mask, dtype
    )
    named_axis = canonical_named_axis(axis_name, axis_index_groups)
    return _divide_by_rms(x, scale, epsilon, mask, axes, named_axis, dtype)[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5, 6))
def _divide_by_rms(
    x: Inexact[Array, "..."],
    scale: Inexact[Array, "..."],
    epsilon: Float[Array, ""],
    mask: Mask | None,
    reduction_axes: tuple[int, ...],
    named_axis: NamedAxis,
    dtype: jnp.dtype,
) -> tuple[Inexact[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """y, the count and the mean square."""
    x, usable = without_unusable(x.astype(scale.dtype), mask)
    squares = jnp.sum(weighted(squared(x), mask), reduction_axes, keepdims=True)
    if mask is None:
        (squares,) = named_axis.sum([squares])
        num_all = num_reduced(x.shape, reduction_axes) * named_axis.size()
        count = jnp.full(squares.shape, num_all, squares.dtype)
    else:
        count = total_weight(mask, x.shape, reduction_axes, x.dtype)
        count, squares = named_axis.sum([count, squares])
    mean_square = jnp.real(squares / divisor(count))
    y = x * (inverse_std(mean_square, epsilon).astype(x.dtype) * scale)
    return zero_unless(usable, y).astype(dtype), jnp.real(count), mean_square


@_divide_by_rms.defjvp
def _divide_by_rms_jvp(
    reduction_axes: tuple[int, ...],
    named_axis: NamedAxis,
    dtype: jnp.dtype,
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """The differential, with a checkpoint around it as in `normalize_by_moments`."""
    x, scale, epsilon, mask = primals
    y, count, mean_square = _divide_by_rms(*primals, reduction_axes, named_axis, dtype)
    differential = jax.checkpoint(
        functools.partial(_rms_differential, reduction_axes, named_axis, dtype), prevent_cse=False
    )
    dy, dmean_square = differential(x, count, mean_square, scale, epsilon, mask, *tangents[:3])
    return (y, count, mean_square), (dy, zero_like(count), dmean_square)


def _rms_differential(
    reduction_axes: tuple[int, ...],
    named_axis: NamedAxis,
    dtype: jnp.dtype,
    x: Inexact[Array, "..."],
    count: Float[Array, "..."],
    mean_square: Float[Array, "..."],
    scale: Inexact[Array, "..."],
    epsilon: Float[Array, ""],
    mask: Mask | None,
    dx: Inexact[Array, "..."],
    dscale: Inexact[Array, "..."],
    depsilon: Float[Array, ""],
) -> tuple[Inexact[Array, "..."], Float[Array, "..."]]:
    """dy and dmean_square, linear in dx, dscale and depsilon.

    With r = 1 / sqrt(mean_square + epsilon), x̂ = x r and p = Re Σdx·x̂* / n:
    dmean_square = 2 p / r,
    dy = scale r (dx - x̂ p) + x̂ (dscale - scale r² depsilon / 2).
    """
    x, usable = without_unusable(x.astype(scale.dtype), mask)
    dx = dx.astype(scale.dtype)
    real_r = inverse_std(mean_square, epsilon)
    r = real_r.astype(x.dtype)
    x_hat = x * r
    products = jnp.sum(weighted(dx, mask) * jnp.conj(x_hat), reduction_axes, keepdims=True)
    (total,) = named_axis.sum([products])
    real_p = jnp.real(total) / divisor(count)
    k, p = scale * r, real_p.astype(x.dtype)
    dr = (real_r * depsilon / 2).astype(x.dtype)
    dy = k * dx + x_hat * (dscale - k * p - k * dr)
    return zero_unless(usable, dy).astype(dtype), 2 * real_p / real_r
