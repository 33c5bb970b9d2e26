"""One data set, or one kind of file, a module; `LOADERS` names them all.

Each loader returns a `Source`. A new data set is a new module here and a row in the table.
"""

import os
from collections.abc import Callable

from jbn.config import DataConfig, UserError
from jbn.data.sources.cifar10 import load_cifar10
from jbn.data.sources.csv import load_csv
from jbn.data.sources.digits import load_digits
from jbn.data.sources.mixture import load_mixture
from jbn.data.sources.mnist import load_mnist
from jbn.data.sources.npz import load_npz
from jbn.data.sources.source import Source
from jbn.data.sources.tables import load_breast_cancer, load_diabetes, load_wine

# From `data.name` to the function that reads the set.
LOADERS: dict[str, Callable[[DataConfig], Source]] = {
    "digits": lambda config: load_digits(),
    "breast_cancer": lambda config: load_breast_cancer(),
    "wine": lambda config: load_wine(),
    "diabetes": lambda config: load_diabetes(),
    "mixture": lambda config: load_mixture(**config.mixture.model_dump()),
    "mnist": lambda config: load_mnist("mnist", config.dir),
    "fashion_mnist": lambda config: load_mnist("fashion_mnist", config.dir),
    "cifar10": lambda config: load_cifar10(config.dir),
    "npz": lambda config: load_npz(_path(config), of_labels=config.targets == "labels"),
    "csv": lambda config: load_csv(
        _path(config), num_targets=None if config.targets == "labels" else config.num_targets
    ),
}


def _path(config: DataConfig) -> str:
    """Of the user's file. Raises UserError if it is a device or a pipe, which may have no end."""
    path = os.path.expanduser(config.path or "")
    if os.path.exists(path) and not os.path.isfile(path):
        found = "a folder" if os.path.isdir(path) else "a device or a pipe"
        raise UserError(f"data.path: {path}: found {found}, wanted a file")
    return path
