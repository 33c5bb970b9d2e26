"""The golden files, and what the ways there and back have to give."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden"


def load_golden(name, prefix):
    """All arrays of the file; and those whose names begin with the prefix, without it."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = dict(file)
    return arrays, {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def assert_evaluates(network, variables, x, y):
    """The variables are the network's, and with them x gives y."""
    wanted = jax.eval_shape(network.init, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, wanted)
    np.testing.assert_allclose(jax.jit(network.apply)(variables, x), y, rtol=0, atol=1e-5)


def assert_same_arrays(back, wanted):
    """Bit for bit, of the same dtypes, in C order."""
    for name, array in wanted.items():
        assert back[name].dtype == array.dtype
        assert back[name].flags.c_contiguous
        np.testing.assert_array_equal(back[name], array)
