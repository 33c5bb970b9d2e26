"""The user's own npz files: read as written, and every mistake named in one line, with its row."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from jbn.config import UserError
from jbn.data.sources.npz import load_npz

X = np.arange(12).reshape(4, 3)
Y = np.array([0, 2, 1, 0])


def npz(**arrays):
    """The bytes of an npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture
def load(tmp_path):
    """Writes bytes to data.npz, and loads that."""

    def load(content):
        path = tmp_path / "data.npz"
        path.write_bytes(content)
        return load_npz(str(path))

    return load


@pytest.mark.parametrize(
    "dtype", ["uint8", "bool", "int64", "float16", "float32", ">f8", "longdouble"]
)
@pytest.mark.parametrize("y_dtype", ["uint8", "int64", ">i2", "uint64"])
def test_arrays_are_read_as_they_are(load, tmp_path, dtype, y_dtype):
    wanted = dtype if dtype == "uint8" else "float32"
    source = load(npz(x=X.astype(dtype), y=Y.astype(y_dtype)))
    assert (source.x.dtype, source.y.dtype) == (wanted, np.int32)
    np.testing.assert_array_equal(source.x, X.astype(dtype).astype(wanted))
    np.testing.assert_array_equal(source.y, Y)
    assert (source.num_test, source.where) == (0, str(tmp_path / "data.npz"))


def test_the_arrays_own_test_split_comes_last(load):
    images = np.arange(48.0).reshape(6, 2, 2, 2)
    labels = [0, 1, 0, 1, 1, 2]
    source = load(npz(x=images[:4], y=labels[:4], x_test=images[4:], y_test=labels[4:]))
    np.testing.assert_array_equal(source.x, images.astype(np.float32))
    assert source.y.tolist() == labels
    assert source.num_test == 2


def test_compressed_arrays_are_read_too(tmp_path):
    np.savez_compressed(tmp_path / "data.npz", x=X, y=Y)
    np.testing.assert_array_equal(load_npz(tmp_path / "data.npz").x, X)


def with_value(x, at, value):
    x = np.array(x, np.float64)
    x[at] = value
    return x


def zipped(**members):
    """A zip file of bytes that need be no arrays."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def npy(x):
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


NO_FILE = "can't be read: .*; wanted an npz file"
GOOD = npz(x=X, y=Y)
BAD_ARRAYS = {
    "empty": (b"", NO_FILE),
    "text": (b"1,2,3\n", NO_FILE),
    "npy": (npy(X), "can't be read: it is no zip file; wanted an npz file"),
    "pickle": (pickle.dumps({"x": X, "y": Y}), NO_FILE),
    "cut": (GOOD[:-30], NO_FILE),
    "cut early": (GOOD[:100], NO_FILE),
    "checksum": (GOOD.replace(X.tobytes(), X.tobytes()[::-1]), NO_FILE),
    "array cut": (zipped(**{"x.npy": npy(X)[:-1], "y.npy": npy(Y)}), NO_FILE),
    "a huge shape": (
        zipped(**{"x.npy": npy(X).replace(b"(4, 3), }     ", b"(4, 3000000), }"), "y.npy": npy(Y)}),
        NO_FILE,
    ),
    "no array": (zipped(x=b"bytes", y=b"bytes"), NO_FILE),
    "names": (npz(x_train=X, y_train=Y), "found the arrays x_train, y_train; wanted x and y"),
    "a name too many": (npz(x=X, y=Y, extra=Y), "found the arrays extra, x, y; wanted x and y"),
    "half a test": (npz(x=X, y=Y, x_test=X), "found the arrays x, x_test, y; wanted x and y"),
    "lengths": (npz(x=X, y=Y[:3]), r"found x of shape \(4, 3\) and y of shape \(3,\), wanted"),
    "1-D": (npz(x=X[:, 0], y=Y), r"found x of shape \(4,\)"),
    "one-hot": (npz(x=X, y=np.eye(4, dtype=int)), r"y of shape \(4, 4\), wanted"),
    "no examples": (npz(x=X[:0], y=Y[:0]), r"found x of shape \(0, 3\)"),
    "no features": (npz(x=X[:, :0], y=Y), r"found x of shape \(4, 0\)"),
    "complex": (npz(x=X * 1j, y=Y), "found x of complex128 and y of int64, wanted real numbers"),
    "text in x": (npz(x=X.astype(str), y=Y), "found x of <U21"),
    "float labels": (npz(x=X, y=Y * 1.0), "found x of int64 and y of float64, wanted real numbers"),
    "bool labels": (npz(x=X, y=Y > 0), "y of bool"),
    "labels from 1": (npz(x=X, y=Y + 1), "found labels from 1 to 3 of 4 examples, wanted them fro"),
    "a negative label": (npz(x=X, y=Y - 1), "found labels from -1 to 1 of 4 examples"),
    "a huge label": (npz(x=X, y=Y * 10**18), r"found labels from 0 to 2e\+18 of 4 examples"),
    "NaN": (npz(x=with_value(X, (2, 1), np.nan), y=Y), r"a number in x\[2\] that is no finite fl"),
    "infinite": (npz(x=with_value(X, (3, 0), -np.inf), y=Y), r"a number in x\[3\] that is no fini"),
    "too large": (npz(x=with_value(X, (1, 0), 1e39), y=Y), r"a number in x\[1\] that is no finite"),
    "NaN in the test": (
        npz(x=X, y=Y, x_test=with_value(X, (2, 1), np.nan), y_test=Y),
        r"a number in x_test\[2\] that is no finite float32",
    ),
    "test of another shape": (
        npz(x=X, y=Y, x_test=X[:, :2], y_test=Y),
        r"found x_test of float32 and shape \(4, 2\), wanted it as x, which is of float32 and sha",
    ),
    "test of another dtype": (
        npz(x=X.astype(np.uint8), y=Y, x_test=X / 16, y_test=Y),
        "found x_test of float32 .* wanted it as x, which is of uint8",
    ),
    "test labels": (npz(x=X, y=Y, x_test=X, y_test=Y[:3]), r"y_test of shape \(3,\), wanted"),
}


@pytest.mark.parametrize("mistake", BAD_ARRAYS)
def test_a_mistake_in_an_npz_file_is_named(load, tmp_path, mistake):
    content, sentence = BAD_ARRAYS[mistake]
    with pytest.raises(UserError, match=sentence) as error:
        load(content)
    assert str(error.value).startswith(f"{tmp_path}/data.npz: ")
    assert "\n" not in str(error.value)


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_pickled_is_loaded(load, tmp_path):
    trap = np.array([Trap(tmp_path / "sprung")] * 4)
    for arrays in ({"x": trap, "y": Y}, {"x": X, "y": trap}, {"x": X, "y": Y, "more": trap}):
        with pytest.raises(UserError):
            load(npz(**arrays))
    with pytest.raises(UserError):
        load(pickle.dumps(trap))
    assert not (tmp_path / "sprung").exists()


def test_what_can_not_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match="none: can't be read: No such file"):
        load_npz(tmp_path / "none")
    with pytest.raises(UserError, match="can't be read: Is a directory"):
        load_npz(tmp_path)
