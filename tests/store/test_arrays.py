"""Trees of arrays, to disk and back."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jbn.store.arrays import load_arrays, save_arrays


def test_arrays_keep_their_values_and_their_tree(tmp_path):
    tree: dict[str, Any] = {
        "params": {"a": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "b": jnp.int32(3)},
        "half": jnp.array([1.0, 1 / 3], jnp.bfloat16),
    }
    save_arrays(tmp_path / "x" / "arrays.npz", tree)
    loaded = load_arrays(tmp_path / "x" / "arrays.npz")
    np.testing.assert_array_equal(loaded["params"]["a"]["kernel"], tree["params"]["a"]["kernel"])
    assert loaded["params"]["b"] == 3
    np.testing.assert_array_equal(loaded["half"], tree["half"].astype(np.float32))
