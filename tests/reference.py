"""Each norm in a few lines of float64 NumPy; and as a plain jnp composition, for derivatives."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jbn


class Normalized(NamedTuple):
    """What a norm makes of x, and the statistics it used; reduced axes stay, with size 1."""

    y: np.ndarray
    mean: np.ndarray
    var: np.ndarray


def reduction_axes(ndim, axis):
    """Every axis but the feature axes."""
    features = {a % ndim for a in (axis if isinstance(axis, tuple) else (axis,))}
    return tuple(a for a in range(ndim) if a not in features)


def batch_norm(x, scale=None, bias=None, *, epsilon=1e-5, mask=None, axis=-1):
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias; 0 where a masked x is too large."""
    x, axes, weights, usable = _prepare(x, mask, axis)
    total = _total(weights, axes)
    mean = np.where(weights > 0, weights * x, 0).sum(axes, keepdims=True) / total
    squares = np.abs(x - mean) ** 2
    var = np.where(weights > 0, weights * squares, 0).sum(axes, keepdims=True) / total
    y = (x - mean) / np.sqrt(var + epsilon)
    y = y * _beside(x, axes, scale, 1) + _beside(x, axes, bias, 0)
    return Normalized(np.where(usable, y, 0), mean, var)


def batch_norm_vjp(x, dy, scale=None, *, epsilon=1e-5, mask=None, axis=-1):
    """The cotangents (dx, dscale, dbias) of y's cotangent dy, by the textbook formula; x real."""
    _, mean, var = batch_norm(x, epsilon=epsilon, mask=mask, axis=axis)
    x, axes, weights, usable = _prepare(x, mask, axis)
    r = 1 / np.sqrt(var + epsilon)
    x_hat = (x - mean) * r
    dy = np.where(usable, np.asarray(dy, np.float64), 0)
    dbias, dscale = dy.sum(axes, keepdims=True), (dy * x_hat).sum(axes, keepdims=True)
    share = weights / _total(weights, axes)
    dx = dy - np.where(weights > 0, share * (dbias + x_hat * dscale), 0)
    return dx * r * _beside(x, axes, scale, 1), dscale.squeeze(axes), dbias.squeeze(axes)


def rms_norm(x, scale=None, bias=None, *, epsilon=1e-5, mask=None, axis=-1):
    """y = x / sqrt(mean(x²) + epsilon) * scale: mean 0 and the mean square in place of a variance.

    There is no bias; the argument is for the laws, which give one to every norm.
    """
    x, axes, weights, usable = _prepare(x, mask, axis)
    squares = np.where(weights > 0, weights * np.abs(x) ** 2, 0).sum(axes, keepdims=True)
    square = squares / _total(weights, axes)
    y = x / np.sqrt(square + epsilon) * _beside(x, axes, scale, 1)
    return Normalized(np.where(usable, y, 0), np.zeros_like(square), square)


def rms_norm_vjp(x, dy, scale=None, *, epsilon=1e-5, mask=None, axis=-1):
    """As `batch_norm_vjp`; the cotangent of the bias, which isn't used, is 0."""
    square = rms_norm(x, epsilon=epsilon, mask=mask, axis=axis).var
    x, axes, weights, usable = _prepare(x, mask, axis)
    r = 1 / np.sqrt(square + epsilon)
    x_hat = x * r
    dy = np.where(usable, np.asarray(dy, np.float64), 0)
    dscale = (dy * x_hat).sum(axes, keepdims=True)
    share = weights / _total(weights, axes)
    dx = dy - np.where(weights > 0, share * x_hat * dscale, 0)
    dscale = dscale.squeeze(axes)
    return dx * r * _beside(x, axes, scale, 1), dscale, np.zeros_like(dscale)


def ghost_batch_norm(x, scale=None, bias=None, *, num_groups, mask=None, axis=-1, **options):
    """`batch_norm` of each group of examples; mean and variance repeat within a group."""
    batch_axis = min(reduction_axes(np.ndim(x), axis))
    parts = _groups(batch_axis, num_groups, x, mask)
    normalized = [batch_norm(x, scale, bias, mask=m, axis=axis, **options) for x, m in parts]
    y, mean, var = (np.concatenate(values, batch_axis) for values in zip(*normalized, strict=True))
    repeats = y.shape[batch_axis] // num_groups
    return Normalized(y, np.repeat(mean, repeats, batch_axis), np.repeat(var, repeats, batch_axis))


def ghost_batch_norm_vjp(x, dy, scale=None, *, num_groups, mask=None, axis=-1, **options):
    """As `batch_norm_vjp`; scale and bias act on all groups, so their cotangents add up."""
    batch_axis = min(reduction_axes(np.ndim(x), axis))
    parts = _groups(batch_axis, num_groups, x, dy, mask)
    vjps = [batch_norm_vjp(x, dy, scale, mask=m, axis=axis, **options) for x, dy, m in parts]
    dx, dscale, dbias = zip(*vjps, strict=True)
    return np.concatenate(dx, batch_axis), sum(dscale), sum(dbias)


def running(old, batch, momentum):
    """The running value after one more batch."""
    return momentum * np.asarray(old, np.float64) + (1 - momentum) * batch.reshape(old.shape)


def _prepare(x, mask, axis):
    x = np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64)
    weights = np.broadcast_to(1.0 if mask is None else np.asarray(mask, np.float64), x.shape)
    usable = (weights > 0) | (np.abs(x) < 1e19)
    return np.where(usable, x, 0), reduction_axes(x.ndim, axis), weights, usable


def _total(weights, axes):
    total = weights.sum(axes, keepdims=True)
    return np.where(total > 0, total, 1)


def _groups(batch_axis, num_groups, x, *others):
    """x and the others, one of which may be None or broadcast to x, in parts along the axis."""
    arrays = [np.asarray(x)] + [
        np.broadcast_to(True if other is None else other, np.shape(x)) for other in others
    ]
    return zip(*(np.split(array, num_groups, batch_axis) for array in arrays), strict=True)


def _beside(x, axes, value, default):
    shape = [1 if a in axes else size for a, size in enumerate(x.shape)]
    return default if value is None else np.asarray(value, x.dtype).reshape(shape)


def plain_batch_norm(
    x, stats, scale, bias, *, use_running_average, momentum, epsilon, mask=None, axis=-1
):
    """`jbn.batch_norm` for finite x, composed of jnp functions: JAX differentiates it by itself."""
    axes = reduction_axes(x.ndim, axis)
    shape = [1 if a in axes else size for a, size in enumerate(x.shape)]
    if use_running_average:
        mean, var = (value.reshape(shape) for value in stats)
    else:
        weights = jnp.broadcast_to(1 if mask is None else mask, x.shape).astype(x.dtype)
        share = weights / jnp.sum(weights, axes, keepdims=True)
        mean = jnp.sum(share * x, axes, keepdims=True)
        squares = (x - mean) * jnp.conj(x - mean)
        var = jnp.real(jnp.sum(share * squares, axes, keepdims=True))
        stats = jbn.BatchStats(
            *(
                momentum * old + (1 - momentum) * batch.reshape(old.shape)
                for old, batch in zip(stats, (mean, var), strict=True)
            )
        )
    y = (x - mean) * jax.lax.rsqrt(var + epsilon) * scale.reshape(shape) + bias.reshape(shape)
    return y, stats
