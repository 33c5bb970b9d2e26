"""PyTorch's state dict to Flax's variables and back."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jbn.convert._flax import layers_of_variables, mirrored, own, variables_of_layers
from jbn.convert._names import (
    Arrays,
    arrays_of_layers,
    check_chosen,
    check_pairs,
    check_transposed,
    listed,
)

NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
KNOWN = (*NORM, "num_batches_tracked")

# What a layer may consist of, by Flax's names
KINDS = [
    {"kernel"},
    {"kernel", "bias"},
    {"embedding"},
    {"scale"},
    {"scale", "bias"},
    {"mean", "var"},
    {"scale", "bias", "mean", "var"},
]


def from_pytorch(
    state_dict: Mapping[str, ArrayLike],
    names: Mapping[str, str],
    *,
    transposed: Collection[str] = (),
    embeddings: Collection[str] = (),
    flattened: Mapping[str, Sequence[int]] | None = None,
    num_values: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Flax's variables of PyTorch's state dict.

    What a module is, its arrays say:

        Linear                   weight (out, in)             kernel (in, out)
        Conv1d, Conv2d, Conv3d   weight (out, in, *window)    kernel (*window, in, out)
        norms                    weight, bias                 scale, bias
        … with running averages  running_mean, running_var    mean, var in batch_stats

    (with groups, `in` is that of one group), and where they can't, the arguments do:

        ConvTranspose1d, …       weight (in, out, *window)    kernel (*window, in, out), turned
                                                              around in space
        Embedding                weight (num, features)       embedding, the same

    The running variance is left as it is, for evaluation uses nothing else: so the outputs are
    PyTorch's. But PyTorch's running variance divides by n - 1 where its training batches, and
    everything in jbn, Flax and Keras, divide by n. To train on from what jbn would have, give the n
    of each layer in `num_values`:

        var = running_var * (n - 1) / n

    exactly, but for what is left of the initial 1.

    What is in no array has to be given to the layers: epsilon and momentum
    (`jbn.convert.batch_norm_arguments_from_pytorch`), padding, strides, groups.

    Args:
        state_dict: arrays by PyTorch's names (`"layer1.0.bn1.weight"`), CPU tensors or NumPy's.
            Each is used, except for `num_batches_tracked`, which has no counterpart.
        names: PyTorch's module (`"layer1.0.bn1"`) to Flax's path (`"Block_0/BatchNorm_0"`), for
            all modules with arrays. "" is the network itself, on either side.
        transposed: the modules that are transposed convolutions. Flax's has no groups, and here
            `transpose_kernel=False`, its default.
        embeddings: the modules that are embeddings; others with a weight of two axes are linear.
        flattened: a linear module or a norm that comes after a flattened feature map to that map's
            shape `(channels, *window)`. Its inputs are reordered, for Flax's map has the channels
            last, and so has what it is flattened to.
        num_values: batch normalization modules to how many values per channel a training batch had,
            batch size × height × width.

    Returns:
        `{"params": ..., "batch_stats": ...}`, nested dicts of new NumPy arrays of the same dtypes;
        16-bit running statistics become float32. A collection without arrays isn't there.

    Raises:
        TypeError: `transposed` or `embeddings` is a string.
        ValueError: an array or a name without counterpart, two modules for one path, arrays that
            are of no known module, or an argument that doesn't fit its module's arrays.

    Example:
        >>> import numpy as np
        >>> from jbn.convert import from_pytorch
        >>> state_dict = {"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3)}
        >>> variables = from_pytorch(state_dict, {"0": "Dense_0"})
        >>> variables["params"]["Dense_0"]["kernel"].shape
        (2, 3)
    """
    modules = arrays_of_layers("state_dict", state_dict, ".", KNOWN)
    check_pairs(names, names, "state_dict", modules)
    check_transposed(transposed, names)
    check_chosen("embeddings", embeddings, names)
    layers = {
        module: _flax_layer(module, arrays, module in transposed, module in embeddings)
        for module, arrays in modules.items()
    }
    for module, order in _orders(flattened, layers).items():
        layers[module] = _with_inputs(layers[module], order)
    for module, n in _counts(num_values, layers).items():
        layers[module]["var"] = layers[module]["var"] * ((n - 1) / n)
    return variables_of_layers({names[module]: layer for module, layer in layers.items()})


def to_pytorch(
    variables: Mapping[str, Any],
    names: Mapping[str, str],
    *,
    transposed: Collection[str] = (),
    flattened: Mapping[str, Sequence[int]] | None = None,
    num_values: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """PyTorch's state dict of Flax's variables: the way back of `jbn.convert.from_pytorch`.

    The same arguments give the same numbers again, bit for bit (except for the rounding of
    `num_values`). There is no `num_batches_tracked`; `load_state_dict`, strict too, takes a dict
    without it and leaves the module's own count, which matters for `momentum=None` only.

    Args:
        variables: `{"params": ..., "batch_stats": ...}`, nested dicts of arrays. Each is used.
        names, transposed, flattened, num_values: as in `jbn.convert.from_pytorch`. Embeddings have
            a name of their own in Flax.

    Returns:
        New NumPy arrays by PyTorch's names.

    Raises:
        TypeError: `transposed` is a string.
        ValueError: as `jbn.convert.from_pytorch`; or a layer that PyTorch doesn't have, such as a
            norm with a bias alone.

    Example:
        >>> import numpy as np
        >>> from jbn.convert import to_pytorch
        >>> dense = {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}
        >>> state_dict = to_pytorch({"params": {"Dense_0": dense}}, {"0": "Dense_0"})
        >>> {name: array.shape for name, array in state_dict.items()}
        {'0.weight': (3, 2), '0.bias': (3,)}
    """
    paths = layers_of_variables(variables)
    check_pairs(names, names.values(), "variables", paths)
    check_transposed(transposed, names)
    layers = {module: paths[path] for module, path in names.items()}
    for module, layer in layers.items():
        _check_layer("variables", module, layer, layer, module in transposed)
    for module, order in _orders(flattened, layers).items():
        layers[module] = _with_inputs(layers[module], np.argsort(order))
    for module, n in _counts(num_values, layers).items():
        layers[module]["var"] = layers[module]["var"] * (n / (n - 1))
    return {
        ".".join(filter(None, [module, name])): own(array)
        for module, layer in layers.items()
        for name, array in _pytorch_arrays(layer, module in transposed).items()
    }


def _flax_layer(module: str, arrays: Arrays, is_transposed: bool, is_embedding: bool) -> Arrays:
    """A module's arrays by Flax's names, in Flax's layouts."""
    arrays = {name: array for name, array in arrays.items() if name != "num_batches_tracked"}
    layer = {NORM[name]: array for name, array in arrays.items()}
    if is_embedding and "scale" in layer:
        layer["embedding"] = layer.pop("scale")
    elif "scale" in layer and layer["scale"].ndim > 1:
        # From (out, in, *window), or of a transposed convolution (in, out, *window).
        kernel = np.moveaxis(layer.pop("scale"), (0, 1), (-1, -2))
        layer["kernel"] = mirrored(kernel) if is_transposed else kernel
    _check_layer("state_dict", module, arrays, layer, is_transposed)
    return layer


def _pytorch_arrays(layer: Arrays, is_transposed: bool) -> Arrays:
    """A layer's arrays by PyTorch's names, in PyTorch's layouts."""
    arrays = {name: layer[flax_name] for name, flax_name in NORM.items() if flax_name in layer}
    if "embedding" in layer:
        return {"weight": layer["embedding"]}
    if "kernel" in layer:
        kernel = mirrored(layer["kernel"]) if is_transposed else layer["kernel"]
        return {"weight": np.moveaxis(kernel, (-1, -2), (0, 1)), **arrays}
    return arrays


def _check_layer(
    argument: str, module: str, found: Arrays, layer: Arrays, is_transposed: bool
) -> None:
    """The layer, which the argument has as `found`, is one of those that both sides have."""
    kernel = layer.get("kernel")
    if is_transposed and (kernel is None or kernel.ndim < 3):
        wanted = "a kernel with a window, as it is in transposed; take it out there"
    elif "embedding" in layer and (len(layer) > 1 or layer["embedding"].ndim != 2):
        wanted = "one array alone, of two axes, as it is an embedding"
    elif set(layer) not in KINDS:
        wanted = (
            "weight and bias, weight alone, or a norm's with both running_mean and running_var; "
            "add what is missing (a scale of ones, a bias of zeros)"
        )
    elif kernel is not None and not 2 <= kernel.ndim <= 5:
        wanted = "at most three axes besides those of the input and output channels"
    elif kernel is not None and "bias" in layer and layer["bias"].shape != kernel.shape[-1:]:
        wanted = (
            f"a bias of shape {kernel.shape[-1:]}. Transposed convolutions with groups (Flax has "
            "none), norms over several axes and dense layers with several axes of features are "
            "not converted: leave them out, and convert them by hand"
        )
    elif "kernel" not in layer and "embedding" not in layer and not _are_vectors(layer):
        wanted = "vectors of one size, as it is a norm"
    else:
        return
    having = listed(f"{name} {array.shape}" for name, array in found.items())
    raise ValueError(f"{argument}: found {module!r} to have {having}; wanted {wanted}")


def _are_vectors(layer: Arrays) -> bool:
    """All arrays have one axis, of one size."""
    shapes = {array.shape for array in layer.values()}
    return len(shapes) == 1 and len(*shapes) == 1


def _orders(
    flattened: Mapping[str, Sequence[int]] | None, layers: Mapping[str, Arrays]
) -> dict[str, np.ndarray]:
    """Where each entry of a map flattened with the channels last is if they are first."""
    flattened = flattened or {}
    check_chosen("flattened", flattened, layers)
    orders = {}
    for module, shape in flattened.items():
        layer = layers[module]
        inputs = layer.get("kernel", layer.get("mean", layer.get("scale", np.empty(()))))
        if inputs.shape[:1] != (math.prod(shape),) or inputs.ndim > 2:
            raise ValueError(
                f"flattened: found {tuple(shape)} for {module!r}, whose array is of shape "
                f"{inputs.shape} in Flax; wanted the shape (channels, *window) of the map before "
                "it, as many entries as a dense layer or a norm has inputs"
            )
        orders[module] = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1).ravel()
    return orders


def _with_inputs(layer: Arrays, order: np.ndarray) -> Arrays:
    """The layer for inputs in another order: a kernel's first axis, or all of a norm's arrays."""
    if "kernel" in layer:
        return layer | {"kernel": layer["kernel"][order]}
    return {name: array[order] for name, array in layer.items()}


def _counts(num_values: Mapping[str, int] | None, layers: Mapping[str, Arrays]) -> dict[str, int]:
    """Checked: each is of a layer with a variance, and leaves something when 1 is taken away."""
    num_values = dict(num_values or {})
    check_chosen("num_values", num_values, layers)
    for module, n in num_values.items():
        if "var" not in layers[module]:
            raise ValueError(
                f"num_values: found {module!r}, which has no running variance; wanted batch "
                "normalization only; take it out"
            )
        if n < 2:
            raise ValueError(
                f"num_values: found {n} for {module!r}, wanted at least 2: how many values per "
                "channel a training batch had, batch size × height × width"
            )
    return num_values
