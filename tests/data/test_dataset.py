"""Loading: every set by its config, split once with a seed, inputs as their source has them."""

import hashlib
import os

import numpy as np
import pytest
from sklearn import datasets

from jbn.config import DataConfig, MixtureConfig, UserError
from jbn.data import load, load_all, normalize_inputs
from jbn.data.dataset import split_rows


@pytest.fixture
def npz(tmp_path):
    """Writes examples whose only input is their row, in two classes, and returns the config."""

    def npz(num_examples, num_test=0):
        x = np.arange(num_examples + num_test)[:, None]
        arrays = {"x": x[:num_examples], "y": x[:num_examples, 0] % 2}
        if num_test:
            arrays |= {"x_test": x[num_examples:], "y_test": x[num_examples:, 0] % 2}
        np.savez(tmp_path / "data.npz", **arrays)
        return DataConfig(name="npz", path=str(tmp_path / "data.npz"))

    return npz


def splits(dataset):
    return dataset.train, dataset.val, dataset.test


def sizes(dataset):
    return [len(split.y) for split in splits(dataset)]


def test_digits_are_split_once_into_1440_178_and_179():
    raw, labels = datasets.load_digits(return_X_y=True)
    dataset = load(DataConfig())
    assert sizes(dataset) == [1440, 178, 179]
    images = np.concatenate([split.x for split in splits(dataset)])
    assert images.shape == (1797, 8, 8, 1)
    split_labels = np.concatenate([split.y for split in splits(dataset)])
    rows = np.column_stack([images.reshape(-1, 64), split_labels]).tolist()
    assert sorted(rows) == sorted(np.column_stack([raw, labels]).tolist())


def test_the_split_follows_its_seed():
    one, again, other = (load(DataConfig(split_seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.train.x, again.train.x)
    assert not np.array_equal(one.train.y, other.train.y)
    assert one.sha256 == other.sha256


def test_inputs_are_raw_whatever_normalizes_or_scales_them():
    raw = load(DataConfig(normalize="none"))
    other = load(DataConfig(normalize="min_max", normalize_per="channel", input_scale=100.0))
    for one, two in zip(splits(raw), splits(other), strict=True):
        np.testing.assert_array_equal(one.x, two.x)
    assert raw.sha256 == other.sha256


@pytest.mark.parametrize(
    ("config", "wanted", "shape", "num_classes", "where"),
    [
        (DataConfig(name="breast_cancer"), [457, 56, 56], (30,), 2, "scikit-learn"),
        (DataConfig(name="wine"), [144, 17, 17], (13,), 3, "scikit-learn"),
        (DataConfig(name="mixture"), [1600, 200, 200], (16,), 4, "made from seed 0"),
    ],
)
def test_sets_without_a_test_split_give_a_tenth_to_each(config, wanted, shape, num_classes, where):
    dataset = load(config)
    assert sizes(dataset) == wanted
    assert dataset.train.x.shape[1:] == shape
    assert (dataset.num_classes, dataset.where) == (num_classes, where)


def test_the_mixture_is_that_of_the_config():
    """Its offset is the mean; what comes last in a drifting set is the test split."""
    mixture = MixtureConfig(num_examples=500, num_features=2, offset=1e3, drift=100.0)
    dataset = load(DataConfig(name="mixture", mixture=mixture))
    assert sizes(dataset) == [405, 45, 50]
    assert abs(dataset.train.x.mean() - 1e3) < 100
    moved = np.linalg.norm(dataset.test.x.mean(0) - dataset.train.x.mean(0))
    assert 45 < moved < 55  # of 100, half way from the middle of the first nine tenths


@pytest.mark.parametrize(
    ("num_examples", "num_test", "wanted"), [(20, 0, [16, 2, 2]), (17, 3, [16, 1, 3])]
)
def test_a_users_arrays_are_split_too(npz, num_examples, num_test, wanted):
    config = npz(num_examples, num_test)
    dataset = load(config)
    assert sizes(dataset) == wanted
    assert (dataset.num_classes, dataset.where) == (2, config.path)
    for x, y in splits(dataset):
        np.testing.assert_array_equal(x[:, 0] % 2, y)
    if num_test:
        assert dataset.test.x[:, 0].tolist() == [17, 18, 19]


def test_a_users_table_is_found_below_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data.csv").write_text("".join(f"{n},{n % 3}\n" for n in range(20)))
    dataset = load(DataConfig(name="csv", path="~/data.csv"))
    assert sizes(dataset) == [16, 2, 2]
    assert (dataset.num_classes, dataset.where) == (3, str(tmp_path / "data.csv"))


@pytest.mark.parametrize("name", ["npz", "csv"])
def test_what_is_no_file_is_not_read(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    for path, found in ((tmp_path / "pipe", "a device or a pipe"), (tmp_path, "a folder")):
        with pytest.raises(UserError, match=f"data.path: {path}: found {found}, wanted a file"):
            load(DataConfig(name=name, path=str(path)))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_images_are_found_by_data_dir(places, publish, write, idx, name):
    pixels = np.arange(25, dtype=np.uint8)[:, None, None] * np.ones((28, 28), np.uint8)
    files = {
        "train-images-idx3-ubyte": idx(pixels[:20]),
        "train-labels-idx1-ubyte": idx(np.arange(20) % 10),
        "t10k-images-idx3-ubyte": idx(pixels[20:]),
        "t10k-labels-idx1-ubyte": idx(np.arange(20, 25) % 10),
    }
    publish(name, files)
    write(places / "here", files)
    dataset = load(DataConfig(name=name, dir=str(places / "here")))
    assert sizes(dataset) == [18, 2, 5]
    assert dataset.where == str(places / "here")
    for x, y in splits(dataset):
        assert (x.dtype, y.dtype) == (np.uint8, np.int32)
        assert (x == x[:, :1, :1]).all()
        np.testing.assert_array_equal(x[:, 0, 0, 0] % 10, y)
    assert dataset.test.x[:, 0, 0, 0].tolist() == [20, 21, 22, 23, 24]


def test_the_checksum_is_of_all_inputs_and_labels(npz):
    x = np.arange(20, dtype=np.float32)
    y = (np.arange(20) % 2).astype(np.int32)
    wanted = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    assert load(npz(20)).sha256 == wanted
    assert load(npz(17, 3)).sha256 == wanted
    assert load(npz(21)).sha256 != wanted


def test_too_few_examples_and_a_single_class_are_errors(npz, tmp_path):
    for counts in [(9, 0), (9, 100)]:
        with pytest.raises(UserError, match=r"data.npz: found 9 examples to split, and 2 classes"):
            load(npz(*counts))
    (tmp_path / "data.csv").write_text("1,0\n" * 30)
    with pytest.raises(UserError, match=r"found 30 .* and 1 classes, wanted at least 10 and 2$"):
        load(DataConfig(name="csv", path=str(tmp_path / "data.csv")))


@pytest.mark.parametrize("num_examples", [10, 19, 20, 101])
@pytest.mark.parametrize("num_test", [0, 5])
def test_every_row_is_in_one_split_in_the_sets_order(num_examples, num_test):
    rows = split_rows(num_examples + num_test, num_test, seed=3)
    assert all((np.diff(split) > 0).all() for split in rows)
    assert sorted(np.concatenate(rows)) == list(range(num_examples + num_test))
    train, val, test = map(len, rows)
    assert val == num_examples // 10
    assert test == (num_test or val)
    assert train + val + test == num_examples + num_test


@pytest.mark.parametrize("kind", ["csv", "npz", "npz of integers", "npz of images"])
def test_columns_far_from_zero_keep_their_digits(tmp_path, kind):
    """Milliseconds since 1970: float32 would hold one value of 200."""
    y = np.arange(200) % 2
    times = 1_700_000_000_000 + np.arange(200) * 37
    x = np.stack([times, np.sin(np.arange(200))], 1)
    if kind == "npz of integers":
        x = np.stack([times, times // 3], 1)
    if kind == "npz of images":
        x = x.reshape(50, 2, 2, 2)
        y = y[:50]
    path = tmp_path / ("data.csv" if kind == "csv" else "data.npz")
    if kind == "csv":
        np.savetxt(path, np.column_stack([x, y]), delimiter=",", fmt="%.17g")
    else:
        np.savez(path, x=x, y=y)
    config = DataConfig(name=path.suffix[1:], path=str(path))
    dataset = load(config)
    raw = np.concatenate([split.x for split in (dataset.train, dataset.val, dataset.test)])
    assert len(np.unique(raw[..., 0])) == 200
    rows, *_ = split_rows(len(y), 0, config.split_seed)
    train = x[rows].astype(np.float64)
    axes = tuple(range(train.ndim - 1)) if config.normalize_per == "channel" else 0
    wanted = (train - train.mean(axes)) / train.std(axes)
    found = normalize_inputs(config, dataset.input_stats, dataset.train.x)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_without_normalization_far_columns_stay_and_are_named(tmp_path):
    x = np.stack([np.sin(np.arange(40)), 1.7e12 + np.arange(40)], 1)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 2)
    config = DataConfig(name="npz", path=str(tmp_path / "a.npz"), normalize="none")
    dataset = load(config)
    assert dataset.input_offset is None
    assert "column 1 is so far from zero that float32 loses digits" in dataset.where
    np.testing.assert_allclose(dataset.train.x[:, 1], 1.7e12, rtol=1e-6)


def test_columns_near_zero_stay_as_they_are(tmp_path):
    x = np.random.default_rng(0).normal(3, 1, size=(40, 2))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 2)
    dataset = load(DataConfig(name="npz", path=str(tmp_path / "a.npz")))
    assert dataset.input_offset is None
    assert set(dataset.train.x.ravel()) <= set(x.astype(np.float32).ravel())


def test_sets_loaded_together_are_those_loaded_alone(tmp_path):
    """Columns far from zero lose their digits where nothing normalizes them, and only there."""
    x = np.stack([np.sin(np.arange(40)), 1.7e12 + np.arange(40)], 1)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 2)
    config = DataConfig(name="npz", path=str(tmp_path / "a.npz"))
    configs = [config.model_copy(update={"normalize": n}) for n in ("standardize", "none")]
    for order in (configs, configs[::-1], configs[:1], configs[1:]):
        for one, dataset in load_all(order).items():
            alone = load(one)
            np.testing.assert_array_equal(dataset.train.x, alone.train.x)
            np.testing.assert_array_equal(dataset.input_offset, alone.input_offset)
            assert (dataset.where, dataset.sha256) == (alone.where, alone.sha256)
