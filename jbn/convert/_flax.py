"""Flax's side: variables to layers and back, and the kernel of a transposed convolution."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jbn.convert._names import Arrays, listed

COLLECTIONS = {
    "kernel": "params",
    "bias": "params",
    "scale": "params",
    "embedding": "params",
    "mean": "batch_stats",
    "var": "batch_stats",
}


def variables_of_layers(layers: Mapping[str, Arrays]) -> dict[str, Any]:
    """Nested dicts, `{"params": ..., "batch_stats": ...}`, with copies of the arrays.

    16-bit running statistics become float32, as training needs them.
    """
    variables: dict[str, Any] = {}
    for path, layer in layers.items():
        for name, array in layer.items():
            node = variables
            for part in (COLLECTIONS[name], *filter(None, path.split("/"))):
                node = node.setdefault(part, {})
            is_half_statistic = COLLECTIONS[name] == "batch_stats" and array.dtype.itemsize == 2
            node[name] = own(array.astype(np.float32) if is_half_statistic else array)
    return variables


def layers_of_variables(variables: Mapping[str, Any]) -> dict[str, Arrays]:
    """The arrays of each layer, by its path without the collection: `"Block_0/Dense_0"`."""
    layers: dict[str, Arrays] = {}
    for (collection, *path), array in _leaves(variables):
        *parts, name = path or [""]
        if COLLECTIONS.get(name) != collection:
            raise ValueError(
                f"variables: found {'/'.join([collection, *path])}, wanted "
                f"{listed(f'{c}/…/{n}' for n, c in COLLECTIONS.items())}; give the collections "
                'as {"params": ..., "batch_stats": ...}, and leave out what isn\'t among these'
            )
        layers.setdefault("/".join(parts), {})[name] = np.asarray(array)
    return layers


def _leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and arrays, depth first."""
    if not isinstance(node, Mapping):
        yield path, node
        return
    for key, value in node.items():
        yield from _leaves(value, (*path, key))


def mirrored(kernel: np.ndarray) -> np.ndarray:
    """A kernel of the gradient of a convolution, as one of `flax.linen.ConvTranspose`; and back.

    PyTorch and Keras define a transposed convolution as that gradient: its kernel, of shape
    `(*window, out, in)`, is that of the convolution from out to in. Flax (with `transpose_kernel`
    False, its default) convolves the dilated input with the kernel as it stands, of shape
    `(*window, in, out)`: the same one turned around in space.
    """
    return np.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-1, -2)


def own(array: np.ndarray) -> np.ndarray:
    """A copy in C order: no view of the caller's memory, which a live model may go on to write."""
    return np.array(array, order="C")
