"""A user's own inputs and labels: checked, and converted to the dtypes of a `Source`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jbn.config import UserError

_FAR = 64  # a column that is so many times its range from 0 loses 6 bits or more in float32
_BLOCK_SIZE = 2**20  # numbers


def as_float32(
    path: str | Path, x: np.ndarray, offset: np.ndarray | None, at: Callable[[int], str]
) -> np.ndarray:
    """x minus the offset, rounded to float32.

    Args:
        path: the file, for the error.
        x: real numbers, shape (examples, *features).
        offset: from `offset_of`; None: nothing is subtracted.
        at: says where in the file a row is, for the error.

    Raises:
        UserError: a number is NaN, infinite, or too large for float32.
    """
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
    """Whether all numbers of a row are finite, for each row."""
    return np.isfinite(x).reshape(len(x), -1).all(axis=1)


def offset_of(x: np.ndarray) -> np.ndarray | None:
    """What to subtract from each column of x, in float64; None if no column is far from zero.

    A column holds all numbers with the same index along the last axis. A column far from zero, such
    as milliseconds since 1970, would keep few digits in float32. Its offset is the middle of its
    range. The offset of every other column is 0.
    """
    if x.dtype.kind not in "iuf" or x.dtype.itemsize < 4 or x.dtype == np.float32:
        return None
    axes = tuple(range(x.ndim - 1))
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (extreme(x, axes).astype(np.float64) for extreme in (np.min, np.max))
        extent = high - low
        is_far = (extent > 0) & (np.maximum(np.abs(low), np.abs(high)) > _FAR * extent)
    return np.where(is_far, low + extent / 2, 0.0) if is_far.any() else None


def as_targets(path: str | Path, y: np.ndarray, at: Callable[[int], str]) -> np.ndarray:
    """y as float64; one column of several is a vector.

    Raises:
        UserError: a number is NaN or infinite.
    """
    y = y.astype(np.float64)
    finite = finite_rows(y)
    if not finite.all():
        row = int(np.argmin(finite))
        raise UserError(
            f"{path}: found the target {y[row]} in {at(row)}, wanted a finite number; leave the "
            "example out"
        )
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def as_labels(path: str | Path, y: np.ndarray, at: Callable[[int], str]) -> np.ndarray:
    """y as int32.

    Args:
        path: the file, for the error.
        y: numbers, shape (examples,).
        at: says where in the file a row is, for the error.

    Raises:
        UserError: a label is no integer, the smallest label isn't 0, or there are more classes than
            examples.
    """
    whole = y == np.round(y)
    if not whole.all():
        row = int(np.argmin(whole))
        raise UserError(
            f"{path}: found the label {y[row]} in {at(row)}, wanted an integer; for a regression "
            'set data.targets = "numbers"'
        )
    if y.min() != 0 or y.max() >= len(y):
        raise UserError(
            f"{path}: found labels from {y.min():g} to {y.max():g} of {len(y)} examples, wanted "
            "them from 0 up; number the classes 0, 1, 2 and so on"
        )
    return y.astype(np.int32)
