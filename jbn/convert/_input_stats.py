"""Keras's Normalization layer to the arguments of jbn's input statistics and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_NAMES = ("mean", "variance", "count")


def input_stats_arguments_from_keras(
    weights: Mapping[str, ArrayLike], name: str
) -> dict[str, np.ndarray]:
    """The arguments of `jbn.known_input_stats` for a Keras Normalization layer that has seen data.

        std = sqrt(variance)

    With these statistics Keras's layer is `jbn.standardize`; with `invert=True` it is
    `jbn.unstandardize`. A layer that was made with a mean and a variance has no weights.

    Args:
        weights: arrays by Keras's paths, `{v.path: np.asarray(v) for v in model.weights}`.
        name: the layer's path, such as `"normalization"`.

    Returns:
        `{"mean": ..., "std": ...}`: new NumPy arrays. Keras 3 doesn't count the data.

    Raises:
        ValueError: the weights have no mean and variance of that layer.

    Example:
        >>> import numpy as np, jbn
        >>> from jbn.convert import input_stats_arguments_from_keras
        >>> weights = {"n/mean": np.array([1.0]), "n/variance": np.array([4.0])}
        >>> stats = jbn.known_input_stats(**input_stats_arguments_from_keras(weights, "n"))
        >>> print(stats.mean, stats.std)
        [1.] [2.]
    """
    paths = [f"{name}/{part}" for part in _NAMES[:2]]
    missing = [path for path in paths if path not in weights]
    if missing:
        raise ValueError(
            f"weights: found no {' and no '.join(missing)}, wanted the mean and the variance of a "
            "Normalization layer that has adapted to data"
        )
    mean, variance = (np.array(weights[path]) for path in paths)
    return {"mean": mean, "std": np.sqrt(variance)}


def input_stats_to_keras(stats: Any, name: str) -> dict[str, np.ndarray]:
    """The weights of a Keras Normalization layer, of jbn's `InputStats`.

        for v in layer.weights: v.assign(weights[v.path])
        layer.finalize_state()

    Args:
        stats: input statistics, by `jbn.update_input_stats` or `jbn.known_input_stats`.
        name: the layer's path, such as `"normalization"`.

    Returns:
        New arrays by Keras's paths: `mean` and `variance` in float32, `count` an int32 number.

    Example:
        >>> import jbn
        >>> from jbn.convert import input_stats_to_keras
        >>> input_stats_to_keras(jbn.known_input_stats([1.0], [2.0], count=10.0), "n")["n/variance"]
        array([4.], dtype=float32)
    """
    mean, std = (np.asarray(v, np.float64) for v in (stats.mean, stats.std))
    values = mean.astype(np.float32), (std**2).astype(np.float32)
    count = np.asarray(np.max(stats.count), np.int32)
    return dict(zip((f"{name}/{part}" for part in _NAMES), (*values, count), strict=True))
