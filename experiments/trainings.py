"""Whole trainings that begin at several scales of some parameters, and at several rates."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from probes import scale_hidden_kernels
from splits import over_lanes, split_of
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, NormConfig, TrainConfig
from jbn.data import Batch, Dataset
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

WARMED_UP = NormConfig(momentum_warmup=True)
ARMS: Mapping[str, Mapping[str, Any]] = {
    "batch_norm": {"norm": WARMED_UP},
    "batch_norm_recomputed": {"norm": WARMED_UP, "train": TrainConfig(recompute_stats=True)},
    "no_norm": {"norm": NormConfig(kind="none")},
}


def rows_of(
    config: ArmConfig,
    named: Mapping[str, str],
    gains: np.ndarray,
    rates: np.ndarray,
    datasets: Mapping[int, Dataset],
) -> list[dict[str, str]]:
    """A row for each gain, rate and split, whose seed has its number.

    Args:
        config: of the network.
        named: what the rows say of it.
        gains: of the hidden layers' initial kernels.
        rates: of the optimizer.
        datasets: by the numbers of their splits.
    """
    points = list(itertools.product(gains.tolist(), rates.tolist()))
    run = make_run(make_task(config, next(iter(datasets.values())).spec), points)
    found = []
    for split, dataset in datasets.items():
        for (gain, rate), values in zip(points, run(dataset, split), strict=True):
            varied = {"gain": gain, "learning_rate": rate, SPLIT: split, SEED: split}
            found.append({**named, **{k: label(v) for k, v in (varied | values).items()}})
    return found


def make_run(
    task: Task,
    points: Sequence[tuple[float, float]],
    begin: Callable[[Any, Any], Any] = scale_hidden_kernels,
    end: Callable[..., Any] = final_variables,
) -> Any:
    """Returns `run(dataset, seed)`: what each point, a number and a rate, comes to.

    Args:
        task: of the network.
        points: what is trained.
        begin: makes of the first parameters and the number those to begin with.
        end: makes of the last state the variables that are evaluated.
    """

    def lane(number: Any, rate: Any, seed: Any, splits: Any, normalization: Any) -> Any:
        train, val, test = splits
        mine = task.with_normalization(normalization)
        keys = TrainKeys.of(jax.random.key(seed))
        hypers = Hypers.of(task.config)._replace(learning_rate=rate)

        def epoch(state: TrainState, _: None) -> Any:
            state, metrics = run_epoch(mine, state, train, val, keys, hypers)
            return state, metrics.diverged_step

        def accuracy(batches: Batch) -> Any:
            return evaluate_batches(mine, variables, batches, hypers).means["accuracy"]

        first = mine.init(keys, hypers)
        first = first._replace(params=begin(first.params, number))
        state, steps = jax.lax.scan(epoch, first, length=task.config.train.num_epochs)
        variables = end(mine, state, train.x, keys, hypers)
        return {
            "val_accuracy": accuracy(val),
            "test_accuracy": accuracy(test),
            "diverged_step": steps[jnp.argmax(steps >= 0)],
        }

    program = over_lanes(lane, np.array(points, np.float32).T)

    def run(dataset: Dataset, seed: int) -> list[dict[str, Any]]:
        found = program(*split_of(task.config.data, dataset, seed))
        return [{name: of[n].item() for name, of in found.items()} for n in range(len(points))]

    return run
