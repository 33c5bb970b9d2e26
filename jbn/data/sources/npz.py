"""Data sets of the user's own: an npz file, or a table as text."""

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jbn.config import UserError
from jbn.data.sources.source import Source
from jbn.data.sources.user_arrays import as_float32, as_labels, offset_of

_NPZ_NAMES = ({"x", "y"}, {"x", "y", "x_test", "y_test"})
# What numpy and zipfile raise on damaged, foreign and encrypted files.
_NPZ_ERRORS = (
    *(OSError, ValueError, EOFError, KeyError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
_INTEGER = re.compile(r"\s*[+-]?\d+\s*")


def load_npz(path: str | Path) -> Source:
    """The arrays `x` and `y` of an npz file; and `x_test` and `y_test`, if it has them.

    x has the shape (examples, *features) and real numbers, which become float32 unless they are
    uint8; y has the shape (examples,) and integers from 0. Nothing pickled is ever loaded.

    Raises:
        UserError: the file can't be read, or its arrays aren't these.
    """
    arrays = _read_npz(path)
    x, y = _as_examples(path, arrays, "x", "y")
    offset = offset_of(x)
    x = _rounded(path, x, offset, "x")
    if "x_test" not in arrays:
        return Source(x, as_labels(path, y, "y[{}]".format), 0, str(path), offset)
    x_test, y_test = _as_examples(path, arrays, "x_test", "y_test")
    x_test = _rounded(path, x_test, offset, "x_test")
    if (x_test.dtype, x_test.shape[1:]) != (x.dtype, x.shape[1:]):
        raise UserError(
            f"{path}: found x_test of {x_test.dtype} and shape {x_test.shape}, wanted it as x, "
            f"which is of {x.dtype} and shape {x.shape}"
        )
    labels = as_labels(path, np.concatenate([y, y_test]), "[*y, *y_test][{}]".format)
    return Source(np.concatenate([x, x_test]), labels, len(y_test), str(path), offset)


def load_csv(path: str | Path) -> Source:
    """A table of numbers, comma separated, an example a line: the last number is its label.

    A first line that ends in a name, or has no number at all, is a header. So is 0,1,2,… where
    other lines have features that aren't written as integers: pandas writes such names. Labels are
    integers from 0; the rest becomes float32.

    Raises:
        UserError: the file can't be read, or holds anything else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: found bytes that are no UTF-8 text, wanted a CSV file") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
    lines = {number: line for number, line in enumerate(text.split("\n"), 1) if line.strip()}
    first = next(iter(lines), 0)
    if lines and _is_header(path, lines[first], [lines[n] for n in lines if n != first]):
        del lines[first]
    if not lines or "," not in next(iter(lines.values())):
        raise UserError(
            f"{path}: found no table, wanted lines such as 0.5,-1,2: the features, then the label"
        )
    try:
        table = np.loadtxt(list(lines.values()), delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        raise UserError(f"{path}: {next(_csv_mistakes(lines), error)}") from None
    numbers = list(lines)

    def at(row: int) -> str:
        return f"line {numbers[row]}"

    x, offset = table[:, :-1], offset_of(table[:, :-1])
    x, y = as_float32(path, x, offset, at), as_labels(path, table[:, -1], at)
    return Source(x, y, 0, str(path), offset)


def _read_npz(path: str | Path) -> dict[str, np.ndarray]:
    try:
        with Path(path).open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                raise zipfile.BadZipFile("it is no zip file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                names = set(archive.files)
                # What is no array in the file comes as bytes.
                arrays = {name: np.asarray(archive[name]) for name in names & _NPZ_NAMES[1]}
    except _NPZ_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise UserError(
            f"{path}: can't be read: {reason}; wanted an npz file, as numpy.savez writes it"
        ) from None
    if names not in _NPZ_NAMES:
        raise UserError(
            f"{path}: found the arrays {', '.join(sorted(names))}; wanted x and y, and maybe "
            "x_test and y_test"
        )
    return arrays


def _as_examples(
    path: str | Path, arrays: Mapping[str, np.ndarray], x_name: str, y_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """x and y as they are; an error unless they are examples and their labels."""
    x, y = arrays[x_name], arrays[y_name]
    if x.ndim < 2 or x.size == 0 or y.shape != x.shape[:1]:
        raise UserError(
            f"{path}: found {x_name} of shape {x.shape} and {y_name} of shape {y.shape}, wanted "
            "(examples, *features) and (examples,)"
        )
    if x.dtype.kind not in "biuf" or y.dtype.kind not in "iu":
        raise UserError(
            f"{path}: found {x_name} of {x.dtype} and {y_name} of {y.dtype}, wanted real numbers "
            "and integers"
        )
    return x, y


def _rounded(path: str | Path, x: np.ndarray, offset: np.ndarray | None, name: str) -> np.ndarray:
    """x as float32, less the offset; uint8 stays uint8."""
    return x if x.dtype == np.uint8 else as_float32(path, x, offset, f"{name}[{{}}]".format)


def _is_header(path: str | Path, line: str, others: Sequence[str]) -> bool:
    """Whether a table's first line names the columns; an error if it may be an example as well."""
    fields = [field.strip() for field in line.split(",")]
    if not any(map(_is_number, fields)) or not (_is_number(fields[-1]) or fields[-1] == ""):
        return True
    if len(fields) < 2 or fields != [str(column) for column in range(len(fields))]:
        return False
    if not all(_INTEGER.fullmatch(field) for other in others for field in other.split(",")[:-1]):
        return True
    raise UserError(
        f"{path}: found {line.strip()[:40]} in the first line, which may be an example or the "
        "names that pandas gives to columns; delete names, and move an example to another line"
    )


def _csv_mistakes(lines: Mapping[int, str]) -> Iterator[str]:
    """A sentence for each line of another length, and for each field that is no number."""
    wanted = next(iter(lines.values())).count(",") + 1
    for number, line in lines.items():
        fields = line.split(",")
        if len(fields) != wanted:
            yield f"found {len(fields)} values in line {number}, wanted {wanted} as in the first"
        for field in fields:
            if not _is_number(field):
                yield f"found {field.strip()[:40]!r} in line {number}, wanted a number"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text
