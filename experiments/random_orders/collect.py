"""Trains networks from the same initial weights, on samples in several random orders."""

import itertools
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from splits import over_lanes, split_of
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, ModelConfig, NormConfig, OptimizerConfig
from jbn.data import Dataset, load
from jbn.train import (
    Hypers,
    Task,
    TrainKeys,
    TrainState,
    evaluate_batches,
    final_variables,
    make_task,
    run_epoch,
)

REPEATS = tuple(range(200, 210))  # each has initial weights of its own
NUM_ORDERS = 8
WIDTH = 64
NETWORKS = (("adam", 2), ("adam", 10), ("sgd", 2))
RATES = {"adam": (3e-4, 1e-3, 3e-3), "sgd": (0.03, 0.1, 0.3)}
ARMS = {"batch_norm": NormConfig(momentum_warmup=True), "no_norm": NormConfig(kind="none")}


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each network, arm, rate, split and order; and the seconds that it took."""
    clock = time.perf_counter()
    datasets = {split: load(DataConfig(split_seed=split)) for split in splits}
    spec = next(iter(datasets.values())).spec
    found = []
    for (optimizer, depth), (arm, norm) in itertools.product(NETWORKS, ARMS.items()):
        config = ArmConfig(
            model=ModelConfig(hidden_sizes=(WIDTH,) * depth),
            norm=norm,
            optimizer=OptimizerConfig(kind=optimizer),
        )
        run = make_run(make_task(config, spec), RATES[optimizer], NUM_ORDERS)
        network = {"optimizer": optimizer, "depth": str(depth), "arm": arm}
        for split, dataset in datasets.items():
            measured = run(dataset, split)
            for place_of_rate, rate in enumerate(RATES[optimizer]):
                for order in range(NUM_ORDERS):
                    values = {name: of[place_of_rate, order] for name, of in measured.items()}
                    varied = {"learning_rate": rate, SPLIT: split, SEED: order}
                    found.append(network | {k: label(v) for k, v in (varied | values).items()})
    return found, time.perf_counter() - clock


def make_run(task: Task, rates: Sequence[float], num_orders: int) -> Any:
    """Returns `run(dataset, seed)`: what each rate and order comes to, as (rates, orders)."""
    shape = len(rates), num_orders
    points = np.array(list(itertools.product(rates, range(num_orders))), np.float32)

    def lane(rate: Any, order: Any, seed: Any, splits: Any, normalization: Any, x: Any) -> Any:
        train, val, test = splits
        mine = task.with_normalization(normalization)
        keys = TrainKeys.of(jax.random.key(seed))
        keys = keys._replace(order=jax.random.fold_in(keys.order, order))
        hypers = Hypers.of(task.config)._replace(learning_rate=rate)

        def epoch(state: TrainState, _: None) -> Any:
            return run_epoch(mine, state, train, val, keys, hypers)[0], None

        num_epochs = task.config.train.num_epochs
        state, _ = jax.lax.scan(epoch, mine.init(keys, hypers), length=num_epochs)
        variables = final_variables(mine, state, train.x, keys, hypers)
        model = mine.build(task.config.norm, hypers)
        logits = model.apply(variables, mine.prepare(x, hypers), train=False)
        accuracies = [
            evaluate_batches(mine, variables, batches, hypers).means["accuracy"]
            for batches in (val, test)
        ]
        return *accuracies, logits.argmax(-1)

    program = over_lanes(lane, (points[:, 0], points[:, 1].astype(np.int32)))

    def run(dataset: Dataset, seed: int) -> dict[str, np.ndarray]:
        found = program(*split_of(task.config.data, dataset, seed), dataset.test.x)
        val, test, classes = (of.reshape(*shape, *of.shape[1:]) for of in found)
        return {"val_accuracy": val, "test_accuracy": test, "disagreement": disagreement(classes)}

    return run


def disagreement(classes: np.ndarray) -> np.ndarray:
    """The share of examples that a training classes otherwise than another, over all others.

    Args:
        classes: (..., trainings, examples).

    Returns:
        (..., trainings).

    >>> disagreement(np.array([[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 0, 0]])).tolist()
    [0.25, 0.25, 0.5]
    """
    differs = classes[..., :, None, :] != classes[..., None, :, :]
    return differs.mean(-1).sum(-1) / (classes.shape[-2] - 1)
