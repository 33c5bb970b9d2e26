"""Validation accuracy every few steps, and what a step costs, of two networks in each arm."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from bench.in_turn import seconds_in_turn
from probes import make_accuracy, make_probed_run, train_probed

from jbn.config import ArmConfig, DataConfig, ModelConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import Dataset, load
from jbn.train import Hypers

NUM_SEEDS, NUM_ROUNDS, NUM_TIMED_STEPS = 10, 15, 90
TARGETS = {"digits": 0.95, "mnist": 0.9, "fashion_mnist": 0.8, "cifar10": 0.4}
BATCH, NONE = {"norm": NormConfig()}, {"norm": NormConfig(kind="none")}


class Network(NamedTuple):
    """What is trained, and how."""

    shared: ArmConfig
    arms: Mapping[str, Mapping[str, Any]]  # what differs from `shared`
    rates: Sequence[float]
    common_rate: float
    num_steps: int
    every: int


class Curves(NamedTuple):
    """Of a network, all arms."""

    network: Network
    target: float  # the accuracy to reach
    accuracy: np.ndarray  # (arms, rates, seeds, probes), of the validation split
    seconds: np.ndarray  # of a step: (arms, rounds)


NETWORKS = {
    "article's, digits": Network(
        ArmConfig(),
        {
            "batch_norm": BATCH,
            "batch_norm_recomputed": {**BATCH, "train": TrainConfig(recompute_stats=True)},
            "no_norm": NONE,
        },
        rates=[float(rate) for rate in np.logspace(-4, -1, 7)],
        common_rate=1e-3,
        num_steps=900,
        every=5,
    ),
    "paper's, MNIST": Network(
        ArmConfig(
            data=DataConfig(name="mnist", normalize="min_max"),
            model=ModelConfig(
                hidden_sizes=(100, 100, 100),
                activation="sigmoid",
                norm_position="before_activation",
            ),
            optimizer=OptimizerConfig(kind="sgd"),
            train=TrainConfig(batch_size=60),
        ),
        {"batch_norm": {"norm": NormConfig(momentum=0.9)}, "no_norm": NONE},
        rates=[float(rate) for rate in np.logspace(-1.5, 1, 6)],
        common_rate=float(np.logspace(-1.5, 1, 6)[1]),
        num_steps=3000,
        every=50,
    ),
}


def collect(data: str | None = None) -> dict[str, Curves]:
    """Trains every network in every arm; on another data set, if one is named."""
    return {title: _curves(network, data) for title, network in NETWORKS.items()}


def _curves(network: Network, data: Any) -> Curves:
    name = data or network.shared.data.name
    dataset = load(network.shared.data.model_copy(update={"name": name}))
    dataset = dataset._replace(val=jax.tree.map(lambda v: v[:2000], dataset.val))
    configs = {arm: network.shared.model_copy(update=more) for arm, more in network.arms.items()}
    accuracies = [
        train_probed(
            config,
            dataset,
            make_accuracy(config, dataset),
            rates=network.rates,
            num_seeds=NUM_SEEDS,
            num_steps=network.num_steps,
            every=network.every,
        )
        for config in configs.values()
    ]
    seconds = seconds_in_turn(
        {arm: _make_timed(config, dataset) for arm, config in configs.items()}, NUM_ROUNDS
    )
    by_arm = np.array([seconds[arm] for arm in configs]) / NUM_TIMED_STEPS
    return Curves(network, TARGETS[name], np.array(accuracies), by_arm)


def _make_timed(config: ArmConfig, dataset: Dataset) -> Any:
    """One seed's steps, nothing evaluated."""
    run = make_probed_run(
        config,
        dataset,
        lambda state, hypers: jax.tree.leaves(state.params)[0].sum(),
        num_steps=NUM_TIMED_STEPS,
        every=NUM_TIMED_STEPS,
    )
    arguments = jax.device_put((jax.random.key(0), Hypers.of(config), dataset.train))
    compiled = jax.jit(run).lower(*arguments).compile()
    return lambda: compiled(*arguments)
