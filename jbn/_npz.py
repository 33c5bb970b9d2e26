"""Reads npz files, which may be anybody's: nothing in one is believed, and nothing is unpickled."""

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

_BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")  # of a zip file; the second has nothing in it
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class BadNpzError(ValueError):
    """A file can't be read, is no npz file, or is damaged; in a few words, without its path."""


def npz_names(path: Path) -> set[str]:
    """The names of the arrays in an npz file.

    Raises:
        BadNpzError: as `read_npz`.
    """
    with _opened(path) as archive:
        return set(_members(archive))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, by name.

    Each has as many bytes as its header says, before memory is taken for them; and all of them fit
    into the memory of this machine.

    Raises:
        BadNpzError: the file can't be read, is no npz file, or is damaged.
    """
    with _opened(path) as archive:
        return {name: _read(archive, name, of) for name, of in _members(archive).items()}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with path.open("rb") as file:
            if file.read(4) not in _BEGINNINGS:
                raise BadNpzError("it is no zip file")
            with zipfile.ZipFile(file) as archive:
                yield archive
    except BadNpzError:
        raise
    except OSError as error:
        raise BadNpzError(error.strerror or str(error)) from None
    except Exception as error:  # zipfile, zlib and NumPy raise any error on what is damaged
        reason = str(error).partition("\n")[0][:200]
        raise BadNpzError(reason or type(error).__name__) from None


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files in the archive, by the names of their arrays."""
    found = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if len(found) < len(archive.infolist()):
        raise BadNpzError("two of its arrays have the same name")
    size, most = sum(info.file_size for info in found.values()), _memory()
    if most is not None and size > most:
        raise BadNpzError(
            f"its arrays are {size / 2**30:.3g} GiB, more than this machine's memory, "
            f"{most / 2**30:.3g} GiB"
        )
    return found


def _read(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise BadNpzError(f"{name} has fields, or an unknown format; wanted plain numbers")
        shape, _, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise BadNpzError(f"{name} holds Python objects, as a pickle, which jbn never loads")
        size = math.prod(shape) * dtype.itemsize
        if size != info.file_size - file.tell() or min(shape, default=0) < 0:
            raise BadNpzError(
                f"{name} has {info.file_size - file.tell()} bytes, and its header says {size}"
            )
    with archive.open(info) as file:
        return np.asarray(npy.read_array(file, allow_pickle=False))


def _memory() -> int | None:
    """The bytes of this machine's memory; None where the system doesn't say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
