"""Trees of arrays as files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

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
    """The tree that `save_arrays` wrote."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        tree: dict[str, Any] = unflatten_dict({name: file[name] for name in file.files}, sep="/")
    return tree
