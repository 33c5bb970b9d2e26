"""Norms as functions of x, jbn's beside Flax's; and what they should return, in float64."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jbn

EPSILON = 1e-5
GROUPS = 8
OFFSETS = (0, 10, 1e2, 1e3, 1e4, 1e5)  # of the data from zero, in standard deviations


def jbn_batch_norm(x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """y of batch normalization in training."""
    stats = jbn.init_batch_stats(x.shape[-1])
    return jbn.batch_norm(x, stats, use_running_average=False, epsilon=EPSILON, mask=mask)[0]


def _flax_batch_norm(x: jax.Array, **options: Any) -> jax.Array:
    layer = nn.BatchNorm(
        use_running_average=False, epsilon=EPSILON, use_scale=False, use_bias=False, **options
    )
    stats = {"mean": jnp.zeros(x.shape[-1]), "var": jnp.ones(x.shape[-1])}
    y, _ = layer.apply({"batch_stats": stats}, x, mutable=["batch_stats"])
    return y


def _flax_layer_norm(x: jax.Array, **options: Any) -> jax.Array:
    layer = nn.LayerNorm(epsilon=EPSILON, use_scale=False, use_bias=False, **options)
    y: Any = layer.apply({}, x)
    return y


def _flax_group_norm(x: jax.Array, **options: Any) -> jax.Array:
    layer = nn.GroupNorm(GROUPS, epsilon=EPSILON, use_scale=False, use_bias=False, **options)
    y: Any = layer.apply({}, x)
    return y


def _beside_flax(ours: Callable, flax: Callable) -> dict[str, Callable[[jax.Array], jax.Array]]:
    accurate = functools.partial(flax, use_fast_variance=False)
    return {"jbn": ours, "Flax, fast": flax, "Flax, accurate": accurate}


# Norm -> library -> (x -> y).
NORMS = {
    "batch_norm": _beside_flax(jbn_batch_norm, _flax_batch_norm),
    "layer_norm": _beside_flax(
        functools.partial(jbn.layer_norm, epsilon=EPSILON), _flax_layer_norm
    ),
    "group_norm": _beside_flax(
        functools.partial(jbn.group_norm, num_groups=GROUPS, epsilon=EPSILON), _flax_group_norm
    ),
}


def forward_and_backward(norm: Callable[[jax.Array], jax.Array]) -> Callable:
    """Returns a compiled (x, dy) -> (y, dx), y in x's dtype."""

    def both(x: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, backward = jax.vjp(lambda x: norm(x).astype(x.dtype), x)
        return y, *backward(dy)

    return jax.jit(both)


def exact(norm: str, x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y and dx in float64, for x of shape (examples, features)."""
    if norm == "batch_norm":
        y, dx = exact("layer_norm", x.T, dy.T)
        return y.T, dx.T
    if norm == "group_norm":
        groups = (len(x) * GROUPS, -1)
        y, dx = exact("layer_norm", x.reshape(groups), dy.reshape(groups))
        return y.reshape(x.shape), dx.reshape(x.shape)
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + EPSILON)
    y = (x - x.mean(-1, keepdims=True)) * r
    dx = dy - dy.mean(-1, keepdims=True) - y * (dy * y).mean(-1, keepdims=True)
    return y, r * dx


def error(found: Any, wanted: np.ndarray) -> float:
    """The largest error, relative to max(1, |wanted|)."""
    found = np.asarray(found, np.float64)
    return float(np.max(np.abs(found - wanted) / np.maximum(1, np.abs(wanted))))
