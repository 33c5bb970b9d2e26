"""What the Linen layers do alike with their variables."""

from typing import Any

from flax import linen as nn
from jaxtyping import Array


def scale_and_bias(
    layer: Any, features: tuple[int, ...], *, has_bias: bool = True
) -> tuple[Array | None, Array | None]:
    """The layer's parameters, None where it was made without; to be called once, while compact."""
    scale = bias = None
    if layer.use_scale:
        scale = layer.param("scale", layer.scale_init, features, layer.param_dtype)
    if has_bias and layer.use_bias:
        bias = layer.param("bias", layer.bias_init, features, layer.param_dtype)
    return scale, bias


def mapped_axis(layer: Any) -> dict[str, Any]:
    """The mapped axis; none in `init`, where shapes are all that matters and no axis is mapped."""
    if layer.is_initializing():
        return {}
    return {"axis_name": layer.axis_name, "axis_index_groups": layer.axis_index_groups}


def result_dtype(layer: Any, x: Array, *parameters: Array | None) -> Any:
    """The dtype that the layer was told; without one, that of x and the parameters promoted."""
    return nn.dtypes.canonicalize_dtype(x, *parameters, dtype=layer.dtype)
