"""Handwritten digits, 8 × 8 pixels from 0 to 16 (UCI, in scikit-learn's wheel)."""

import numpy as np

# 1797 images, as a share of which these are 80.1, 9.9 and 10.0 percent.
SPLIT_SIZES = (1440, 178, 179)


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """x: float32 of shape (1797, 64); y: int32 of shape (1797,), from 0 to 9."""
    from sklearn import datasets

    x, y = datasets.load_digits(return_X_y=True)
    return x.astype(np.float32), y.astype(np.int32)
