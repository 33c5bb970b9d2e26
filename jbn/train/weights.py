"""Weights to begin a training with, in the place of drawn ones."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jbn.config import ModelConfig, UserError
from jbn.variables._masks import is_matched, mismatch


def begin_with(
    config: ModelConfig, variables: Mapping[str, Any], weights: Mapping[str, Any]
) -> dict[str, Any]:
    """The variables with the arrays of `weights` in the place of their own, path by path.

    An array whose path matches `config.init_fresh` stays as it was drawn. What the weights have
    besides has no part.

    Raises:
        UserError: the weights lack an array, or have one of another shape; or a pattern matches
            nothing.
    """
    drawn = flatten_dict(variables)
    found = flatten_dict(weights)
    for pattern in config.init_fresh:
        if mistake := mismatch(pattern, [path[1:] for path in drawn]):
            raise UserError(f"model.init_fresh: {mistake}")
    begun = {}
    for path, value in drawn.items():
        if is_matched(path[1:], config.init_fresh):
            begun[path] = value
            continue
        weight = found.get(path)
        is_real = not jnp.iscomplexobj(weight) or jnp.iscomplexobj(value)
        if weight is None or jnp.shape(weight) != value.shape or not is_real:
            kind = "an array" if is_real else "complex numbers"
            there = "nothing" if weight is None else f"{kind} of shape {jnp.shape(weight)}"
            raise UserError(
                f"model.init_from: found {there} at {'/'.join(path)}, where the model has the "
                f"shape {value.shape}; wanted that, or a pattern in model.init_fresh that matches "
                f"{'/'.join(path[1:])}, to draw it anew"
            )
        begun[path] = jnp.asarray(weight, value.dtype)
    return unflatten_dict(begun)
