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
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "no text"
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: damaged: {error}; run it again") from None
    raise UserError(f"{path}: can't be read ({reason}); wanted {wanted}")
