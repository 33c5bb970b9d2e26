"""What the Linen and the NNX layers share: all of a layer but how it holds its variables.

Each function takes the layer, for the arguments that it was made with, which are Flax's; arrays;
the dtype of the result; and as keywords the mapped axis, `axis_name` and `axis_index_groups`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jbn.functional._arguments import (
    accumulation_dtype,
    canonical_axes,
    named_axis,
    split_axes,
)
from jbn.functional._batch import batch_norm
from jbn.functional._group import group_norm, instance_norm
from jbn.functional._layer import layer_norm, rms_norm
from jbn.functional._mask import expand_mask
from jbn.functional._moments import ShiftedMoments, shifted_moments
from jbn.functional._stats import BatchStats, running_mean_dtype


def apply_batch_norm(
    layer: Any,
    x: Array,
    stats: BatchStats,
    scale: Array | None,
    bias: Array | None,
    *,
    use_running_average: bool,
    mask: Array | None,
    dtype: Any,
    **mapped_axis: Any,
) -> tuple[Array, BatchStats]:
    """y, and the new statistics; their mean is complex if x is."""
    mean, var = stats
    return batch_norm(
        _floating(x),
        BatchStats(mean.astype(running_mean_dtype(x, mean.dtype)), var),
        scale,
        bias,
        use_running_average=use_running_average,
        axis=layer.axis,
        momentum=layer.momentum,
        mask=_counted(mask),
        **_common(layer, dtype, mapped_axis),
    )


def batch_moments(
    layer: Any,
    x: Array,
    *,
    mask: Array | None,
    axis_name: Any = None,
    axis_index_groups: Any = None,
) -> ShiftedMoments:
    """What `apply_batch_norm` normalizes with, of the shapes of the running statistics."""
    features = feature_shape(x, "axis", layer.axis)
    _, reduction_axes = split_axes(layer.axis, jnp.ndim(x))
    x = _floating(x)
    batch = shifted_moments(
        x.astype(accumulation_dtype(x.dtype)),
        reduction_axes,
        expand_mask(_counted(mask), x.shape),
        named_axis(axis_name, axis_index_groups),
    )
    return ShiftedMoments(*(value.reshape(features) for value in batch))


def apply_layer_norm(
    layer: Any,
    x: Array,
    scale: Array | None,
    bias: Array | None,
    *,
    mask: Array | None,
    dtype: Any,
    **mapped_axis: Any,
) -> Array:
    """y of `jbn.layer_norm`."""
    axes = {"reduction_axes": layer.reduction_axes, "feature_axes": layer.feature_axes}
    options = _common(layer, dtype, mapped_axis)
    return layer_norm(_floating(x), scale, bias, mask=_counted(mask), **axes, **options)


def apply_rms_norm(
    layer: Any,
    x: Array,
    scale: Array | None,
    *,
    mask: Array | None,
    dtype: Any,
    **mapped_axis: Any,
) -> Array:
    """y of `jbn.rms_norm`."""
    axes = {"reduction_axes": layer.reduction_axes, "feature_axes": layer.feature_axes}
    options = _common(layer, dtype, mapped_axis)
    return rms_norm(_floating(x), scale, mask=_counted(mask), **axes, **options)


def apply_group_norm(
    layer: Any,
    x: Array,
    scale: Array | None,
    bias: Array | None,
    *,
    num_groups: int,
    mask: Array | None,
    dtype: Any,
    **mapped_axis: Any,
) -> Array:
    """y of `jbn.group_norm`; the reduction axes are Flax's, which count in the channel axis.

    Raises:
        ValueError: they leave it out; and as `jbn.group_norm`.
    """
    axes = layer.reduction_axes
    if axes is not None:
        axes = canonical_axes("reduction_axes", axes, jnp.ndim(x))
        if jnp.ndim(x) - 1 not in axes:
            raise ValueError(
                f"reduction_axes: found {layer.reduction_axes}, wanted the last axis among them, "
                "which is that of the channels"
            )
    return group_norm(
        _floating(x),
        scale,
        bias,
        num_groups=num_groups,
        reduction_axes=axes,
        mask=_counted(mask),
        **_common(layer, dtype, mapped_axis),
    )


def apply_instance_norm(
    layer: Any,
    x: Array,
    scale: Array | None,
    bias: Array | None,
    *,
    mask: Array | None,
    dtype: Any,
    **mapped_axis: Any,
) -> Array:
    """y of `jbn.instance_norm`."""
    options = _common(layer, dtype, mapped_axis)
    axis = layer.feature_axes
    return instance_norm(_floating(x), scale, bias, axis=axis, mask=_counted(mask), **options)


def feature_shape(x: Array, name: str, axes: Any) -> tuple[int, ...]:
    """The sizes of x along the feature axes, of which `name` is the argument's."""
    return tuple(jnp.shape(x)[axis] for axis in canonical_axes(name, axes, jnp.ndim(x)))


def _common(layer: Any, dtype: Any, mapped_axis: Mapping[str, Any]) -> dict[str, Any]:
    return {"epsilon": layer.epsilon, "dtype": dtype, **mapped_axis}


def _floating(x: Array) -> Array:
    """x; float32 of integers."""
    return x if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else jnp.asarray(x, jnp.float32)


def _counted(mask: Array | None) -> Array | None:
    """Flax's masks count an entry once where they are nonzero; jbn's would weigh it."""
    return None if mask is None else jnp.asarray(mask, bool)
