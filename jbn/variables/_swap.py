"""Converts a model's variables when another norm replaces batch normalization."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from flax.traverse_util import flatten_dict, unflatten_dict

_FLAXS_NAME = re.compile(r"^(Ghost)?Batch(Norm|Renorm)_(?=\d+$)")


def swap_norm(
    variables: Mapping[str, Any],
    kind: Literal["FrozenBatchNorm", "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm"],
) -> dict[str, Any]:
    """Variables for a Linen model with another norm, made of those with batch normalization.

    Layers with batch statistics keep scale and bias and lose the statistics. Flax's own names
    change with the class: `BatchNorm_0` becomes `GroupNorm_0`. Other names stay. The other norm
    normalizes with other statistics, so fine-tune the model. `FrozenBatchNorm` keeps the
    statistics, moves scale and bias into `batch_stats`, and changes nothing in evaluation.

    Args:
        variables: `params` and `batch_stats`.
        kind: the class of the other norm. `RMSNorm` has no bias, so the norms' biases are dropped.

    Returns:
        `params`; for `FrozenBatchNorm` also `batch_stats`.

    Raises:
        ValueError: there are no batch statistics, or a new name is already taken.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbn.variables import swap_norm
        >>> params = {"BatchNorm_0": {"scale": jnp.ones(1), "bias": jnp.zeros(1)}}
        >>> stats = {"BatchNorm_0": {"mean": jnp.zeros(1), "var": jnp.ones(1)}}
        >>> print(list(swap_norm({"params": params, "batch_stats": stats}, "GroupNorm")["params"]))
        ['GroupNorm_0']

    References:
        Wu and He, 2018, Group Normalization, arXiv:1803.08494.
    """
    stats = flatten_dict(variables.get("batch_stats", {}))
    layers = {path[:-1] for path in stats if path[-1] == "var"}
    if not layers:
        raise ValueError(
            "variables: found no layer with batch statistics, wanted batch_stats of mean and var"
        )
    moved = [*flatten_dict(variables["params"]).items()]
    if kind == "FrozenBatchNorm":
        moved += [(path, value) for path, value in stats.items() if path[-1] in ("mean", "var")]
    swapped: dict[tuple[str, ...], Any] = {}
    for (*layer, name), value in moved:
        path, collection = tuple(layer), "params"
        if path in layers:
            path = (*path[:-1], _FLAXS_NAME.sub(f"{kind}_", path[-1]))
            collection = "batch_stats" if kind == "FrozenBatchNorm" else "params"
            if kind == "RMSNorm" and name == "bias":
                continue
        if (collection, *path, name) in swapped:
            raise ValueError(f"kind: {'/'.join(path)} is there already; give the layers names")
        swapped[collection, *path, name] = value
    return {"params": {}, **unflatten_dict(swapped)}
