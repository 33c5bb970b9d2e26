"""A user's own numbers, as a data set has them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jbn.config import UserError


def as_float32(path: str | Path, x: np.ndarray, at: Callable[[int], str]) -> np.ndarray:
    """x rounded to float32; `at` says of a row where it is in the file."""
    with np.errstate(over="ignore", invalid="ignore"):
        x = x.astype(np.float32)
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise UserError(
            f"{path}: found a number in {at(row)} that is no finite float32; fill it in or leave "
            "the example out"
        )
    return x


def as_labels(path: str | Path, y: np.ndarray, at: Callable[[int], str]) -> np.ndarray:
    """y as int32; `at` says of a row where it is in the file."""
    whole = y == np.round(y)
    if not whole.all():
        row = int(np.argmin(whole))
        raise UserError(f"{path}: found the label {y[row]} in {at(row)}, wanted an integer")
    if y.min() != 0 or y.max() >= len(y):
        raise UserError(
            f"{path}: found labels from {y.min():g} to {y.max():g} of {len(y)} examples, wanted "
            "them from 0 up; number the classes 0, 1, 2 and so on"
        )
    return y.astype(np.int32)
