"""CIFAR-10, from the archive of its binary version, or from the unpacked folder."""

import io
import tarfile
from pathlib import Path

import numpy as np

from jbn.config import UserError
from jbn.data.published.find import find_files
from jbn.data.published.gunzip import read_content
from jbn.data.published.registry import REGISTRY
from jbn.data.sources.source import Source

_ARCHIVE = "cifar-10-binary.tar.gz"
_BATCHES = REGISTRY["cifar10"].files[_ARCHIVE]  # paths in the archive; the last is the test split
_NUM_CLASSES = 10
_NUM_RECORDS = 10_000  # in each batch
_RECORD_BYTES = 1 + 3 * 32 * 32  # the label; then each channel, row by row


def load_cifar10(data_dir: str | None) -> Source:
    """60000 images of 32 × 32 × 3 pixels, uint8, in 10 classes. The last 10000 are the test split.

    Args:
        data_dir: the folder to look in first; None: there is none. `find_files` names the others.

    Raises:
        UserError: the files aren't found, or one of them is damaged.
    """
    folder, paths = find_files("cifar10", data_dir)
    match paths[_ARCHIVE]:
        case (path,):
            contents = _read_archive(path)
        case unpacked:
            contents = [read_content(path, max_bytes=_batch_bytes()) for path in unpacked]
    batches = [
        _parse_batch(folder / name, content)
        for name, content in zip(_BATCHES, contents, strict=True)
    ]
    x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return Source(x, y.astype(np.int32), _NUM_RECORDS, str(folder))


def _batch_bytes() -> int:
    return _NUM_RECORDS * _RECORD_BYTES


def _read_archive(path: Path) -> list[bytes]:
    """The bytes of each batch. It writes no file and trusts no size that the archive states."""
    limit = _batch_bytes()
    content = read_content(path, max_bytes=len(_BATCHES) * limit + 2**20)  # 1 MB for the rest
    batches = []
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for name in _BATCHES:
                member = archive.getmember(name)
                file = archive.extractfile(member) if member.isreg() else None  # no link or folder
                batches.append(file.read(limit + 1) if file else b"")
    except KeyError as error:
        raise UserError(f"{path}: damaged: {error.args[0]}; fetch it again") from None
    except (tarfile.TarError, ValueError, OverflowError, OSError) as error:
        raise UserError(f"{path}: damaged: {error}; fetch it again") from None
    return batches


def _parse_batch(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of a batch: uint8, of shapes (records, 32, 32, 3) and (records,)."""
    if len(content) != _batch_bytes():
        raise UserError(
            f"{path}: found {len(content)} bytes, wanted {_batch_bytes()}; fetch it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(_NUM_RECORDS, _RECORD_BYTES)
    y = records[:, 0]
    if (y >= _NUM_CLASSES).any():
        raise UserError(
            f"{path}: found label {y.max()}, wanted labels up to {_NUM_CLASSES - 1}; fetch it again"
        )
    x = records[:, 1:].reshape(_NUM_RECORDS, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(x), y
