"""What every loader of a data set returns."""

from typing import NamedTuple

import numpy as np


class Source(NamedTuple):
    """A whole data set as it was read: not yet split, scaled or normalized."""

    x: np.ndarray  # uint8 or float32, shape (examples, *features); the offset is subtracted already
    # int32, shape (examples,): labels from 0; or float64, (examples,) or (examples, targets)
    y: np.ndarray
    num_test: int  # the last so many examples are the set's own test split; 0: it has none
    where: str  # for people to read: "scikit-learn", a folder, a file, or "made from seed 0"
    # float64, one number for each index of x's last axis; None: nothing was subtracted
    offset: np.ndarray | None = None
    num_train: int | None = None  # so many examples are for training; None: the set doesn't say
