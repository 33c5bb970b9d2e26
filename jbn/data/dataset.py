"""From a data config to arrays."""

import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from jbn.config import AugmentConfig, DataConfig, UserError
from jbn.data.preprocess import fit_inputs
from jbn.data.sources.cifar10 import load_cifar10
from jbn.data.sources.digits import load_digits
from jbn.data.sources.mixture import load_mixture
from jbn.data.sources.mnist import load_mnist
from jbn.data.sources.npz import load_csv, load_npz
from jbn.data.sources.source import Source
from jbn.data.sources.tables import load_breast_cancer, load_wine
from jbn.functional._input_stats import InputStats


class Examples(NamedTuple):
    """Inputs and their integer labels: a batch, or a whole split."""

    x: Shaped[Any, "examples *features"]
    y: Int[Any, " examples"]


class Dataset(NamedTuple):
    """Three splits of raw inputs, uint8 or float32, and the statistics that normalize them."""

    train: Examples
    val: Examples
    test: Examples
    input_stats: InputStats  # of the training split
    num_classes: int
    sha256: str  # of all inputs and labels, before they are split
    where: str  # the data come from, for people
    input_offset: np.ndarray | None = None  # subtracted from the raw inputs already; None: 0


_LOADERS: dict[str, Callable[[DataConfig], Source]] = {
    "digits": lambda config: load_digits(),
    "breast_cancer": lambda config: load_breast_cancer(),
    "wine": lambda config: load_wine(),
    "mixture": lambda config: load_mixture(**config.mixture.model_dump()),
    "mnist": lambda config: load_mnist("mnist", config.dir),
    "fashion_mnist": lambda config: load_mnist("fashion_mnist", config.dir),
    "cifar10": lambda config: load_cifar10(config.dir),
    "npz": lambda config: load_npz(os.path.expanduser(config.path or "")),
    "csv": lambda config: load_csv(os.path.expanduser(config.path or "")),
}
# 45 batches of 32, so that nothing is left over where batch sizes are compared.
_DIGITS_TRAIN = 1440


def load(config: DataConfig) -> Dataset:
    """The data set that the config names, split with its seed, inputs and labels as they are.

    The set's own test split, where it has one, is the test split, and a tenth of the rest is for
    validation; elsewhere a tenth is for each. Examples of a split keep the set's order.

    Raises:
        UserError: the data aren't there, are damaged, or are too few.
    """
    x, y, num_test, where, offset = _LOADERS[config.name](config)
    if offset is not None and config.normalize == "none":
        x, where = _with_offset(x, offset, where)
        offset = None
    num_classes = int(y.max(initial=0)) + 1
    if len(y) - num_test < 10 or num_classes < 2:
        raise UserError(
            f"{where}: found {len(y) - num_test} examples to split, and {num_classes} classes, "
            "wanted at least 10 and 2"
        )
    digest = hashlib.sha256(x.tobytes())
    digest.update(y.tobytes())
    num_train = _DIGITS_TRAIN if config.name == "digits" else None
    rows = split_rows(len(y), num_test, config.split_seed, num_train=num_train)
    train, val, test = (Examples(x[r], y[r]) for r in rows)
    stats = fit_inputs(config, train.x)
    return Dataset(train, val, test, stats, num_classes, digest.hexdigest(), where, offset)


def _with_offset(x: np.ndarray, offset: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """The numbers as the file has them, in float32; and where they come from, with a warning."""
    far = ", ".join(str(column) for column in np.flatnonzero(offset))
    warning = (
        f"{where}; column {far} is so far from zero that float32 loses digits, and "
        'data.normalize = "none" keeps it there'
    )
    return (x + offset).astype(np.float32), warning


def load_all(configs: Iterable[DataConfig]) -> dict[DataConfig, Dataset]:
    """The data set of each config; what differs in what is done to batches alone is loaded once."""
    datasets: dict[DataConfig, Dataset] = {}
    loaded: dict[DataConfig, Dataset] = {}
    for config in configs:
        to_batches = {"augment": AugmentConfig(), "normalize": "none", "label_noise": 0.0}
        source = config.model_copy(update={**to_batches, "input_scale": 1.0})
        if source not in loaded:
            loaded[source] = load(source)
        datasets[config] = loaded[source]
    return datasets


def split_rows(
    num_examples: int, num_test: int, seed: int, *, num_train: int | None = None
) -> tuple[np.ndarray, ...]:
    """The rows of the training, validation and test split, each in the set's order.

    Without `num_train` a tenth is for validation; and a tenth for the test, unless the last
    `num_test` are.
    """
    num_others = num_examples - num_test
    order = np.random.default_rng(seed).permutation(num_others)
    if num_train is None:
        num_train = num_others - num_others // 10 * (1 if num_test else 2)
    num_val = num_others - num_train if num_test else (num_others - num_train) // 2
    train, val, test = np.split(order, [num_train, num_train + num_val])
    test = np.concatenate([test, np.arange(num_others, num_examples)])
    return tuple(np.sort(split) for split in (train, val, test))
