"""The handling of variables that the Linen layers share."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from jbn._layers import feature_shape
from jbn.functional._stats import BatchStats, running_mean_dtype


def normalize_with_batch_stats(
    layer: Any,
    apply: Callable[..., tuple[Array, BatchStats]],
    x: Array,
    *,
    use_running_average: bool,
    mask: Array | None,
    leading: tuple[int, ...] = (),
) -> Array:
    """y from `apply`; in training `batch_stats` is updated (but not in `init`).

    `apply` is `apply_batch_norm` or a variant of it. The statistics have the shape
    `(*leading, *features)`. Call this function once, in a compact method.
    """
    features = feature_shape(x, "axis", layer.axis)
    stats_dtype = jnp.float32 if layer.force_float32_reductions else layer.param_dtype
    mean_dtype = running_mean_dtype(x, stats_dtype)
    mean = layer.variable("batch_stats", "mean", jnp.zeros, (*leading, *features), mean_dtype)
    var_dtype = jnp.finfo(stats_dtype).dtype
    var = layer.variable("batch_stats", "var", jnp.ones, (*leading, *features), var_dtype)
    scale, bias = scale_and_bias(layer, features)
    # Only shapes matter in `init`, so one value per channel is enough there.
    initializing = layer.is_initializing()
    y, stats = apply(
        layer,
        x,
        BatchStats(mean.value, var.value),
        scale,
        bias,
        use_running_average=bool(
            use_running_average or (initializing and x.size < 2 * math.prod(features))
        ),
        mask=mask,
        dtype=result_dtype(layer, x, scale, bias),
        **mapped_axis(layer),
    )
    if not use_running_average and not initializing:
        mean.value, var.value = stats
    return y


def scale_and_bias(
    layer: Any, features: tuple[int, ...], *, has_bias: bool = True
) -> tuple[Array | None, Array | None]:
    """The layer's scale and bias, None if it has none. Call it once, in a compact method."""
    scale = bias = None
    if layer.use_scale:
        scale = layer.param("scale", layer.scale_init, features, layer.param_dtype)
    if has_bias and layer.use_bias:
        bias = layer.param("bias", layer.bias_init, features, layer.param_dtype)
    return scale, bias


def mapped_axis(layer: Any) -> dict[str, Any]:
    """The mapped axis; none in `init`, where only shapes matter and no axis is mapped."""
    if layer.is_initializing():
        return {}
    return {"axis_name": layer.axis_name, "axis_index_groups": layer.axis_index_groups}


def result_dtype(layer: Any, x: Array, *parameters: Array | None) -> Any:
    """The layer's `dtype`; if that is None, the promotion of x and the parameters."""
    return nn.dtypes.canonicalize_dtype(x, *parameters, dtype=layer.dtype)
