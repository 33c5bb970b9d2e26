"""Trains networks with and without batch norm, and finds when they reach each target."""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from probes import make_accuracy, make_probed
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, ModelConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import Dataset, load
from jbn.train import make_task

REPEATS = tuple(range(200, 210))  # each has a seed of the same number, and others 1000 apart
NUM_EVALUATED = 1000  # validation examples at most
PLAIN = {"batch_norm_plain": NormConfig()}
ARMS = {"batch_norm": NormConfig(momentum_warmup=True), "no_norm": NormConfig(kind="none")}
SIGMOIDS = ModelConfig(
    hidden_sizes=(100, 100, 100), activation="sigmoid", norm_position="before_activation"
)


class Network(NamedTuple):
    """What is trained, and how."""

    shared: ArmConfig
    arms: Mapping[str, NormConfig]
    targets: Sequence[int]  # percent of the validation examples
    rates: Sequence[float]
    num_steps: int
    every: int  # so many steps it is looked at
    num_seeds: int = 1  # on each split


NETWORKS = {
    "article's network, digits": Network(
        ArmConfig(),
        ARMS | PLAIN,
        targets=(80, 90, 95, 97),
        rates=np.logspace(-3, -1, 5).tolist(),
        num_steps=450,
        every=1,
        num_seeds=3,
    ),
    "convolutions, digits": Network(
        ArmConfig(model=ModelConfig(kind="cnn")),
        ARMS,
        targets=(80, 90, 95, 97),
        rates=np.logspace(-3, -2, 3).tolist(),
        num_steps=180,
        every=4,
    ),
    "sigmoids, digits": Network(
        ArmConfig(model=SIGMOIDS, optimizer=OptimizerConfig(kind="sgd")),
        ARMS | PLAIN,
        targets=(80, 90, 95, 97),
        rates=np.logspace(-0.5, 1, 4).tolist(),
        num_steps=900,
        every=5,
    ),
    "sigmoids, MNIST": Network(
        ArmConfig(
            data=DataConfig(name="mnist", normalize="min_max"),
            model=SIGMOIDS,
            optimizer=OptimizerConfig(kind="sgd"),
            train=TrainConfig(batch_size=60),
        ),
        ARMS,
        targets=(80, 90, 95),
        rates=np.logspace(0, 2 / 3, 3).tolist(),
        num_steps=2400,
        every=25,
    ),
}
TARGETS = sorted({target for network in NETWORKS.values() for target in network.targets})
MEASURES = {target: f"steps_to_{target}" for target in TARGETS}


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each network, arm, rate and split; and the seconds that it took."""
    clock = time.perf_counter()
    found = [row for title in NETWORKS for row in _rows_of(title, splits)]
    return found, time.perf_counter() - clock


def _rows_of(title: str, splits: Sequence[int]) -> list[dict[str, str]]:
    network = NETWORKS[title]
    runs: dict[str, Any] = {}
    found = []
    for split in splits:
        dataset = _load(network, split)
        seeds = [split + 1000 * n for n in range(network.num_seeds)]
        for (arm, norm), seed in itertools.product(network.arms.items(), seeds):
            if arm not in runs:
                runs[arm] = _make_run(network, norm, dataset)
            for rate, accuracy in zip(network.rates, runs[arm](dataset, seed), strict=True):
                varied = {"network": title, "arm": arm, "learning_rate": rate}
                steps = {
                    name: steps_to(accuracy, target / 100, network.every)
                    for target, name in MEASURES.items()
                }
                row = varied | {SPLIT: split, SEED: seed} | steps
                found.append({key: label(value) for key, value in row.items()})
    return found


def _load(network: Network, split: int) -> Dataset:
    dataset = load(network.shared.data.model_copy(update={"split_seed": split}))
    val = jax.tree.map(lambda v: v[:NUM_EVALUATED], dataset.val)
    return dataset._replace(val=val)


def _make_run(network: Network, norm: NormConfig, dataset: Dataset) -> Any:
    """Returns `run(dataset, seed)`: validation accuracies of the shape (rates, probes)."""
    task = make_task(network.shared.model_copy(update={"norm": norm}), dataset.spec)
    return make_probed(
        task,
        make_accuracy,
        rates=network.rates,
        num_steps=network.num_steps,
        every=network.every,
    )


def steps_to(accuracy: np.ndarray, target: float, every: int) -> float:
    """The step of the first probe that reaches the target; infinity, if none does.

    >>> steps_to(np.array([0.1, 0.8, 0.7, 0.9]), 0.8, every=5)
    5.0
    >>> steps_to(np.array([0.1, 0.2]), 0.8, every=5)
    inf
    """
    reached = accuracy >= target
    return float(every * reached.argmax()) if reached.any() else float("inf")
