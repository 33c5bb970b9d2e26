"""Finds the files of a published data set on the disk, and verifies each of them."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from jbn.config import UserError
from jbn.data.published.registry import REGISTRY, FileSet


def find_files(name: str, data_dir: str | None) -> tuple[Path, dict[str, tuple[Path, ...]]]:
    """The folder that holds the files of a set, and the paths of these files.

    It looks in three places: `data_dir`, $JBN_DATA_DIR and the download cache. In each place it
    looks in the folder with the name of the set, then in the place itself, then in the folder that
    torchvision would use (not for CIFAR-10). The first folder that holds all files counts. A folder
    that holds another set's files of the same names is passed over. Each file may be there as
    published, or unpacked.

    Args:
        name: a set's name in the registry.
        data_dir: the place to look in first; None: there is none.

    Returns:
        The folder; and a dict from each published name to the path of that file, or to the paths of
        the files that it unpacks to.

    Raises:
        UserError: no folder holds all files, or the checksum of a file is wrong.
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
    """The folder of all downloaded sets. Each set has a folder of its name in it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "jbn" / "data"


def _places(data_dir: str | None) -> Iterator[tuple[Path, str]]:
    """Each place to look in, and what named it."""
    named = {"data.dir": data_dir, "$JBN_DATA_DIR": os.environ.get("JBN_DATA_DIR")}
    for origin, place in named.items():
        if place:
            yield Path(os.path.expanduser(place)), f" ({origin})"
    yield cache_dir(), ""


def _files_in(folder: Path, file_set: FileSet) -> dict[str, tuple[Path, ...]] | None:
    """The paths of the set's files, as published if possible, else unpacked; or None."""
    found = {}
    for published, unpacked in file_set.files.items():
        for names in [(published,), unpacked]:
            paths = tuple(folder / name for name in names)
            # If the folder can't be entered, Path.is_file may raise an error; this returns False.
            if all(map(os.path.isfile, paths)):
                found[published] = paths
                break
        else:
            return None
    return found


def _verify(name: str, files: dict[str, tuple[Path, ...]]) -> bool:
    """True if the files are the set's, False if they are another set's files of the same names.

    Raises:
        UserError: the checksum of a file is wrong.
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
