"""Evaluates each training with running statistics and with recomputed ones, after each epoch."""

import itertools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from splits import split_of, stack
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, NormConfig, TrainConfig
from jbn.data import Dataset, load
from jbn.train import (
    Hypers,
    Task,
    TrainKeys,
    TrainState,
    evaluate_batches,
    final_variables,
    make_task,
    place,
    run_epoch,
)

REPEATS = tuple(range(200, 210))  # each has a seed of the same number
BATCH_SIZES = (2, 4, 8, 16, 32)
NUM_EPOCHS = 10
NUM_EXAMPLES = (32, 160, 1440)  # of which statistics are recomputed
MOMENTA = (0.9, 0.99)


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each batch size, statistics, number of epochs and split; and the seconds."""
    clock = time.perf_counter()
    datasets = [load(DataConfig(split_seed=split)) for split in splits]
    found = []
    for size in BATCH_SIZES:
        config = ArmConfig(
            norm=NormConfig(momentum_warmup=True), train=TrainConfig(batch_size=size)
        )
        of_size = train(make_task(config, datasets[0].spec), datasets, splits)
        measured = {f"running {of:g}": of_size[:, n, :, 0] for n, of in enumerate(MOMENTA)}
        for n, number in enumerate(NUM_EXAMPLES, 1):  # the momentum has no part in these
            measured[f"recomputed {number}"] = of_size[:, 0, :, n]
        for statistics, of in measured.items():
            for (n, split), epoch in itertools.product(enumerate(splits), range(NUM_EPOCHS)):
                row = {"batch_size": size, "statistics": statistics, "epochs": epoch + 1}
                row |= {SPLIT: split, SEED: split, "test_accuracy": of[n, epoch].item()}
                found.append({name: label(value) for name, value in row.items()})
    return found, time.perf_counter() - clock


def train(task: Task, datasets: Sequence[Dataset], splits: Sequence[int]) -> np.ndarray:
    """Test accuracy after each epoch, with running and with each of the recomputed statistics.

    Returns:
        (splits, momenta, epochs, 1 + recomputed).
    """

    recompute = task.config.train.model_copy(update={"recompute_stats": True})
    config = task.config.model_copy(update={"train": recompute})
    recomputing = make_task(config, task.spec)

    def lane(momentum: Any, seed: Any, data: Any, normalization: Any) -> Any:
        examples, _, test = data
        mine, other = (of.with_normalization(normalization) for of in (task, recomputing))
        keys = TrainKeys.of(jax.random.key(seed))
        hypers = Hypers.of(task.config)._replace(norm_momentum=momentum)

        def epoch(state: TrainState, _: None) -> Any:
            state, _ = run_epoch(mine, state, examples, test, keys, hypers)
            # Evenly from the whole: what follows each other in the set is of the same writers.
            steps = [len(examples.y) // number for number in NUM_EXAMPLES]
            variables = [final_variables(mine, state, examples.x, keys, hypers)]
            variables += [
                final_variables(other, state, examples.x[::step], keys, hypers) for step in steps
            ]
            measured = [evaluate_batches(mine, of, test, hypers).means for of in variables]
            return state, jnp.stack([means["accuracy"] for means in measured])

        return jax.lax.scan(epoch, mine.init(keys, hypers), length=NUM_EPOCHS)[1]

    of_momenta = jax.vmap(lane, (0, None, None, None))
    of_splits = jax.vmap(of_momenta, (None, 0, 0, 0))
    placement = place(jax.devices(), num_lanes=len(splits))
    of_split = [split_of(task.config.data, of, n) for n, of in zip(splits, datasets, strict=True)]
    shared = jax.device_put(stack(of_split), placement.by_lane)
    program = jax.jit(of_splits, out_shardings=placement.by_lane)
    return np.asarray(program(np.array(MOMENTA, np.float32), *shared))
