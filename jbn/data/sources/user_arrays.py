"""A user's own numbers, as a data set has them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jbn.config import UserError

_FAR = 64  # times its range: a column so far from 0 loses six bits and more to float32
_BLOCK_SIZE = 2**20  # numbers


def as_float32(
    path: str | Path, x: np.ndarray, offset: np.ndarray | None, at: Callable[[int], str]
) -> np.ndarray:
    """x less the offset, rounded to float32; `at` says of a row where it is in the file."""
    rounded = np.empty(x.shape, np.float32)
    rows = max(1, _BLOCK_SIZE * len(x) // x.size)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(x), rows):
            block = x[start : start + rows]
            rounded[start : start + rows] = block if offset is None else block - offset
    x = rounded
    finite = finite_rows(x)
    if not finite.all():
        row = int(np.argmin(finite))
        raise UserError(
            f"{path}: found a number in {at(row)} that is no finite float32; fill it in or leave "
            "the example out"
        )
    return x


def finite_rows(x: np.ndarray) -> np.ndarray:
    """Of each row, whether all of its numbers are finite."""
    return np.isfinite(x).reshape(len(x), -1).all(axis=1)


def offset_of(x: np.ndarray) -> np.ndarray | None:
    """The middle of each column that is far from zero, and 0 for the others; None if none is far.

    A column holds the numbers with one index along the last axis. In float32 a far one, such as
    times since 1970, would keep few digits.
    """
    if x.dtype.kind not in "iuf" or x.dtype.itemsize < 4 or x.dtype == np.float32:
        return None
    axes = tuple(range(x.ndim - 1))
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (extreme(x, axes).astype(np.float64) for extreme in (np.min, np.max))
        extent = high - low
        is_far = (extent > 0) & (np.maximum(np.abs(low), np.abs(high)) > _FAR * extent)
    return np.where(is_far, low + extent / 2, 0.0) if is_far.any() else None


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
