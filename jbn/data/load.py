"""From a data config to arrays."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jbn.config import DataConfig
from jbn.data.digits import SPLIT_SIZES, load_digits
from jbn.data.inputs import fit_inputs, normalize_inputs
from jbn.functional._input_stats import InputStats


class Examples(NamedTuple):
    """Inputs and their integer labels: a batch, or a whole split."""

    x: Float[Any, "examples *features"]
    y: Int[Any, " examples"]


class Dataset(NamedTuple):
    """Three splits, already scaled and normalized; and the statistics which did that."""

    train: Examples
    val: Examples
    test: Examples
    input_stats: InputStats
    num_classes: int
    sha256: str


def load(config: DataConfig) -> Dataset:
    """The data set that the config names, split with its seed.

    The statistics that normalize the inputs are those of the training split; a feature that is
    constant there becomes 0.
    """
    x, y = load_digits()
    digest = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    order = np.random.default_rng(config.split_seed).permutation(len(x))
    ends = np.cumsum(SPLIT_SIZES)
    rows = np.split(order, ends[:-1])
    stats = fit_inputs(config, x[rows[0]])
    x = np.asarray(normalize_inputs(config, stats, x))
    train, val, test = (Examples(x[r], y[r]) for r in rows)
    return Dataset(train, val, test, stats, num_classes=int(y.max()) + 1, sha256=digest)
