"""Trains networks with and without batch norm, and reads the training loss after each epoch."""

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from probes import Probe, make_probed
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, ModelConfig, NormConfig, OptimizerConfig
from jbn.data import Examples, load
from jbn.train import (
    Hypers,
    Task,
    TrainKeys,
    TrainState,
    batches_to_evaluate,
    evaluate_batches,
    final_variables,
    make_task,
)

REPEATS = tuple(range(200, 210))  # each has a seed of the same number, and others 1000 apart
NUM_SEEDS, NUM_EPOCHS = 2, 10
SGD = OptimizerConfig(kind="sgd")
SIGMOIDS = ModelConfig(
    hidden_sizes=(100, 100, 100), activation="sigmoid", norm_position="before_activation"
)
NETWORKS = {
    "article's network, gradient descent": (ArmConfig(optimizer=SGD), np.logspace(-2, 0.5, 6)),
    "article's network, Adam": (ArmConfig(), np.logspace(-3.5, -1.5, 5)),
    "sigmoids, gradient descent": (
        ArmConfig(model=SIGMOIDS, optimizer=SGD),
        np.logspace(-1, 1, 5),
    ),
}
ARMS = {"batch_norm": NormConfig(momentum_warmup=True), "no_norm": NormConfig(kind="none")}
LOSSES = tuple(f"train_loss_{epoch}" for epoch in range(NUM_EPOCHS + 1))


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each network, arm, rate, split and seed; and the seconds that it took."""
    clock = time.perf_counter()
    datasets = {split: load(DataConfig(split_seed=split)) for split in splits}
    found = []
    for (title, (shared, rates)), (arm, norm) in itertools.product(NETWORKS.items(), ARMS.items()):
        task = make_task(
            shared.model_copy(update={"norm": norm}), next(iter(datasets.values())).spec
        )
        run = make_probed(
            task,
            make_progress,
            rates=rates.tolist(),
            num_steps=NUM_EPOCHS * task.num_batches,
            every=task.num_batches,
        )
        for (split, dataset), n in itertools.product(datasets.items(), range(NUM_SEEDS)):
            seed = split + 1000 * n
            for rate, *of_rate in zip(rates.tolist(), *run(dataset, seed), strict=True):
                varied = {"network": title, "arm": arm, "learning_rate": rate}
                losses, accuracies = (of.tolist() for of in of_rate)
                measures = dict(zip(LOSSES, losses, strict=True)) | {"val_accuracy": accuracies[-1]}
                row = varied | {SPLIT: split, SEED: seed} | measures
                found.append({key: label(value) for key, value in row.items()})
    return found, time.perf_counter() - clock


def make_progress(task: Task) -> Probe:
    """Returns the loss of the training examples and the accuracy of the validation examples."""

    def progress(
        state: TrainState, keys: TrainKeys, hypers: Hypers, train: Examples, val: Examples
    ) -> Any:
        variables = final_variables(task, state, train.x, keys, hypers)
        of_train, of_val = (
            evaluate_batches(task, variables, batches_to_evaluate(examples), hypers).means
            for examples in (train, val)
        )
        return of_train["loss"], of_val["accuracy"]

    return progress
