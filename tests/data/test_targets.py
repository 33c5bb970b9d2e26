"""Targets that are numbers: read from each kind of file, and standardized on the training rows."""

import numpy as np
import pytest
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

from jbn.config import DataConfig, UserError, config_from_dict
from jbn.data import load

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3))
# Far from zero, and tiny: in float32 the first would lose its digits.
Y = np.stack([1.7e9 + RNG.normal(size=50), 1e-6 * RNG.normal(size=50)], 1)


def brought_back(dataset, y):
    return y.astype(np.float64) * dataset.target_stats.std + dataset.target_stats.mean


@pytest.fixture
def files(tmp_path):
    """The same two targets in an npz file and in a table; and the first of them alone."""
    np.savez(tmp_path / "two.npz", x=X, y=Y)
    np.savez(tmp_path / "one.npz", x=X, y=Y[:, 0])
    np.savez(tmp_path / "split.npz", x=X[:40], y=Y[:40], x_test=X[40:], y_test=Y[40:])
    for name, y in (("two", Y), ("one", Y[:, :1])):
        rows = [",".join(map(repr, row)) for row in np.hstack([X, y]).tolist()]
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,c" + ",y" * y.shape[1], *rows]))
    return tmp_path


def numbers(path, **options):
    return DataConfig(name=path.suffix[1:], path=str(path), targets="numbers", **options)


@pytest.mark.parametrize(
    ("name", "options", "columns"),
    [
        ("two.npz", {}, [0, 1]),
        ("two.csv", {"num_targets": 2}, [0, 1]),
        ("one.npz", {}, 0),
        ("one.csv", {}, 0),
    ],
)
def test_numbers_are_standardized_on_the_training_rows_and_come_back(files, name, options, columns):
    dataset = load(numbers(files / name, **options))
    assert dataset.num_classes is None
    wanted = Y[:, columns]
    splits = [dataset.train, dataset.val, dataset.test]
    assert [split.y.dtype for split in splits] == [np.float32] * 3
    # Rows are found again by their inputs.
    for split in splits:
        rows = [int(np.argmin(np.abs(X - x).sum(1))) for x in split.x]
        spread = wanted.std(0)
        found = brought_back(dataset, split.y)
        np.testing.assert_allclose((found - wanted[rows]) / spread, 0, atol=1e-6)
    rows = [int(np.argmin(np.abs(X - x).sum(1))) for x in dataset.train.x]
    scaler = StandardScaler().fit(wanted[rows].reshape(len(rows), -1))
    scaled = scaler.transform(wanted[rows].reshape(len(rows), -1))
    np.testing.assert_allclose(dataset.train.y.reshape(len(rows), -1), scaled, atol=1e-5)
    np.testing.assert_allclose(np.atleast_1d(dataset.spec.target_std), scaler.scale_, rtol=1e-6)
    assert dataset.spec.target.shape == wanted.shape[1:]


def test_a_test_split_of_the_files_own_has_no_part_in_the_statistics(files):
    dataset = load(numbers(files / "split.npz"))
    assert len(dataset.test.y) == 10
    found = brought_back(dataset, dataset.test.y)
    np.testing.assert_allclose((found - Y[40:]) / Y.std(0), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.train.y.mean(0), 0, atol=1e-6)


def test_the_patients_are_scikit_learns():
    dataset = load(DataConfig(name="diabetes", targets="numbers"))
    x, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    found = np.concatenate([dataset.train.x, dataset.val.x, dataset.test.x])
    np.testing.assert_allclose(np.sort(found, 0), np.sort(x.astype(np.float32), 0))
    splits = [
        brought_back(dataset, split.y) for split in (dataset.train, dataset.val, dataset.test)
    ]
    np.testing.assert_allclose(np.sort(np.concatenate(splits)), np.sort(y), rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        ("1,2,nan\n" * 20, {}, r"found the target \[nan\] in line 1, wanted a finite number"),
        ("1,2\n" * 20, {"num_targets": 2}, "found 2 columns, wanted more than data.num_targets"),
        ("1,2,5\n" * 20, {}, "found a target that is 5 in all training examples"),
        ("1,2,5\n" * 9, {}, "found 9 examples to split, wanted at least 10$"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path, content, options, line):
    (tmp_path / "data.csv").write_text(content)
    with pytest.raises(UserError, match=line):
        load(numbers(tmp_path / "data.csv", **options))


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"x": X, "y": Y.astype(str)}, "wanted real numbers and real numbers too"),
        ({"x": X, "y": Y[:, :, None]}, r"wanted \(examples, \*features\) and \(examples,\) or \("),
        (
            {"x": X, "y": Y, "x_test": X, "y_test": Y[:, 0]},
            r"found y_test of shape \(50,\) and y of shape \(50, 2\), wanted as many targets",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, line):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(UserError, match=line):
        load(numbers(tmp_path / "data.npz"))


def test_labels_that_are_numbers_name_the_key(tmp_path):
    np.savez(tmp_path / "data.npz", x=X, y=Y[:, 0])
    (tmp_path / "data.csv").write_text("1,2,0.5\n" * 20)
    for name in ("npz", "csv"):
        config = DataConfig(name=name, path=str(tmp_path / f"data.{name}"))
        with pytest.raises(UserError, match=r'for a regression set data.targets = "numbers"'):
            load(config)


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"data": {"targets": "numbers"}}, "data.targets: found 'numbers', but digits has labels"),
        ({"data": {"name": "diabetes"}}, "data.targets: found 'labels', but diabetes has numbers"),
        ({"loss": {"label_smoothing": 0.1}}, "loss.label_smoothing: wanted its default, for "),
        ({"loss": {"class_weights": [1, 2]}}, "loss.class_weights: wanted its default, for "),
        (
            {"train": {"order": "class_blocked"}},
            "train.order: wanted its default, for data.",
        ),
    ],
)
def test_keys_of_labels_do_not_fit_numbers(sections, line):
    data = {"data": {"name": "diabetes", "targets": "numbers"}}
    with pytest.raises(UserError, match=line):
        config_from_dict({"name": "x", **data, **sections})
