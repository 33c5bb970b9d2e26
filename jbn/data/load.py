"""From a data config to arrays."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jbn.config import DataConfig
from jbn.data.digits import SPLIT_SIZES, load_digits


class Examples(NamedTuple):
    """Inputs and their integer labels: a batch, or a whole split."""

    x: Float[Any, "examples *features"]
    y: Int[Any, " examples"]


class Dataset(NamedTuple):
    """Three splits, already normalized by `(x - input_mean) / input_std`."""

    train: Examples
    val: Examples
    test: Examples
    input_mean: np.ndarray
    input_std: np.ndarray
    num_classes: int
    sha256: str


def load(config: DataConfig) -> Dataset:
    """The data set that the config names, split with its seed.

    The statistics that normalize the inputs are those of the training split; a feature that is
    constant there keeps its scale.
    """
    x, y = load_digits()
    digest = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    order = np.random.default_rng(config.split_seed).permutation(len(x))
    x = x * np.float32(config.input_scale)
    ends = np.cumsum(SPLIT_SIZES)
    rows = np.split(order, ends[:-1])
    if config.normalize == "standardize":
        mean, std = x[rows[0]].mean(0, dtype=np.float64), x[rows[0]].std(0, dtype=np.float64)
        std[std == 0] = 1
    else:
        mean, std = np.zeros(x.shape[1]), np.ones(x.shape[1])
    x = ((x - mean) / std).astype(np.float32)
    train, val, test = (Examples(x[r], y[r]) for r in rows)
    return Dataset(train, val, test, mean, std, num_classes=int(y.max()) + 1, sha256=digest)
