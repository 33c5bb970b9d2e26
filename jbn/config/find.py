"""The configs that come with jbn, by name."""

from pathlib import Path

from jbn.config.errors import UserError

_FOLDER = Path(__file__).with_name("packaged")


def packaged_names() -> list[str]:
    """The names of the configs that come with jbn."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def find_config(path: Path) -> Path:
    """The path, or where the packaged config of this name is. A file goes before a packaged config.

    Raises:
        UserError: it has no suffix, and is neither there nor packaged.
    """
    if path.is_file():
        return path
    if str(path) in packaged_names():
        return _FOLDER / f"{path}.toml"
    if not path.suffix and not path.exists():
        raise UserError(
            f"{path}: no such file, and no packaged config; wanted a TOML file, or one of "
            f"{', '.join(packaged_names())}"
        )
    return path
