"""MNIST and Fashion-MNIST, from their four IDX files."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from jbn.config import UserError
from jbn.data.published.find import find_files
from jbn.data.published.gunzip import read_content
from jbn.data.sources.source import Source

_NUM_CLASSES = 10
_IMAGE = (28, 28)
_MOST_AXES = 32
_MAX_BYTES = 16 + 60_000 * 28 * 28  # of the largest file of a set, once unpacked


def read_idx(path: Path, *, max_bytes: int) -> np.ndarray:
    """The uint8 array in an IDX file, which may be gzipped.

    The format: two bytes 0, a byte 8 (for uint8), a byte d (the number of axes); d sizes of four
    bytes each, big-endian; the values, with the last axis fastest.

    Raises:
        UserError: the file is damaged, isn't IDX, or has more than `max_bytes` once unpacked.
    """
    content = read_content(path, max_bytes=max_bytes)
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= _MOST_AXES:
        raise UserError(
            f"{path}: found first bytes {content[:4].hex(' ') or '(none)'}, wanted 00 00 08 and "
            "the number of axes, an IDX file of uint8; fetch it again"
        )
    start = 4 + 4 * content[3]
    header = content[4:start]
    shape = tuple(int.from_bytes(header[at : at + 4], "big") for at in range(0, len(header), 4))
    if len(content) < start or len(content) - start != math.prod(shape):
        raise UserError(
            f"{path}: found {max(len(content) - start, 0)} values after the header, wanted "
            f"{' × '.join(map(str, shape))} as it says; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def load_mnist(name: Literal["mnist", "fashion_mnist"], data_dir: str | None) -> Source:
    """70000 images of 28 × 28 × 1 pixels, uint8, in 10 classes. The last 10000 are the test split.

    Args:
        name: which of the two sets.
        data_dir: the folder to look in first; None: there is none. `find_files` names the others.

    Raises:
        UserError: the files aren't found, or one of them is damaged.
    """
    folder, paths = find_files(name, data_dir)
    x_train, y_train = _read_split(paths, "train")
    x_test, y_test = _read_split(paths, "t10k")
    x = np.concatenate([x_train, x_test])[..., None]  # one channel
    y = np.concatenate([y_train, y_test]).astype(np.int32)
    return Source(x, y, len(y_test), str(folder))


def _read_split(paths: Mapping[str, Sequence[Path]], split: str) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of one split: uint8, of shapes (examples, 28, 28) and (examples,)."""
    (x_path,) = paths[f"{split}-images-idx3-ubyte.gz"]
    (y_path,) = paths[f"{split}-labels-idx1-ubyte.gz"]
    x, y = (read_idx(path, max_bytes=_MAX_BYTES) for path in (x_path, y_path))
    if y.ndim != 1 or (y >= _NUM_CLASSES).any():
        raise UserError(
            f"{y_path}: found labels of shape {y.shape} up to {y.max(initial=0)}, wanted "
            f"(examples,) up to {_NUM_CLASSES - 1}; fetch it again"
        )
    if x.shape != (len(y), *_IMAGE):
        raise UserError(
            f"{x_path}: found images of shape {x.shape}, wanted {(len(y), *_IMAGE)} for the "
            f"{len(y)} labels in {y_path.name}; fetch both again"
        )
    return x, y
