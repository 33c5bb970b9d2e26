"""A function for inference in one file, for several platforms and for batches of any size."""

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

    To load it, a program needs JAX, but not jbn, Flax or the model's code. For inference fold the
    batch normalizations first (`jbn.variables.fold_batch_norm`). JAX writes and reads such files
    with flatbuffers, which `pip install 'jbn[export]'` installs.

    Args:
        path: the file.
        function: takes an array whose first axis is the batch's, and returns an array or a tree of
            arrays, e.g. `lambda x: model.apply(variables, x, train=False)`. It must accept batches
            of any size.
        example: an array with the shape and dtype of a batch, of any batch size.
        platforms: the platforms to run on: "cpu", "cuda", "rocm", "tpu". This machine needn't have
            them.

    Raises:
        TypeError: the example isn't one array.
        ValueError: the example has no axis for the batch, a platform is unknown, or the function
            depends on the batch's size, as batch norm in training does.
        ModuleNotFoundError: flatbuffers isn't installed.

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
        JAX's documentation of `jax.export` (where and how long a saved function can run).
    """
    _check_flatbuffers()
    if not hasattr(example, "dtype"):
        raise TypeError(
            f"example: found a {type(example).__name__}, wanted one array whose first axis is the "
            "batch's; a function of several arrays can take them as one array of features"
        )
    if not example.ndim:
        raise ValueError("example: found a number, wanted an array whose first axis is the batch's")
    if unknown := set(platforms) - set(_PLATFORMS):
        raise ValueError(
            f"platforms: found {', '.join(sorted(unknown))}, wanted some of {', '.join(_PLATFORMS)}"
        )
    shape = export.symbolic_shape(", ".join(map(str, ("batch", *example.shape[1:]))))
    batch = jax.ShapeDtypeStruct(shape, example.dtype)
    try:
        exported = export.export(jax.jit(function), platforms=platforms)(batch)
    except jax.errors.InconclusiveDimensionOperation as error:
        raise ValueError(
            "function: found one that depends on the size of the batch, wanted inference, which "
            "takes batches of any size; call the model with train=False, or its batch norms with "
            f"use_running_average=True ({str(error).splitlines()[0]})"
        ) from None
    Path(path).write_bytes(exported.serialize())


def load_function(path: str | Path) -> Callable[[Array], Any]:
    """The function that `save_function` wrote; it is compiled for each new batch size.

    Args:
        path: the file. It holds a program, so load only files that you trust.

    Returns:
        A function of an array with the example's shape and dtype, but any number of examples.

    Raises:
        ValueError: the file holds no such function, or it is not for this platform (when called).
        ModuleNotFoundError: flatbuffers isn't installed.
    """
    _check_flatbuffers()
    data = Path(path).read_bytes()
    try:
        exported = export.deserialize(bytearray(data))
    except Exception as error:  # flatbuffers raises any error on bad bytes
        raise ValueError(f"path: found no exported function in {path}: {error}") from None
    return jax.jit(exported.call)


def _check_flatbuffers() -> None:
    try:
        import flatbuffers  # noqa: F401 (asked for only to know that it is there)
    except ModuleNotFoundError as error:
        error.add_note("JAX writes and reads functions with it: pip install 'jbn[export]'")
        raise
