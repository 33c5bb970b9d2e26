"""IDX files: read as written with struct, and every damage named in one line."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from jbn.config import DataConfig, UserError
from jbn.data import load
from jbn.data.published.find import find_files
from jbn.data.published.registry import REGISTRY
from jbn.data.sources.mnist import load_mnist, read_idx

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["values", "values.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(24,), (6, 4), (2, 3, 4), (2, 1, 3, 4), (0, 28, 28)])
def test_values_are_read_by_content_and_not_by_name(tmp_path, idx, name, pack, shape):
    values = VALUES.ravel()[: np.prod(shape)].reshape(shape)
    (tmp_path / name).write_bytes(pack(idx(values)))
    found = read_idx(tmp_path / name, max_bytes=100)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values)


def test_the_first_axis_is_the_slowest(tmp_path):
    (tmp_path / "x").write_bytes(struct.pack(">4B2I6B", 0, 0, 8, 2, 2, 3, 1, 2, 3, 4, 5, 6))
    assert read_idx(tmp_path / "x", max_bytes=18).tolist() == [[1, 2, 3], [4, 5, 6]]


def damaged_files():
    data = struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + VALUES.tobytes()
    zipped = gzip.compress(data)
    return {
        "empty": (b"", r"found first bytes \(none\), wanted 00 00 08"),
        "wrong magic": (b"\1" + data[1:], "found first bytes 01 00 08 03, wanted 00 00 08"),
        "floats": (b"\0\0\x0d" + data[3:], "found first bytes 00 00 0d 03"),
        "no axes": (b"\0\0\x08\0\5", "found first bytes 00 00 08 00"),
        "header cut": (data[:9], "found 0 values after the header, wanted 2"),
        "header alone": (data[:16], "found 0 values after the header, wanted 2 × 3 × 4"),
        "content cut": (data[:-1], "found 23 values after the header, wanted 2 × 3 × 4"),
        "content cut, then zipped": (gzip.compress(data[:-1]), "found 23 values"),
        "more content": (data + b"\0", "found 25 values after the header"),
        "a large count": (data[:4] + b"\xff" * 12 + data[16:], "wanted 4294967295 × 4294967295"),
        "gzip cut": (zipped[:-9], "found a gzip file that ends early"),
        "gzip's checksum cut": (zipped[:-1], "found a gzip file that ends early"),
        "gzip's header alone": (zipped[:2], "found a gzip file that ends early"),
        "gzip's checksum": (zipped[:-8] + b"\0" * 8, "found a damaged gzip file"),
        "gzip's content": (zipped[:10] + b"\xff" * 9 + zipped[19:], "found a damaged gzip file"),
        "too long": (data + bytes(99), "found more than 100 bytes of content"),
        "too long, zipped": (gzip.compress(data + bytes(99)), "found more than 100 bytes"),
    }


@pytest.mark.parametrize("damage", damaged_files())
def test_damage_is_named(tmp_path, damage):
    content, sentence = damaged_files()[damage]
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match=sentence) as error:
        read_idx(tmp_path / "x", max_bytes=100)
    assert str(error.value).startswith(f"{tmp_path / 'x'}: ")
    assert str(error.value).endswith("; fetch it again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_the_test_images_of_mnist_come_last(places, publish, write, mnist, zipped):
    publish("mnist", mnist)
    write(places / "mnist", {k: v for k, v in mnist.items() if k.endswith(".gz") == zipped})
    source = load_mnist("mnist", str(places))
    assert (source.x.dtype, source.y.dtype) == (np.uint8, np.int32)
    assert source.x.shape == (8, 28, 28, 1)
    train, test = mnist["train-images-idx3-ubyte"], mnist["t10k-images-idx3-ubyte"]
    assert source.x.tobytes() == train[16:] + test[16:]
    assert source.y.tolist() == [3, 1, 4, 1, 9, 0, 2, 7]
    assert source.num_test == 3
    assert source.where == str(places / "mnist")


@pytest.mark.parametrize(
    ("file", "shape", "sentence"),
    [
        ("train-labels-idx1-ubyte", (4,), "found images of shape .5, 28, 28., wanted .4, 28, 28."),
        ("train-labels-idx1-ubyte", (5, 1), "found labels of shape .5, 1. up to 10"),
        ("t10k-labels-idx1-ubyte", (3,), "found labels of shape .3,. up to 10, wanted .examples,."),
        ("t10k-images-idx3-ubyte", (3, 27, 28), "found images of shape .3, 27, 28."),
        ("t10k-images-idx3-ubyte", (3,), "found images of shape .3,., wanted .3, 28, 28."),
    ],
)
def test_files_that_do_not_fit_each_other_are_named(
    places, publish, write, mnist, idx, file, shape, sentence
):
    values = np.zeros(shape) if shape == (4,) else np.full(shape, 10)
    contents = {name: data for name, data in mnist.items() if not name.endswith(".gz")}
    contents[file] = idx(values)
    publish("mnist", contents)  # what is checked after the checksum
    write(places, contents)
    with pytest.raises(UserError, match=sentence) as error:
        load_mnist("mnist", str(places))
    assert "\n" not in str(error.value)


# Of its README: the labels' histogram, train and test; the pixels' mean and deviation in train.
FACTS = {
    "mnist": (
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        (0.1307, 0.3081),
    ),
    "fashion_mnist": ([6000] * 10, [1000] * 10, (0.2860, 0.3530)),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_real_files_are_what_their_authors_say(real, name):
    train, test, moments = FACTS[name]
    source = real(load_mnist, name, None)
    assert source.x.shape == (70000, 28, 28, 1)
    assert source.x.dtype == np.uint8
    assert source.num_test == 10000
    assert np.bincount(source.y[:60000]).tolist() == train
    assert np.bincount(source.y[60000:]).tolist() == test
    pixels = np.bincount(source.x[:60000].ravel(), minlength=256) / source.x[:60000].size
    mean = pixels @ np.arange(256) / 255
    std = np.sqrt(pixels @ (np.arange(256) / 255 - mean) ** 2)
    np.testing.assert_allclose((mean, std), moments, atol=5e-5)

    wanted = REGISTRY[name].sha256  # of the files as published, and of what is in them
    for path in (path for paths in find_files(name, None)[1].values() for path in paths):
        content = path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == wanted[path.name]
        if path.suffix == ".gz":
            assert hashlib.sha256(gzip.decompress(content)).hexdigest() == wanted[path.stem]


def test_the_statistics_of_all_real_pixels_are_numpys(real):
    """There are more than 2^24, up to which a float32 counts."""
    dataset = real(load, DataConfig(name="mnist", normalize_per="channel"))
    assert [len(split.y) for split in dataset[:3]] == [54000, 6000, 10000]
    x = dataset.train.x
    assert dataset.input_stats.count.tolist() == [54000 * 784]
    np.testing.assert_allclose(dataset.input_stats.mean, [x.mean(dtype=np.float64)], rtol=1e-6)
    squares = np.bincount(x.ravel(), minlength=256) @ np.arange(256.0) ** 2 / x.size
    wanted = squares - x.mean(dtype=np.float64) ** 2
    np.testing.assert_allclose(dataset.input_stats.var, [wanted], rtol=1e-6)
