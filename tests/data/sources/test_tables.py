"""The tables in scikit-learn's wheel: as it has them, as float32 with integer labels from 0."""

import numpy as np
import pytest
from sklearn import datasets

from jbn.data.sources.tables import load_breast_cancer, load_wine


@pytest.mark.parametrize(
    ("load", "reference", "shape", "counts"),
    [
        (load_breast_cancer, datasets.load_breast_cancer, (569, 30), [212, 357]),
        (load_wine, datasets.load_wine, (178, 13), [59, 71, 48]),
    ],
)
def test_a_table_is_as_scikit_learn_has_it(load, reference, shape, counts):
    source = load()
    x, y = reference(return_X_y=True)
    assert (source.x.dtype, source.y.dtype) == (np.float32, np.int32)
    assert source.x.shape == shape
    np.testing.assert_array_equal(source.x, x.astype(np.float32))
    np.testing.assert_array_equal(source.y, y)
    assert np.bincount(source.y).tolist() == counts
    assert (source.num_train, source.num_test, source.where) == (None, 0, "scikit-learn")
