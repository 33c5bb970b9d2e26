"""The weights that a training begins with, from wherever they were saved."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jbn._npz import BadNpzError
from jbn.config import UserError
from jbn.store.arrays import load_arrays
from jbn.store.layout import RUN
from jbn.store.read import read_config, read_variables


def read_weights(path: str | Path) -> dict[str, Any]:
    """Variables by collection: of a run, an npz file or an Orbax folder.

    Those of a run have `inputs` beside them: what it takes to prepare inputs for them.

    Of a run they are those of its first arm and seed; the npz files in its folder are those of the
    others. An npz file has arrays with names such as "params/Dense_0/kernel".

    Raises:
        UserError: nothing of these is there.
    """
    path = Path(os.path.expanduser(path))  # of no such user it stays as it is
    if os.path.isfile(path):  # pathlib raises an error of a name that is too long
        weights = _read_npz(path)
    elif os.path.exists(path / RUN):
        config = read_config(path)
        weights = read_variables(path, next(iter(config.arms)), config.seed)
    elif os.path.isdir(path):
        weights = _read_orbax(path)
    else:
        raise UserError(
            f"model.init_from: found nothing at {path}, wanted a run's folder, an npz file or an "
            "Orbax folder"
        )
    weights = jax.tree.map(np.asarray, weights)
    weights = unflatten_dict(
        {path: leaf for path, leaf in flatten_dict(weights).items() if _is_numeric(leaf)}
    )
    if not isinstance(weights.get("params"), dict):
        raise UserError(
            f"model.init_from: found {', '.join(map(str, weights)) or 'nothing'} in {path}, wanted "
            "params, and other collections such as batch_stats beside it"
        )
    return weights


def _is_numeric(leaf: Any) -> bool:
    """Whether it is an array of numbers; Orbax also brings lists."""
    return isinstance(leaf, np.ndarray) and (
        leaf.dtype == bool or jnp.issubdtype(leaf.dtype, jnp.number)
    )


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        return load_arrays(path)
    except BadNpzError as error:
        raise UserError(f"model.init_from: {path} can't be read as an npz file: {error}") from None


def _read_orbax(path: Path) -> dict[str, Any]:
    from orbax.checkpoint import v1 as orbax  # costs a second, and few need it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the arrays come as they were saved
            tree: Any = orbax.load(path.absolute())
    except Exception as error:  # Orbax raises any error on what is no checkpoint
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"model.init_from: {path} is no run and no Orbax checkpoint: {reason}"
        ) from None
    if not isinstance(tree, Mapping):
        raise UserError(
            f"model.init_from: found a {type(tree).__name__} in {path}, wanted params, and other "
            "collections such as batch_stats beside it"
        )
    return jax.tree.map(np.asarray, dict(tree))
