"""Tables as CSV files that grow line by line, and survive being killed between two bytes."""

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jbn.config import UserError
from jbn.store.files import write_whole

# A table in memory: its columns by name, each with an entry for every row.
Columns = Mapping[str, np.ndarray]
Row = Mapping[str, str]


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds rows to the table, a file with a line of names and a line for each row.

    All of them have the same names. Names that the table hasn't make new columns at its end, and
    its earlier rows are empty there.
    """
    if not rows:
        return
    names = _names(path)
    if new := [name for name in rows[0] if name not in names]:
        _widen(path, [*names, *new])
        names += new
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """The table: integers where a column has only these, else floats, else text.

    An empty entry among numbers is NaN. A last line without an end, of a run that is going on or
    was killed, is left out. Where there is no such file yet, there are no columns.

    Raises:
        UserError: the file can't be read, or is no table.
    """
    names, rows = _read(path)
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return {n: _array(n, column) for n, column in zip(names, columns, strict=True)}


def read_rows(path: Path) -> list[Row]:
    """The rows as they are written, without entries that are empty; as `read_columns` otherwise."""
    names, rows = _read(path)
    return [
        {name: text for name, text in zip(names, row, strict=True) if text != ""} for row in rows
    ]


def empty_entries(path: Path) -> dict[str, np.ndarray]:
    """Of each column, whether its entries are empty; as `read_columns` otherwise."""
    names, rows = _read(path)
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return {
        name: np.array([text == "" for text in column], bool)
        for name, column in zip(names, columns, strict=True)
    }


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes the table anew. Its columns come in the order in which they first have an entry."""
    if rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        file = io.StringIO()
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(path, file.getvalue())


def keep_rows(path: Path, is_kept: Callable[[int], bool], *, sort: bool = False) -> None:
    """Writes the table anew, with the rows that have such a number in their first column.

    Rows of the same number stay in the order that they came in, sorted or not. The new file takes
    the old one's place at once, so that a reader, or a run killed here, finds one of them whole.
    """
    if not path.exists():
        return
    try:
        names, *lines = _whole_lines(path).splitlines(keepends=True) or [""]
        kept = [line for line in lines if is_kept(_first(line))]
    except ValueError as error:
        raise _damaged(path, error) from None
    write_whole(path, "".join([names, *(sorted(kept, key=_first) if sort else kept)]))


def numbers_in(path: Path) -> set[int]:
    """The numbers in the first column."""
    if not path.exists():
        return set()
    try:
        return {_first(line) for line in _whole_lines(path).splitlines()[1:]}
    except ValueError as error:
        raise _damaged(path, error) from None


def keep_until(path: Path, numbers: Collection[int], column: str, last: int) -> None:
    """Writes the table anew without those rows of the numbers that are after `last` in a column."""
    if not numbers or not path.exists():
        return

    def is_kept(line: str) -> bool:
        return _first(line) not in numbers or int(next(csv.reader([line]))[place]) <= last

    try:
        head, *lines = _whole_lines(path).splitlines(keepends=True) or [""]
        place = _names(path).index(column) if lines else 0
        kept = [line for line in lines if is_kept(line)]
    except (ValueError, IndexError) as error:
        raise _damaged(path, error) from None
    if len(kept) < len(lines):
        write_whole(path, "".join([head, *kept]))


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names and the rows, each with an entry for every name."""
    try:
        lines = io.StringIO(_whole_lines(path), newline="")
        names, *rows = list(csv.reader(lines, strict=True)) or [[]]
        for row in rows:
            if len(row) != len(names):
                raise ValueError(f"found a row of {len(row)} entries, wanted {len(names)}")
        return names, rows
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from None
    except (ValueError, csv.Error) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: damaged: {error}; run it again")


def _names(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _widen(path: Path, names: Sequence[str]) -> None:
    """Writes the table anew with these columns, the first of which it has already."""
    old = csv.reader(io.StringIO(_whole_lines(path) if path.exists() else "", newline=""))
    rows = [row + [""] * (len(names) - len(row)) for row in list(old)[1:]]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([names, *rows])
    write_whole(path, file.getvalue())


def _whole_lines(path: Path) -> str:
    """The text up to its last end of a line."""
    text = path.read_bytes()
    return text[: text.rfind(b"\n") + 1].decode("utf-8")


def _first(line: str) -> int:
    return int(line.partition(",")[0])


def _text(value: Any) -> str:
    """NumPy writes a number with as many digits as bring it back; a row stays on one line."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def _array(name: str, texts: Iterable[str]) -> np.ndarray:
    texts = list(texts)
    if name != "arm":  # whose names may look like numbers
        for dtype in (int, float):
            try:
                return np.array([dtype(text or "nan") for text in texts], dtype)
            except (ValueError, OverflowError):
                pass
    return np.array(texts, dtype=str)
