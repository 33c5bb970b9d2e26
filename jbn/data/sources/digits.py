"""Handwritten digits, 8 × 8 pixels from 0 to 16 (UCI, in scikit-learn's wheel)."""

import numpy as np

from jbn.data.sources.source import Source


def load_digits() -> Source:
    """1797 images of 8 × 8 × 1 pixels as float32, in 10 classes."""
    from sklearn import datasets

    x, y = datasets.load_digits(return_X_y=True)
    images = x.reshape(-1, 8, 8, 1).astype(np.float32)
    return Source(images, y.astype(np.int32), num_test=0, where="scikit-learn")
