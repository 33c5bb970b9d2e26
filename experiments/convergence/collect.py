"""Validation accuracy every few steps, and what a step takes, of two networks in each arm."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from bench.in_turn import seconds_in_turn
from probes import make_accuracy, train_probed
from timing import NUM_ROUNDS, answer, ask_processes, make_steps

from jbn.config import ArmConfig, DataConfig, ModelConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import load
from jbn.train import make_task

NUM_SEEDS, MAX_TIMED_STEPS = 10, 100
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

    def on(self, data: str | None) -> "Network":
        """The same; on another data set, if one is named."""
        config = self.shared.data.model_copy(update={"name": data or self.shared.data.name})
        return self._replace(shared=self.shared.model_copy(update={"data": config}))

    @property
    def configs(self) -> dict[str, ArmConfig]:
        """Each arm's."""
        return {arm: self.shared.model_copy(update=more) for arm, more in self.arms.items()}


class Curves(NamedTuple):
    """Of a network, all arms."""

    network: Network
    target: float  # the accuracy to reach
    accuracy: np.ndarray  # (arms, rates, seeds, probes), of the validation split
    seconds: np.ndarray  # that a step takes: (arms, processes, rounds)


NETWORKS = {
    "article's": Network(
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
    "paper's": Network(
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
    """Trains and times every network in every arm; on another data set, if one is named."""
    found = {}
    processes = ask_processes(__file__, *([data] if data else []))
    for title, network in NETWORKS.items():
        accuracy = _accuracy(network.on(data))
        seconds = [[process[title][arm] for process in processes] for arm in network.arms]
        name = data or network.shared.data.name
        found[f"{title}, {name}"] = Curves(network, TARGETS[name], accuracy, np.array(seconds))
    return found


def _accuracy(network: Network) -> np.ndarray:
    """Of the first 2000 validation examples: (arms, rates, seeds, probes)."""
    dataset = load(network.shared.data)
    dataset = dataset._replace(val=jax.tree.map(lambda v: v[:2000], dataset.val))
    accuracies = []
    for config in network.configs.values():
        task = make_task(config, dataset.spec)
        found = train_probed(
            task,
            dataset,
            make_accuracy(task),
            rates=network.rates,
            num_seeds=NUM_SEEDS,
            num_steps=network.num_steps,
            every=network.every,
        )
        accuracies.append(found)
    return np.array(accuracies)


def measure_seconds(data: str | None = None) -> dict[str, dict[str, np.ndarray]]:
    """What a step takes in each round, of each network and arm, without evaluation."""
    return {title: _seconds(network.on(data)) for title, network in NETWORKS.items()}


def _seconds(network: Network) -> dict[str, np.ndarray]:
    dataset = load(network.shared.data)
    examples = jax.device_put(dataset.train)
    num_batches = len(examples.y) // network.shared.train.batch_size
    num_steps = min(num_batches, MAX_TIMED_STEPS)
    programs = {}
    for arm, config in network.configs.items():
        # Statistics are recomputed for evaluation.
        train = config.train.model_copy(update={"recompute_stats": False})
        steps = config.model_copy(update={"train": train})
        programs[arm] = make_steps(
            steps, examples, dataset.input_stats, dataset.num_classes, num_steps
        )
    rounds = seconds_in_turn(programs, NUM_ROUNDS)
    return {arm: seconds / num_steps for arm, seconds in rounds.items()}


if __name__ == "__main__":
    answer(measure_seconds)
