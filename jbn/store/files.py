"""Files that are there whole, or as they were before."""

import json
import os
from pathlib import Path
from typing import Any

from jbn.config import UserError


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is there whole, or as it was before."""
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # else a power failure may leave the new name on an empty file
    unfinished.replace(path)


def sync(path: Path) -> None:
    """Waits until the file is on the disk, if there is one."""
    if path.exists():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def write_json(path: Path, content: Any) -> None:
    """Writes what JSON can say; NaN isn't among it."""
    write_whole(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, wanted: str = "a run") -> Any:
    """The content of the file.

    Raises:
        UserError: it can't be read, or isn't JSON.
    """
    try:
        return json.loads(read_text(path, wanted), parse_constant=_refused)
    except (ValueError, RecursionError) as error:  # a number, or nesting, beyond Python's limits
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: damaged: {error}; run it again") from None


def read_text(path: Path, wanted: str = "a run") -> str:
    """The text in the file.

    Raises:
        UserError: it can't be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "no text"
    raise UserError(f"{path}: can't be read ({reason}); wanted {wanted}")


def check_links(folder: Path) -> None:
    """Raises UserError where something in the folder leads outside of it, or is no file.

    A folder may be a stranger's: what is read or written there by its name has to be there.
    """
    if not folder.is_dir():
        return
    root = folder.resolve()
    left = [str(root)]
    while left:
        # What scandir tells of a file costs nothing: a folder may have 100,000 of them.
        for entry in _entries(left.pop()):
            if entry.is_symlink():
                if not _target(Path(entry)).is_relative_to(root):
                    raise UserError(
                        f"{entry.path}: found a link that leads outside of {folder}, wanted all of "
                        "a run inside its folder; remove the link"
                    )
            elif entry.is_dir(follow_symlinks=False):
                left.append(entry.path)
            elif not entry.is_file(follow_symlinks=False) and os.path.exists(entry):
                raise UserError(f"{entry.path}: found no file and no folder; remove it")


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """None of a folder that is gone meanwhile, or that nobody here can read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _target(link: Path) -> Path:
    try:
        return link.resolve(strict=True)
    except FileNotFoundError:
        return link.resolve()
    except (OSError, RuntimeError):  # it leads to itself
        return Path(os.sep)


def _refused(constant: str) -> None:
    raise ValueError(f"found {constant}, which isn't JSON")
