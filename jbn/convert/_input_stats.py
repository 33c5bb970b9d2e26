"""Keras's Normalization layer to jbn's input statistics and back."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from jbn.functional._input_stats import InputStats, known_input_stats

_NAMES = ("mean", "variance", "count")


def input_stats_from_keras(weights: Mapping[str, ArrayLike], name: str) -> InputStats:
    """The input statistics of a Keras Normalization layer that has seen data.

        std = sqrt(variance)

    Keras's layer is then `jbn.standardize`; with `invert=True` it is `jbn.unstandardize`. A layer
    that was made with a mean and a variance has no weights: `jbn.known_input_stats` takes these.

    Args:
        weights: arrays by Keras's paths, `{v.path: np.asarray(v) for v in model.weights}`.
        name: the layer's path, such as `"normalization"`.

    Returns:
        `InputStats` of float32 arrays. The smallest and the largest value are unknown.

    Raises:
        ValueError: the weights have no mean and variance of that layer.

    Example:
        >>> import numpy as np, jbn
        >>> from jbn.convert import input_stats_from_keras
        >>> weights = {"n/mean": np.array([1.0]), "n/variance": np.array([4.0]), "n/count": 10}
        >>> stats = input_stats_from_keras(weights, "n")
        >>> print(stats.count, stats.mean, stats.std)
        [10.] [1.] [2.]
    """
    paths = [f"{name}/{part}" for part in _NAMES]
    missing = [path for path in paths[:2] if path not in weights]
    if missing:
        raise ValueError(
            f"weights: found no {' and no '.join(missing)}, wanted the mean and the variance of a "
            "Normalization layer that has adapted to data"
        )
    mean, variance = (np.asarray(weights[path], np.float64) for path in paths[:2])
    # Keras 3 leaves the count at 0.
    count = float(np.asarray(weights.get(paths[2], 0)))
    return known_input_stats(mean, np.sqrt(variance), count=max(count, 1.0))


def input_stats_to_keras(stats: InputStats, name: str) -> dict[str, np.ndarray]:
    """The weights of a Keras Normalization layer: the way back of `input_stats_from_keras`.

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
