"""How far the weights of each input of each layer move while the training loss falls to a value."""

import functools
import itertools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from probes import kernels
from splits import over_lanes, split_of
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import Dataset, load
from jbn.train import (
    Hypers,
    Task,
    TrainKeys,
    TrainState,
    evaluate_batches,
    final_variables,
    make_gather,
    make_task,
    rows_of_epoch,
    run_steps,
)

REPEATS = tuple(range(200, 210))  # each has a seed of the same number
RATES = {"sgd": (0.03, 0.1, 0.3, 1.0), "adam": (3e-4, 1e-3, 3e-3, 1e-2)}
INPUTS = ("standardize", "min_max")
ARMS = {
    "batch_norm": NormConfig(momentum_warmup=True),
    "layer_norm": NormConfig(kind="layer"),
    "no_norm": NormConfig(kind="none"),
}
NUM_EPOCHS, NUM_LAYERS = 20, 3
EVERY = 9  # steps, over which the training loss is averaged
UNTIL = 0.1  # the training loss
SPREADS = tuple(f"spread_{layer}" for layer in range(1, NUM_LAYERS + 1))
MEASURES = ("val_accuracy", "test_accuracy", "steps", *SPREADS)


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each optimizer, kind of inputs, arm, rate and split; and the seconds."""
    clock = time.perf_counter()
    found = []
    for inputs in INPUTS:
        datasets = {s: load(DataConfig(split_seed=s, normalize=inputs)) for s in splits}
        for (optimizer, rates), (arm, norm) in itertools.product(RATES.items(), ARMS.items()):
            config = ArmConfig(
                data=DataConfig(normalize=inputs),
                norm=norm,
                optimizer=OptimizerConfig(kind=optimizer),
                train=TrainConfig(num_epochs=NUM_EPOCHS),
            )
            run = make_run(make_task(config, next(iter(datasets.values())).spec), rates)
            for split, dataset in datasets.items():
                network = {"optimizer": optimizer, "inputs": inputs, "arm": arm}
                for n, (rate, values) in enumerate(zip(rates, run(dataset, split), strict=True)):
                    # Optimizers have other rates: a rate's number is what they share.
                    varied = {"rate": n, "learning_rate": rate, SPLIT: split, SEED: split}
                    found.append(network | {k: label(v) for k, v in (varied | values).items()})
    return found, time.perf_counter() - clock


def make_run(task: Task, rates: Sequence[float]) -> Any:
    """Returns `run(dataset, seed)`: what each rate comes to."""

    def lane(rate: Any, seed: Any, splits: Any, normalization: Any, varies: Any) -> Any:
        train, val, test = splits
        mine = task.with_normalization(normalization)
        keys = TrainKeys.of(jax.random.key(seed))
        hypers = Hypers.of(task.config)._replace(learning_rate=rate)
        is_full = len(train.y) % task.config.train.batch_size == 0
        gather = functools.partial(make_gather(mine, train, keys, hypers), is_full=is_full)

        def section(state: TrainState, rows: Any) -> Any:
            state, metrics = run_steps(mine, state, rows, keys, hypers, gather)
            total = jax.tree.map(lambda of: of.sum(0), metrics.batch)
            return state, (total.means["loss"], kernels(state.params))

        epochs = jnp.arange(task.config.train.num_epochs)
        rows = jax.vmap(lambda epoch: rows_of_epoch(mine, train.y, keys, epoch))(epochs)
        first = mine.init(keys, hypers)
        sections = rows.reshape(-1, EVERY, rows.shape[-1])
        state, (losses, after) = jax.lax.scan(section, first, sections)
        variables = final_variables(mine, state, train.x, keys, hypers)
        val_accuracy, test_accuracy = (
            evaluate_batches(mine, variables, batches, hypers).means["accuracy"]
            for batches in (val, test)
        )
        step = jnp.argmax(losses <= UNTIL)
        is_there = losses[step] <= UNTIL
        spreads = [
            spread(jnp.linalg.norm(of[step] - before, axis=-1), where)
            for before, of, where in zip(
                kernels(first.params), after, (varies, *[True] * (NUM_LAYERS - 1)), strict=True
            )
        ]
        found = (EVERY * (step + 1.0), *spreads)
        return {
            "val_accuracy": val_accuracy,
            "test_accuracy": test_accuracy,
            **{
                name: jnp.where(is_there, of, jnp.nan)
                for name, of in zip(("steps", *SPREADS), found, strict=True)
            },
        }

    program = over_lanes(lane, [np.array(rates, np.float32)])

    def run(dataset: Dataset, seed: int) -> list[dict[str, Any]]:
        # A pixel that is the same in all images moves no weight, with whatever norm behind it.
        varies = np.ptp(dataset.train.x.reshape(len(dataset.train.x), -1), axis=0) > 0
        found = program(*split_of(task.config.data, dataset, seed), varies)
        return [{name: of[n].item() for name, of in found.items()} for n in range(len(rates))]

    return run


def spread(distances: Any, where: Any) -> Any:
    """The standard deviation over the mean, of those that count: 0 is equal for all.

    >>> float(spread(jnp.array([0.0, 2.0, 9.0]), jnp.array([True, True, False])))
    1.0
    """
    where = jnp.broadcast_to(where, distances.shape)
    return distances.std(where=where) / distances.mean(where=where)
