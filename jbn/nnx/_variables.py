"""What the NNX layers do alike with their variables."""

from typing import Any

from flax.nnx.nn.dtypes import canonicalize_dtype
from jaxtyping import Array


def scale_and_bias(
    layer: Any, features: tuple[int, ...] | None = None
) -> tuple[Array | None, Array | None]:
    """The layer's parameters, None where it was made without; NNX keeps them flat."""
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
    """The dtype that the layer was told; without one, that to which `promote_dtype` brings them.

    It is called as Flax calls it, and only asked for the dtype: nothing that goes in is rounded.
    """
    promoted = layer.promote_dtype((x, *stats, *parameters), dtype=layer.dtype)
    return canonicalize_dtype(promoted[0], *promoted[1 + len(stats) :], dtype=layer.dtype)
