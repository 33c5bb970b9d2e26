"""Keras's weights to Flax's variables and back."""

from collections.abc import Collection, Mapping
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

# The arrays of each kind of layer: Keras's names to Flax's
LINEAR = {"kernel": "kernel", "bias": "bias"}
NORM = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
RMS_NORM = {"scale": "scale"}
EMBEDDING = {"embeddings": "embedding"}
KINDS = (LINEAR, NORM, RMS_NORM, EMBEDDING)
KNOWN = tuple(name for kind in KINDS for name in kind)


def from_keras(
    weights: Mapping[str, ArrayLike],
    names: Mapping[str, str],
    *,
    transposed: Collection[str] = (),
    depthwise: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Flax's variables of the weights of a Keras 3 model.

        weights = {v.path: np.asarray(v) for v in model.weights}

    The words differ, most layouts don't:

        Dense, Conv1D, 2D, 3D   kernel, bias                        the same
        norms                   gamma (RMSNormalization: scale)     scale
                                beta                                bias
        BatchNormalization      moving_mean, moving_variance        mean, var in batch_stats
        Embedding               embeddings                          embedding

    Which kernels have another layout their shapes can't say, but the arguments do:

        Conv1DTranspose, …      kernel (*window, out, in)           kernel (*window, in, out),
                                                                    turned around in space
        DepthwiseConv1D, 2D     kernel (*window, in, multiplier)    kernel (*window, 1,
                                                                    in * multiplier)

    A separable convolution is two of Flax's layers; rename its arrays to those of two layers first.
    The moving variance divides by n and the momentum is the weight of the old value, as in Flax.
    What is in no array has to be given to the layers: Keras's epsilon is 1e-3 unless said
    otherwise (`jbn.convert.batch_norm_arguments_from_keras`).

    Args:
        weights: arrays by Keras's paths (`"dense/kernel"`, or `"sequential/dense/kernel"`). Each
            is used. `model.variables` has what isn't for conversion too, such as a dropout's seed.
        names: Keras's layer (`"sequential/dense"`) to Flax's path (`"Block_0/Dense_0"`), for all
            layers with weights.
        transposed: the layers that are transposed convolutions. In Flax with
            `transpose_kernel=False`, its default.
        depthwise: the layers that are depthwise convolutions to their `depth_multiplier`. In Flax
            they are a `Conv` with `feature_group_count` the number of input channels.

    Returns:
        `{"params": ..., "batch_stats": ...}`, nested dicts of new NumPy arrays of the same dtypes;
        16-bit running statistics become float32. A collection without arrays isn't there.

    Raises:
        TypeError: `transposed` is a string.
        ValueError: an array or a name without counterpart, two layers for one path, or an argument
            that doesn't fit its layer's arrays.

    Example:
        >>> import numpy as np
        >>> from jbn.convert import from_keras
        >>> weights = {"norm/gamma": np.ones(2), "norm/beta": np.zeros(2)}
        >>> from_keras(weights, {"norm": "LayerNorm_0"})
        {'params': {'LayerNorm_0': {'scale': array([1., 1.]), 'bias': array([0., 0.])}}}
    """
    paths = arrays_of_layers("weights", weights, "/", KNOWN)
    check_pairs(names, names, "weights", paths)
    check_transposed(transposed, names)
    check_chosen("depthwise", depthwise or {}, names)
    layers = {
        names[name]: _flax_layer(name, arrays, name in transposed, (depthwise or {}).get(name))
        for name, arrays in paths.items()
    }
    return variables_of_layers(layers)


def to_keras(
    variables: Mapping[str, Any],
    names: Mapping[str, str],
    *,
    transposed: Collection[str] = (),
    depthwise: Mapping[str, int] | None = None,
    rms_norms: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The weights of a Keras 3 model of Flax's variables: the way back of `jbn.convert.from_keras`.

        for v in model.weights: v.assign(weights[v.path])

    The same arguments give the same numbers again, bit for bit.

    Args:
        variables: `{"params": ..., "batch_stats": ...}`, nested dicts of arrays. Each is used.
        names, transposed, depthwise: as in `jbn.convert.from_keras`.
        rms_norms: the layers that are RMSNormalization, whose scale isn't called gamma.

    Returns:
        New NumPy arrays by Keras's paths.

    Raises:
        TypeError: `transposed` or `rms_norms` is a string.
        ValueError: as `jbn.convert.from_keras`.

    Example:
        >>> import numpy as np
        >>> from jbn.convert import to_keras
        >>> norm = {"scale": np.ones(2), "bias": np.zeros(2)}
        >>> to_keras({"params": {"LayerNorm_0": norm}}, {"norm": "LayerNorm_0"})
        {'norm/gamma': array([1., 1.]), 'norm/beta': array([0., 0.])}
    """
    paths = layers_of_variables(variables)
    check_pairs(names, names.values(), "variables", paths)
    check_transposed(transposed, names)
    check_chosen("depthwise", depthwise or {}, names)
    check_chosen("rms_norms", rms_norms, names)
    return {
        "/".join(filter(None, [name, keras_name])): own(array)
        for name, path in names.items()
        for keras_name, array in _keras_layer(
            name,
            paths[path],
            name in transposed,
            (depthwise or {}).get(name),
            name in rms_norms,
        ).items()
    }


def _flax_layer(
    name: str, arrays: Arrays, is_transposed: bool, depth_multiplier: int | None
) -> Arrays:
    """A layer's arrays by Flax's names, in Flax's layouts."""
    kind = next((kind for kind in KINDS if set(arrays) <= set(kind)), None)
    if kind is None:
        wanted = " or ".join(", ".join(kind) for kind in KINDS)
        raise ValueError(
            f"weights: found {name!r} to have {listed(arrays)}, wanted {wanted}; leave it out, "
            "and convert it by hand"
        )
    layer = {kind[keras_name]: array for keras_name, array in arrays.items()}
    if is_transposed:
        layer["kernel"] = mirrored(_with_window("transposed", name, layer))
    if depth_multiplier is not None:
        kernel = _with_window("depthwise", name, layer)
        *window, num_inputs, found = kernel.shape
        if found != depth_multiplier:
            raise ValueError(
                f"depthwise: found {depth_multiplier} for {name!r}, wanted {found}, the last of "
                f"its kernel's shape {kernel.shape}"
            )
        layer["kernel"] = kernel.reshape(*window, 1, num_inputs * found)
    return layer


def _keras_layer(
    name: str,
    layer: Arrays,
    is_transposed: bool,
    depth_multiplier: int | None,
    is_rms_norm: bool,
) -> Arrays:
    """A layer's arrays by Keras's names, in Keras's layouts."""
    if "kernel" in layer:
        kind = LINEAR
    elif "embedding" in layer:
        kind = EMBEDDING
    else:
        kind = RMS_NORM if is_rms_norm else NORM
    if not set(layer) <= set(kind.values()):
        raise ValueError(
            f"variables: found {name!r} to have {listed(layer)}, wanted {listed(kind.values())} "
            "alone; leave it out, and convert it by hand"
        )
    arrays = {keras_name: layer[n] for keras_name, n in kind.items() if n in layer}
    if is_transposed:
        arrays["kernel"] = mirrored(_with_window("transposed", name, layer))
    if depth_multiplier is not None:
        kernel = _with_window("depthwise", name, layer)
        *window, per_group, num_outputs = kernel.shape
        if per_group != 1 or depth_multiplier < 1 or num_outputs % depth_multiplier:
            raise ValueError(
                f"depthwise: found {depth_multiplier} for {name!r}, whose kernel is of shape "
                f"{kernel.shape}; wanted a divisor of the last size, and 1 before it"
            )
        arrays["kernel"] = kernel.reshape(*window, -1, depth_multiplier)
    return arrays


def _with_window(argument: str, name: str, layer: Arrays) -> np.ndarray:
    """The kernel of a layer that the argument speaks of."""
    kernel = layer.get("kernel")
    if kernel is None or kernel.ndim < 3:
        raise ValueError(
            f"{argument}: found {name!r}, which has no kernel with a window; wanted convolutions "
            "alone; take it out"
        )
    return kernel
