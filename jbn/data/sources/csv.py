"""A data set of the user's own: a table of numbers in a CSV file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jbn.config import UserError
from jbn.data.sources.source import Source
from jbn.data.sources.user_arrays import as_float32, as_labels, as_targets, offset_of

_INTEGER = re.compile(r"\s*[+-]?\d+\s*")


def load_csv(path: str | Path, *, num_targets: int | None = None) -> Source:
    """A table of numbers, separated by commas. Each line is an example; its last number, the label.

    With `num_targets`, the last so many numbers of a line are the targets of a regression.

    The first line is a header if it ends in a name or has no number. It is a header, too, if it is
    0,1,2,… and another line has a feature that isn't written as an integer: pandas writes such
    headers. Labels are integers from 0. The features become float32.

    Raises:
        UserError: the file can't be read, is no such table, or has a first line that may be a
            header or an example.
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

    x, y = np.split(table, [-(num_targets or 1)], axis=1)
    if not x.shape[1]:
        raise UserError(
            f"{path}: found {table.shape[1]} columns, wanted more than data.num_targets, "
            f"{num_targets}: the features come before the targets"
        )
    offset = offset_of(x)
    x = as_float32(path, x, offset, at)
    y = as_labels(path, y[:, 0], at) if num_targets is None else as_targets(path, y, at)
    return Source(x, y, 0, str(path), offset)


def _is_header(path: str | Path, line: str, others: Sequence[str]) -> bool:
    """Whether the first line names the columns. Raises UserError if it may be an example, too."""
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
    """A sentence for each line of a wrong length, and for each field that is no number."""
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
