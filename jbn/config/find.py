"""The configs that come with jbn: some to run by their names, and one to begin with."""

import os
from pathlib import Path

from jbn.config.errors import UserError

_FOLDER = Path(__file__).with_name("packaged")
_TEMPLATE = Path(__file__).with_name("template.toml")


def packaged_names() -> list[str]:
    """The names of the configs that come with jbn."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def find_config(path: str | Path) -> Path:
    """The path, or where the packaged config of this name is. A file goes before a packaged config.

    Raises:
        UserError: it has no suffix, and is neither there nor packaged.
    """
    path = Path(path)
    if os.path.isfile(path):  # pathlib raises an error of a name that is too long
        return path
    if str(path) in packaged_names():
        return _FOLDER / f"{path}.toml"
    if not path.suffix and not os.path.exists(path):
        raise UserError(
            f"{path}: no such file, and no packaged config; wanted a TOML file, or one of "
            f"{', '.join(packaged_names())}"
        )
    return path


def write_template(path: str | Path) -> None:
    """Writes a commented config to begin with. It has a line for every key that is often changed.

    Raises:
        UserError: there is such a file already, or none can be written.
    """
    try:
        with Path(path).open("x", encoding="utf-8", newline="\n") as file:
            file.write(_TEMPLATE.read_text(encoding="utf-8"))
    except FileExistsError:
        raise UserError(
            f"{path}: found a file or folder of this name; wanted a new name: jbn init FILE"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: can't be written: {error.strerror}") from None
