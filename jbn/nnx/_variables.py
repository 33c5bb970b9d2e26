"""The handling of variables that the NNX layers share."""

from collections.abc import Callable
from typing import Any

from flax.nnx.nn.dtypes import canonicalize_dtype
from jax import lax
from jaxtyping import Array

from jbn.functional._stats import BatchStats


def normalize_with_batch_stats(
    layer: Any,
    apply: Callable[..., tuple[Array, BatchStats]],
    x: Array,
    *,
    use_running_average: bool,
    mask: Array | None,
) -> Array:
    """y from `apply` (`apply_batch_norm` or a variant); training updates `mean` and `var`."""
    mean, var = layer.mean[...], layer.var[...]
    scale, bias = scale_and_bias(layer)
    y, stats = apply(
        layer,
        x,
        BatchStats(mean, var),
        scale,
        bias,
        use_running_average=use_running_average,
        mask=mask,
        dtype=result_dtype(layer, x, scale, bias, stats=(mean, var)),
        **mapped_axis(layer),
    )
    if not use_running_average:
        # NNX may hold the variables by reference, and no derivative must reach them there.
        mean, var = lax.stop_gradient(stats)
        layer.mean.set_value(mean)
        layer.var.set_value(var)
    return y


def scale_and_bias(
    layer: Any, features: tuple[int, ...] | None = None
) -> tuple[Array | None, Array | None]:
    """The layer's scale and bias, None if it has none. NNX keeps them flat, hence `features`."""
    parameters = (getattr(layer, "scale", None), getattr(layer, "bias", None))
    scale, bias = (
        None if p is None else p[...] if features is None else p[...].reshape(features)
        for p in parameters
    )
    return scale, bias


def mapped_axis(layer: Any) -> dict[str, Any]:
    """The mapped axis."""
    return {"axis_name": layer.axis_name, "axis_index_groups": layer.axis_index_groups}


def result_dtype(
    layer: Any, x: Array, *parameters: Array | None, stats: tuple[Array, ...] = ()
) -> Any:
    """The layer's `dtype`; if that is None, the dtype that `promote_dtype` gives x and parameters.

    `promote_dtype` is called as Flax calls it, but only its dtype is used: no input is rounded.
    """
    promoted = layer.promote_dtype((x, *stats, *parameters), dtype=layer.dtype)
    return canonicalize_dtype(promoted[0], *promoted[1 + len(stats) :], dtype=layer.dtype)
