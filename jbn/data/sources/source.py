"""What every reader of a data set returns."""

from typing import NamedTuple

import numpy as np


class Source(NamedTuple):
    """A data set as its source has it: not yet split, scaled or normalized."""

    x: np.ndarray  # uint8 or float32, shape (examples, *features), less the offset
    y: np.ndarray  # int32, shape (examples,), from 0
    num_test: int  # so many examples at the end are the set's own test split; 0: it has none
    where: str  # for people: "scikit-learn", the folder or file, or "made from seed 0"
    offset: np.ndarray | None = None  # float64, a number for each index of x's last axis; None: 0
