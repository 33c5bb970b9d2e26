"""Masks of parameters: those that weight decay is for, and those of batch normalization."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

_NOT_DECAYED = ("scale", "bias", "gain")


def decay_mask(params: Any) -> Any:
    """True for each parameter that weight decay is for: all but those named scale, bias or gain.

    The name of the array decides, not that of a module: the kernel of a module that is called
    `scale` is decayed.

    Decay of a norm's scale moves the norm's outputs towards 0 for no reason, and a bias can't
    overfit. Weights before a norm are a special case: their size changes the effective learning
    rate, but not the output.

    Args:
        params: parameters of a Linen model, or the `nnx.Param` state of an NNX one.

    Returns:
        A tree of bools of the structure of params: the `mask` of `optax.adamw` and others.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from jbn.variables import decay_mask
        >>> params = {"Dense_0": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
        >>> print(decay_mask(params))
        {'Dense_0': {'bias': False, 'kernel': True}}
        >>> optimizer = optax.adamw(1e-3, mask=decay_mask)

    References:
        Goyal et al., 2017, Accurate, Large Minibatch SGD, arXiv:1706.02677 (no decay of
        batch norm's parameters); van Laarhoven, 2017, arXiv:1706.05350 (decay before a norm).
    """

    def is_decayed(path: tuple[Any, ...], _: Any) -> bool:
        # What holds an array, such as an NNX variable, adds an attribute to the path, not a key.
        names = [key.key for key in path if isinstance(getattr(key, "key", None), str)]
        return not names or names[-1] not in _NOT_DECAYED

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def path_mask(variables: Any, patterns: Sequence[str]) -> Any:
    """True for each array whose path matches a pattern, such as "Dense_0/kernel" or "conv*".

    In a pattern * is any text, which may have a slash; ? is any letter; [ab] is a or b.

    Args:
        variables: a tree of arrays in dicts, such as the `params` of a Linen model.
        patterns: one matching pattern is enough.

    Returns:
        A tree of bools of the structure of variables.

    Raises:
        ValueError: a pattern matches no path.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbn.variables import path_mask
        >>> params = {"conv": {"kernel": jnp.ones(1)}, "head": {"kernel": jnp.ones(1)}}
        >>> print(path_mask(params, ["conv*"]))
        {'conv': {'kernel': True}, 'head': {'kernel': False}}
    """
    flat = flatten_dict(variables)
    for pattern in patterns:
        if mistake := mismatch(pattern, flat):
            raise ValueError(f"patterns: {mistake}")
    return unflatten_dict({path: is_matched(path, patterns) for path in flat})


def mismatch(pattern: str, paths: Iterable[Sequence[Any]]) -> str | None:
    """What is wrong with a pattern that matches none of the paths; None if it matches one."""
    paths = list(paths)
    if any(is_matched(path, [pattern]) for path in paths):
        return None
    found = f"found {pattern!r}, which matches no path"
    if any(is_matched(path, [f"{pattern}*"]) for path in paths):
        return f"{found}; did you mean {pattern + '*'!r}?"
    firsts = ", ".join(dict.fromkeys(str(path[0]) for path in paths))
    return f"{found}; the paths begin with {firsts}"


def is_matched(path: Sequence[Any], patterns: Sequence[str]) -> bool:
    """Whether a path, such as ("Dense_0", "kernel"), matches a pattern."""
    return any(fnmatchcase("/".join(map(str, path)), pattern) for pattern in patterns)


def batch_norm_mask(variables: Mapping[str, Any]) -> dict[str, Any]:
    """True for each parameter of a layer with batch statistics, which fine-tuning may freeze.

    Give a frozen layer `use_running_average=True` in training too, so that its statistics stay as
    they are.

    Args:
        variables: `params` and `batch_stats` of a Linen model, or pure dicts of an NNX model's.

    Returns:
        A tree of bools of the structure of `params`.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from jbn.variables import batch_norm_mask
        >>> params = {"dense": {"bias": jnp.ones(1)}, "norm": {"scale": jnp.ones(1)}}
        >>> stats = {"norm": {"mean": jnp.ones(1), "var": jnp.ones(1)}}
        >>> mask = batch_norm_mask({"params": params, "batch_stats": stats})
        >>> print(mask)
        {'dense': {'bias': False}, 'norm': {'scale': True}}
        >>> frozen = optax.masked(optax.set_to_zero(), mask)
        >>> optimizer = optax.chain(optax.adam(1e-3), frozen)
    """
    layers = {path[:-1] for path in flatten_dict(variables["batch_stats"])}
    params = flatten_dict(variables["params"])
    return unflatten_dict({path: path[:-1] in layers for path in params})
