"""The sets in scikit-learn's wheel: as it has them, as float32 with integer labels from 0."""

import numpy as np
import pytest
from sklearn import datasets

from jbn.data.sources.digits import load_digits
from jbn.data.sources.tables import load_breast_cancer, load_wine


@pytest.mark.parametrize(
    ("load", "reference", "shape", "counts"),
    [
        (load_breast_cancer, datasets.load_breast_cancer, (569, 30), [212, 357]),
        (load_wine, datasets.load_wine, (178, 13), [59, 71, 48]),
        (
            load_digits,
            datasets.load_digits,
            (1797, 8, 8, 1),
            [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
        ),
    ],
)
def test_a_table_is_as_scikit_learn_has_it(load, reference, shape, counts):
    source = load()
    x, y = reference(return_X_y=True)
    assert (source.x.dtype, source.y.dtype) == (np.float32, np.int32)
    assert source.x.shape == shape
    np.testing.assert_array_equal(source.x.reshape(len(x), -1), x.astype(np.float32))
    np.testing.assert_array_equal(source.y, y)
    assert np.bincount(source.y).tolist() == counts
    assert (source.num_test, source.where) == (0, "scikit-learn")


def test_digits_are_images_of_rows_from_0_to_16():
    x = load_digits().x
    np.testing.assert_array_equal(x[..., 0], datasets.load_digits().images)
    assert (x.min(), x.max()) == (0, 16)
