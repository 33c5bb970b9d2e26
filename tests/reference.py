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
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias; 0 where a masked x is not finite."""
    x, axes, counted, readable = _prepare(x, mask, axis)
    count = np.maximum(counted.sum(axes, keepdims=True), 1)
    mean = np.where(counted, x, 0).sum(axes, keepdims=True) / count
    var = np.where(counted, (x - mean) ** 2, 0).sum(axes, keepdims=True) / count
    y = (x - mean) / np.sqrt(var + epsilon)
    y = y * _beside(x, axes, scale, 1) + _beside(x, axes, bias, 0)
    return Normalized(np.where(readable, y, 0), mean, var)


def batch_norm_vjp(x, dy, scale=None, *, epsilon=1e-5, mask=None, axis=-1):
    """The cotangents (dx, dscale, dbias) of y's cotangent dy, by the textbook formula."""
    _, mean, var = batch_norm(x, epsilon=epsilon, mask=mask, axis=axis)
    x, axes, counted, readable = _prepare(x, mask, axis)
    count = np.maximum(counted.sum(axes, keepdims=True), 1)
    r = 1 / np.sqrt(var + epsilon)
    x_hat = (x - mean) * r
    dy = np.where(readable, np.asarray(dy, np.float64), 0)
    dbias, dscale = dy.sum(axes, keepdims=True), (dy * x_hat).sum(axes, keepdims=True)
    dx = dy - np.where(counted, (dbias + x_hat * dscale) / count, 0)
    return dx * r * _beside(x, axes, scale, 1), dscale.squeeze(axes), dbias.squeeze(axes)


def running(old, batch, momentum):
    """The running value after one more batch."""
    return momentum * np.asarray(old, np.float64) + (1 - momentum) * batch.reshape(old.shape)


def _prepare(x, mask, axis):
    x = np.asarray(x, np.float64)
    counted = np.broadcast_to(True if mask is None else np.asarray(mask), x.shape)
    readable = counted | np.isfinite(x)
    return np.where(readable, x, 0), reduction_axes(x.ndim, axis), counted, readable


def _beside(x, axes, value, default):
    shape = [1 if a in axes else size for a, size in enumerate(x.shape)]
    return default if value is None else np.asarray(value, np.float64).reshape(shape)


def plain_batch_norm(
    x, stats, scale, bias, *, use_running_average, momentum, epsilon, mask=None, axis=-1
):
    """`jbn.batch_norm` for finite x, composed of jnp functions: JAX differentiates it by itself."""
    axes = reduction_axes(x.ndim, axis)
    shape = [1 if a in axes else size for a, size in enumerate(x.shape)]
    if use_running_average:
        mean, var = (value.reshape(shape) for value in stats)
    else:
        counted = jnp.broadcast_to(True if mask is None else mask, x.shape)
        mean = jnp.mean(x, axes, keepdims=True, where=counted)
        var = jnp.mean((x - mean) ** 2, axes, keepdims=True, where=counted)
        stats = jbn.BatchStats(
            *(
                momentum * old + (1 - momentum) * batch.reshape(old.shape)
                for old, batch in zip(stats, (mean, var), strict=True)
            )
        )
    y = (x - mean) * jax.lax.rsqrt(var + epsilon) * scale.reshape(shape) + bias.reshape(shape)
    return y, stats
