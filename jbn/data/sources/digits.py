"""Handwritten digits, 8 × 8 pixels from 0 to 16. UCI's, from scikit-learn's wheel."""

import numpy as np

from jbn.data.sources.scikit_learn import read_table
from jbn.data.sources.source import Source

# 45 batches of 32: a comparison of batch sizes has no rest.
_NUM_TRAIN = 1440


def load_digits() -> Source:
    """1797 images of 8 × 8 × 1 pixels as float32, in 10 classes; 1440 are for training."""
    x, y = read_table("digits.csv.gz")
    return Source(
        x.reshape(-1, 8, 8, 1).astype(np.float32),
        y,
        num_test=0,
        where="scikit-learn",
        num_train=_NUM_TRAIN,
    )
