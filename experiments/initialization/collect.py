"""Trains networks whose hidden layers' kernels begin at other scales.

The last layer's kernel is left as it is: no norm follows it.
"""

import itertools
import time
from collections.abc import Sequence

import numpy as np
from trainings import ARMS, rows_of

from jbn.config import ArmConfig, DataConfig, ModelConfig, OptimizerConfig
from jbn.data import load

REPEATS = tuple(range(100, 110))  # each has a seed of the same number
GAINS = np.logspace(-3, 3, 7)
RATES = np.logspace(-4, 0, 5)
DEPTHS, WIDTH = (2, 10), 64
OPTIMIZERS = ("sgd", "adam")


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each network, arm, gain, rate and split; and the seconds that it took."""
    clock = time.perf_counter()
    datasets = {split: load(DataConfig(split_seed=split)) for split in splits}
    found = []
    for optimizer, depth, (arm, more) in itertools.product(OPTIMIZERS, DEPTHS, ARMS.items()):
        config = ArmConfig(
            model=ModelConfig(hidden_sizes=(WIDTH,) * depth),
            optimizer=OptimizerConfig(kind=optimizer),
            **more,
        )
        network = {"optimizer": optimizer, "depth": str(depth), "arm": arm}
        found += rows_of(config, network, GAINS, RATES, datasets)
    return found, time.perf_counter() - clock
