"""Small files that stand in for published ones, and places that are nobody's own."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from jbn.config import UserError
from jbn.data.published.registry import REGISTRY


@pytest.fixture
def places(monkeypatch, tmp_path):
    """A folder without any data; the environment names no place but an empty cache in it."""
    monkeypatch.delenv("JBN_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def real(monkeypatch, tmp_path):
    """Loads real files from $JBN_DATA_DIR; a test whose files aren't there is skipped."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def real(load, *arguments):
        if not os.environ.get("JBN_DATA_DIR"):
            pytest.skip("JBN_DATA_DIR isn't set: it names the folder of the real files")
        try:
            return load(*arguments)
        except UserError as error:
            if "found its files in none of" not in str(error):
                raise
            pytest.skip(str(error))

    return real


@pytest.fixture
def publish(monkeypatch):
    """Makes the given files the published ones of a set: their checksums are wanted from now on."""

    def publish(name, contents, **changes):
        sums = {
            Path(file).name: hashlib.sha256(data).hexdigest() for file, data in contents.items()
        }
        monkeypatch.setitem(REGISTRY, name, REGISTRY[name]._replace(sha256=sums, **changes))

    return publish


@pytest.fixture
def write():
    """Writes files, given as a dict from path to bytes, below a folder."""

    def write(folder, contents):
        for name, data in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    return write


@pytest.fixture
def idx():
    """The bytes of an IDX file of the given uint8 values."""

    def idx(values):
        values = np.asarray(values, np.uint8)
        header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
        return header + values.tobytes()

    return idx


@pytest.fixture
def mnist(idx):
    """Eight files: five training and three test images; as published, and the same unpacked."""
    rng = np.random.default_rng(0)
    plain = {
        "train-images-idx3-ubyte": idx(rng.integers(0, 256, (5, 28, 28))),
        "train-labels-idx1-ubyte": idx([3, 1, 4, 1, 9]),
        "t10k-images-idx3-ubyte": idx(rng.integers(0, 256, (3, 28, 28))),
        "t10k-labels-idx1-ubyte": idx([0, 2, 7]),
    }
    return plain | {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in plain.items()}
