"""Trains ten layers by plain gradient descent, whose initial weights are too large, or right."""

import time
from collections.abc import Sequence

import numpy as np
from trainings import ARMS, rows_of

from jbn.config import ArmConfig, DataConfig, ModelConfig, OptimizerConfig
from jbn.data import load

REPEATS = tuple(range(200, 210))  # each has a seed of the same number
GAINS = np.logspace(0, 3, 7)
RATES = np.logspace(-3, 1, 5)
DEPTH, WIDTH = 10, 64


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each arm, gain, rate and split; and the seconds that it took."""
    clock = time.perf_counter()
    datasets = {split: load(DataConfig(split_seed=split)) for split in splits}
    found = []
    for arm, more in ARMS.items():
        model = ModelConfig(hidden_sizes=(WIDTH,) * DEPTH)
        config = ArmConfig(model=model, optimizer=OptimizerConfig(kind="sgd"), **more)
        found += rows_of(config, {"arm": arm}, GAINS, RATES, datasets)
    return found, time.perf_counter() - clock
