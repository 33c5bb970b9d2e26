"""The digits in scikit-learn's wheel: as it has them, as float32 images with integer labels."""

import numpy as np
from sklearn import datasets

from jbn.data.sources.digits import load_digits


def test_digits_are_as_scikit_learn_has_them():
    source, reference = load_digits(), datasets.load_digits()
    assert (source.x.dtype, source.y.dtype) == (np.float32, np.int32)
    assert source.x.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(source.x[..., 0], reference.images)
    np.testing.assert_array_equal(source.y, reference.target)
    assert np.bincount(source.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (source.x.min(), source.x.max()) == (0, 16)
    assert (source.num_test, source.where) == (0, "scikit-learn")


def test_the_digits_for_training_are_whole_batches_of_32():
    assert load_digits().num_train == 45 * 32
