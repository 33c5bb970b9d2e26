"""Trees of arrays as files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jbn._npz import BadNpzError, read_npz

# In a file of variables, beside the model's collections: what it takes to prepare inputs for it.
INPUTS = "inputs"


def save_arrays(path: Path, tree: Mapping[str, Any]) -> None:
    """Writes a tree of arrays as `.npz`, each leaf named by its path ("params/Dense_0/bias").

    NumPy has no bfloat16: such arrays are written as float32, which holds their values exactly.
    """
    flat = flatten_dict(jax.device_get(tree), sep="/")
    is_bfloat16 = {name: leaf.dtype == jnp.bfloat16 for name, leaf in flat.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("wb") as file:
        np.savez(
            file, **{k: v.astype(np.float32) if is_bfloat16[k] else v for k, v in flat.items()}
        )
        file.flush()
        os.fsync(file.fileno())  # before its trial is done: the power may fail
    unfinished.replace(path)


def load_arrays(path: Path) -> dict[str, Any]:
    """The tree that `save_arrays` wrote, or anybody.

    Raises:
        BadNpzError: the file can't be read, or is damaged.
    """
    flat = {tuple(name.split("/")): array for name, array in read_npz(path).items()}
    for name in flat:
        if inner := [name[:end] for end in range(1, len(name)) if name[:end] in flat]:
            raise BadNpzError(f"{'/'.join(inner[0])} is an array, and has others below it")
    tree: dict[str, Any] = unflatten_dict(flat)
    return tree
