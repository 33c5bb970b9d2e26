"""A data set of the user's own: arrays in an npz file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jbn._npz import BadNpzError, npz_names, read_npz
from jbn.config import UserError
from jbn.config.errors import shortened
from jbn.data.sources.source import Source
from jbn.data.sources.user_arrays import as_float32, as_labels, as_targets, offset_of

_NPZ_NAMES = ({"x", "y"}, {"x", "y", "x_test", "y_test"})


def load_npz(path: str | Path, *, of_labels: bool = True) -> Source:
    """The arrays `x` and `y` of an npz file, and `x_test` and `y_test` if it has them.

    x has the shape (examples, *features) and holds real numbers. uint8 stays uint8; all other
    numbers become float32. y has the shape (examples,) and holds integers from 0; the targets of a
    regression are real numbers of the shape (examples,) or (examples, targets). x_test and y_test
    are the test split. Nothing pickled is ever loaded.

    Raises:
        UserError: the file can't be read, or it holds other arrays.
    """
    arrays = _read_npz(path)
    as_wanted = as_labels if of_labels else as_targets
    x, y = _as_examples(path, arrays, "x", "y", of_labels)
    offset = offset_of(x)
    x = _rounded(path, x, offset, "x")
    if "x_test" not in arrays:
        return Source(x, as_wanted(path, y, "y[{}]".format), 0, str(path), offset)
    x_test, y_test = _as_examples(path, arrays, "x_test", "y_test", of_labels)
    x_test = _rounded(path, x_test, offset, "x_test")
    if (x_test.dtype, x_test.shape[1:]) != (x.dtype, x.shape[1:]):
        raise UserError(
            f"{path}: found x_test of {x_test.dtype} and shape {x_test.shape}, wanted it as x, "
            f"which is of {x.dtype} and shape {x.shape}"
        )
    if y_test.shape[1:] != y.shape[1:]:
        raise UserError(
            f"{path}: found y_test of shape {y_test.shape} and y of shape {y.shape}, wanted as "
            "many targets"
        )
    targets = as_wanted(path, np.concatenate([y, y_test]), "[*y, *y_test][{}]".format)
    return Source(np.concatenate([x, x_test]), targets, len(y_test), str(path), offset)


def _read_npz(path: str | Path) -> dict[str, np.ndarray]:
    try:
        names = npz_names(Path(path))
        if names in _NPZ_NAMES:
            return read_npz(Path(path))
    except BadNpzError as error:
        raise UserError(
            f"{path}: can't be read: {error}; wanted an npz file, as numpy.savez writes it"
        ) from None
    raise UserError(
        f"{path}: found the arrays {shortened(', '.join(sorted(names)))}; wanted x and y, and "
        "maybe x_test and y_test"
    )


def _as_examples(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    x_name: str,
    y_name: str,
    of_labels: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """x and y, unchanged. Raises UserError if they aren't examples and their targets."""
    x, y = arrays[x_name], arrays[y_name]
    fits = y.shape[:1] == x.shape[:1] and y.size and y.ndim in ((1,) if of_labels else (1, 2))
    if x.ndim < 2 or x.size == 0 or not fits:
        wanted = "(examples,)" if of_labels else "(examples,) or (examples, targets)"
        raise UserError(
            f"{path}: found {x_name} of shape {x.shape} and {y_name} of shape {y.shape}, wanted "
            f"(examples, *features) and {wanted}"
        )
    if x.dtype.kind not in "biuf" or y.dtype.kind not in ("iu" if of_labels else "iuf"):
        wanted = (
            'integers; for a regression set data.targets = "numbers"'
            if of_labels
            else "real numbers too"
        )
        raise UserError(
            f"{path}: found {x_name} of {x.dtype} and {y_name} of {y.dtype}, wanted real numbers "
            f"and {wanted}"
        )
    return x, y


def _rounded(path: str | Path, x: np.ndarray, offset: np.ndarray | None, name: str) -> np.ndarray:
    """x minus the offset, as float32. uint8 stays uint8."""
    return x if x.dtype == np.uint8 else as_float32(path, x, offset, f"{name}[{{}}]".format)
