"""A function for inference in one file: compiled anywhere, for batches of any size."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax import export
from jaxtyping import Array

_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def save_function(
    path: str | Path,
    function: Callable[[Array], Any],
    example: Array,
    *,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> None:
    """Writes a function of a batch, with the arrays that it holds, as StableHLO.

    What loads it needs JAX, and neither jbn nor Flax nor the model's code. For inference fold the
    batch normalizations first (`jbn.variables.fold_batch_norm`). JAX writes and reads such files
    with flatbuffers, which `pip install 'jbn[export]'` brings.

    Args:
        path: the file.
        function: of an array whose first axis is the batch's, to an array or a tree of such, e.g.
            `lambda x: model.apply(variables, x, train=False)`. It has to take batches of any size.
        example: an array of the shape and dtype of a batch, of any size.
        platforms: what it shall run on: "cpu", "cuda", "rocm", "tpu". Needn't be here.

    Raises:
        ValueError: the example has no axis for the batch, or a platform is unknown.

    Example:
        >>> import tempfile, jax.numpy as jnp, pathlib
        >>> from jbn.export import load_function, save_function
        >>> w = jnp.array([[1.0], [2.0]])
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.bin"
        >>> save_function(path, lambda x: x @ w, jnp.ones((4, 2)))
        >>> function = load_function(path)
        >>> print(function(jnp.ones((1, 2))), function(jnp.ones((3, 2))).shape)
        [[3.]] (3, 1)

    References:
        JAX's documentation of `jax.export`: what a saved function keeps being able to run on.
    """
    if not example.ndim:
        raise ValueError("example: found a number, wanted an array whose first axis is the batch's")
    if unknown := set(platforms) - set(_PLATFORMS):
        raise ValueError(
            f"platforms: found {', '.join(sorted(unknown))}, wanted some of {', '.join(_PLATFORMS)}"
        )
    shape = export.symbolic_shape(", ".join(map(str, ("batch", *example.shape[1:]))))
    batch = jax.ShapeDtypeStruct(shape, example.dtype)
    exported = export.export(jax.jit(function), platforms=platforms)(batch)
    Path(path).write_bytes(exported.serialize())


def load_function(path: str | Path) -> Callable[[Array], Any]:
    """The function that `save_function` wrote: compiled for each batch size that it meets.

    Args:
        path: the file. It holds a program: load what you trust.

    Returns:
        A function of an array of the shape and dtype of the example, with any number of examples.

    Raises:
        ValueError: the file holds no such function, or it is not for this platform (when called).
    """
    data = Path(path).read_bytes()
    try:
        exported = export.deserialize(bytearray(data))
    except ImportError:  # flatbuffers isn't there
        raise
    except Exception as error:  # flatbuffers reads on until it stumbles over something
        raise ValueError(f"path: found no exported function in {path}: {error}") from None
    return jax.jit(exported.call)
