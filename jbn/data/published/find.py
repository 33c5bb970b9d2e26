"""Where a data set's files are, each verified before anything of it is used."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from jbn.config import UserError
from jbn.data.published.registry import REGISTRY, FileSet


def find_files(name: str, data_dir: str | None) -> tuple[Path, dict[str, tuple[Path, ...]]]:
    """The folder that holds a set's files, and the files by the names they are published under.

    The places looked at are `data_dir`, $JBN_DATA_DIR and the download cache; in each of them the
    folder of the set's name, the place itself, and torchvision's folder. The first folder that
    holds all files counts. Each file may lie there as published or unpacked, which may be several.

    Args:
        name: of the set, in the registry.
        data_dir: a place, the first looked at; None: there is none.

    Raises:
        UserError: no folder holds all files, or one of them is damaged: its checksum differs.
    """
    file_set = REGISTRY[name]
    places = list(_places(data_dir))
    for place, _ in places:
        for folder in file_set.folders:
            files = _files_in(place / folder, file_set)
            if files and _verify(name, files):
                return place / folder, files
    looked_at = ", ".join(f"{place}{origin}" for place, origin in places)
    raise UserError(
        f"{name}: found its files in none of {looked_at}; fetch them by `jbn download {name}`, or "
        "name their folder by data.dir or $JBN_DATA_DIR"
    )


def cache_dir() -> Path:
    """Where downloaded sets are kept, each in a folder of its name."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "jbn" / "data"


def _places(data_dir: str | None) -> Iterator[tuple[Path, str]]:
    """Each folder to look in, and who named it."""
    named = {"data.dir": data_dir, "$JBN_DATA_DIR": os.environ.get("JBN_DATA_DIR")}
    for origin, place in named.items():
        if place:
            yield Path(os.path.expanduser(place)), f" ({origin})"
    yield cache_dir(), ""


def _files_in(folder: Path, file_set: FileSet) -> dict[str, tuple[Path, ...]] | None:
    """The paths of all the set's files, as published if they are there, else unpacked; or None."""
    found = {}
    for published, unpacked in file_set.files.items():
        for names in [(published,), unpacked]:
            paths = tuple(folder / name for name in names)
            # os.path's is False too where the folder can't be entered.
            if all(map(os.path.isfile, paths)):
                found[published] = paths
                break
        else:
            return None
    return found


def _verify(name: str, files: dict[str, tuple[Path, ...]]) -> bool:
    """Whether the files are the set's: False if they are another set's files of the same names.

    Raises:
        UserError: a file is damaged.
    """
    wanted = REGISTRY[name].sha256
    digests = {path: _sha256(path) for paths in files.values() for path in paths}
    others = [other.sha256.values() for other in REGISTRY.values() if other.sha256 != wanted]
    if set(digests.values()) <= set().union(*others):
        return False
    for path, digest in digests.items():
        if digest != wanted[path.name]:
            raise UserError(
                f"{path}: found SHA-256 {digest[:12]}…, wanted {wanted[path.name][:12]}…, so it is "
                f"damaged or another file; remove it, then `jbn download {name}`"
            )
    return True


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
