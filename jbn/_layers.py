"""The code that Linen and NNX layers share: everything except how a layer holds its variables.

Each function takes the layer, whose attributes are Flax's constructor arguments, and then arrays.
Keywords from the call are the mask, the dtype of the result, and the mapped axis (`axis_name` and
`axis_index_groups`).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from jbn.functional._arguments import (
    accumulation_dtype,
    canonical_axes,
    canonical_named_axis,
    split_axes,
)
from jbn.functional._batch import batch_norm
from jbn.functional._domain import domain_batch_norm
from jbn.functional._ghost import ghost_batch_norm
from jbn.functional._group import group_norm, instance_norm
from jbn.functional._input import standardize
from jbn.functional._input_stats import (
    InputStats,
    Remainders,
    update_input_stats,
)
from jbn.functional._layer import layer_norm, rms_norm
from jbn.functional._mask import expand_mask
from jbn.functional._moments import moments, shifted_moments
from jbn.functional._normalize import normalize
from jbn.functional._renorm import batch_renorm
from jbn.functional._shifted import ShiftedMoments
from jbn.functional._stats import BatchStats, running_mean_dtype


def apply_batch_norm(
    layer: Any,
    x: Array,
    stats: BatchStats,
    scale: Array | None,
    bias: Array | None,
    *,
    use_running_average: bool,
    norm: Callable[..., tuple[Array, BatchStats]] = batch_norm,
    **call: Any,
) -> tuple[Array, BatchStats]:
    """y and the updated statistics from `norm`: `jbn.batch_norm` or a variant of it.

    The statistics' mean is complex if x is. Training makes 16-bit statistics float32.
    """
    mean, var = stats
    if not use_running_average:
        mean, var = (value.astype(accumulation_dtype(value.dtype)) for value in stats)
    return norm(
        _floating(x),
        BatchStats(mean.astype(running_mean_dtype(x, mean.dtype)), var),
        scale=scale,
        bias=bias,
        use_running_average=use_running_average,
        axis=layer.axis,
        momentum=layer.momentum,
        **_options(layer, **call),
    )


def apply_ghost_batch_norm(layer: Any, *arrays: Any, **options: Any) -> tuple[Array, BatchStats]:
    """`apply_batch_norm` with `jbn.ghost_batch_norm`."""
    norm = functools.partial(ghost_batch_norm, virtual_batch_size=layer.virtual_batch_size)
    return apply_batch_norm(layer, *arrays, norm=norm, **options)


def apply_batch_renorm(
    layer: Any, *arrays: Any, step: Int[Array, ""], **options: Any
) -> tuple[Array, BatchStats]:
    """`apply_batch_norm` with `jbn.batch_renorm`; `step` is the number of training steps so far.

    Raises:
        TypeError: the layer's `limits` isn't a function, or the step isn't an integer.
    """
    if not jnp.issubdtype(step.dtype, jnp.integer):
        raise TypeError(
            f"batch_stats step: found dtype {step.dtype}, wanted an integer, as the layer makes "
            "it; if you cast a network's variables, cast the floating ones alone"
        )
    if not callable(layer.limits):
        raise TypeError(
            f"limits: found {layer.limits!r}, wanted a function of the number of training steps, "
            "such as jbn.renorm_limits; for constants, lambda step: jbn.RenormLimits(3.0, 5.0)"
        )
    norm = functools.partial(batch_renorm, limits=layer.limits(step))
    return apply_batch_norm(layer, *arrays, norm=norm, **options)


def apply_domain_batch_norm(
    layer: Any, *arrays: Any, domain: int | Int[Array, ""], **options: Any
) -> tuple[Array, BatchStats]:
    """`apply_batch_norm` with `jbn.domain_batch_norm`.

    Raises:
        TypeError: the domain isn't an integer.
        ValueError: the domain isn't a single integer; and as `jbn.domain_batch_norm`.
    """
    wanted = "wanted one integer, the domain of all of x"
    # A bool would select domain 0 or 1, but it is use_running_average in the domain's place.
    if domain is None or not jnp.issubdtype(jnp.result_type(domain), jnp.integer):
        raise TypeError(f"domain: found {domain!r}, {wanted}")
    if jnp.shape(domain) != ():
        raise ValueError(f"domain: found shape {jnp.shape(domain)}, {wanted}")
    norm = functools.partial(domain_batch_norm, domain=domain)
    return apply_batch_norm(layer, *arrays, norm=norm, **options)


def check_num_domains(num_domains: int) -> None:
    """Raises an error unless there is at least one domain."""
    if num_domains < 1:
        raise ValueError(f"num_domains: found {num_domains}, wanted at least 1")


def is_evaluation(layer: Any, use_running_average: bool | None) -> bool:
    """Whether to normalize with the running statistics: the call decides, or else the layer."""
    for chosen in (use_running_average, layer.use_running_average):
        if chosen is not None:
            return bool(chosen)
    raise ValueError(
        "use_running_average: found none, wanted True or False, in the constructor, in the call, "
        "or by model.train() and model.eval()"
    )


def batch_moments(layer: Any, x: Array, *, mask: Array | None) -> ShiftedMoments:
    """The moments that `apply_batch_norm` normalizes with, in the running statistics' shapes."""
    features = feature_shape(x, "axis", layer.axis)
    _, reduction_axes = split_axes(layer.axis, jnp.ndim(x))
    x = _floating(x)
    batch = shifted_moments(
        x.astype(accumulation_dtype(x.dtype)),
        reduction_axes,
        expand_mask(_counted(mask), x.shape),
        canonical_named_axis(layer.axis_name, layer.axis_index_groups),
    )
    return ShiftedMoments(*(value.reshape(features) for value in batch))


def apply_layer_norm(
    layer: Any, x: Array, scale: Array | None, bias: Array | None, **call: Any
) -> Array:
    """y from `jbn.layer_norm`."""
    axes = {"reduction_axes": layer.reduction_axes, "feature_axes": layer.feature_axes}
    return layer_norm(_floating(x), scale, bias, **axes, **_options(layer, **call))


def apply_rms_norm(layer: Any, x: Array, scale: Array | None, **call: Any) -> Array:
    """y from `jbn.rms_norm`."""
    axes = {"reduction_axes": layer.reduction_axes, "feature_axes": layer.feature_axes}
    return rms_norm(_floating(x), scale, **axes, **_options(layer, **call))


def apply_group_norm(
    layer: Any,
    x: Array,
    scale: Array | None,
    bias: Array | None,
    *,
    num_groups: int,
    **call: Any,
) -> Array:
    """y from `jbn.group_norm`; the reduction axes are Flax's, which include the channel axis.

    Raises:
        ValueError: the reduction axes leave out the channel axis; and as `jbn.group_norm`.
    """
    axes = layer.reduction_axes
    if axes is not None:
        axes = canonical_axes("reduction_axes", axes, jnp.ndim(x))
        if jnp.ndim(x) - 1 not in axes:
            raise ValueError(
                f"reduction_axes: found {layer.reduction_axes}, wanted the last axis among them, "
                "since it is the channel axis"
            )
    groups = {"num_groups": num_groups, "reduction_axes": axes}
    return group_norm(_floating(x), scale, bias, **groups, **_options(layer, **call))


def apply_instance_norm(
    layer: Any, x: Array, scale: Array | None, bias: Array | None, **call: Any
) -> Array:
    """y from `jbn.instance_norm`."""
    options = _options(layer, **call)
    return instance_norm(_floating(x), scale, bias, axis=layer.feature_axes, **options)


def apply_input_norm(
    layer: Any,
    x: Array,
    stats: Mapping[str, Array],
    *,
    update_stats: bool,
    mask: Array | None,
    **mapped_axis: Any,
) -> tuple[Array, dict[str, Array]]:
    """y, and the statistics that x is standardized with.

    The statistics are constants to derivatives in x. They come in and go out by the names of
    `input_stats_by_name`.
    """
    x = _floating(x)
    dtype = x.dtype if layer.dtype is None else layer.dtype
    x = x.astype(accumulation_dtype(x.dtype))  # y is rounded once, at the end
    remainders = {name: stats[name + _REMAINDER] for name in Remainders._fields}
    kept = {name: value for name, value in stats.items() if not name.endswith(_REMAINDER)}
    now = InputStats(**kept, remainders=Remainders(**remainders))
    if update_stats:
        seen, counted = lax.stop_gradient(x), _counted(mask)
        now = update_input_stats(now, seen, axis=layer.axis, mask=counted, **mapped_axis)
    return standardize(x, now, axis=layer.axis).astype(dtype), input_stats_by_name(now)


_REMAINDER = "_remainder"  # the end of a remainder's name


def input_stats_by_name(stats: InputStats) -> dict[str, Array]:
    """An input normalization's variables by name."""
    arrays = stats._asdict()
    remainders = arrays.pop("remainders")._asdict()
    return {**arrays, **{name + _REMAINDER: value for name, value in remainders.items()}}


def standardized_kernel(
    layer: Any, kernel: Array, gain: Array | None, mask: Array | None = None
) -> Array:
    """The kernel with mean 0 and a sum of squares of gain² for each output unit.

    Weights that a mask leaves out don't count; the layer itself sets them to 0.
    """
    reduction_axes = tuple(range(kernel.ndim - 1))  # in Flax the outputs are the last axis
    fan_in, mean, var = moments(kernel, reduction_axes, mask=_counted(mask))
    scale = None if gain is None else gain.reshape(mean.shape)
    return normalize(kernel, mean, fan_in * var, scale, epsilon=layer.epsilon)


def feature_shape(x: Array, name: str, axes: Any) -> tuple[int, ...]:
    """The sizes of x along the feature axes; `name` is the argument's name, for errors."""
    return tuple(jnp.shape(x)[axis] for axis in canonical_axes(name, axes, jnp.ndim(x)))


def channel_shape(x: Array, axes: Any) -> tuple[int, ...]:
    """`feature_shape` for an instance norm; call it before the parameters are made.

    Raises:
        ValueError: the first axis is among the feature axes.
    """
    if 0 in canonical_axes("feature_axes", axes, jnp.ndim(x)):
        raise ValueError(
            f"feature_axes: found {axes}, wanted channel axes; the first one is the batch's"
        )
    return feature_shape(x, "feature_axes", axes)


def _options(layer: Any, *, mask: Array | None, dtype: Any, **mapped_axis: Any) -> dict[str, Any]:
    """The options that every norm takes, from the layer and from its call."""
    return {"epsilon": layer.epsilon, "mask": _counted(mask), "dtype": dtype, **mapped_axis}


def _floating(x: Array) -> Array:
    """x, with integers as float32."""
    return x if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else jnp.asarray(x, jnp.float32)


def _counted(mask: Array | None) -> Array | None:
    """The mask as bools: in Flax a nonzero value counts once, in jbn it would be a weight."""
    return None if mask is None else jnp.asarray(mask, bool)
