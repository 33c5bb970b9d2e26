"""Trains networks with batch normalization, dropout, both or neither where they can overfit."""

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float
from splits import split_of, stack
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, NormConfig, TrainConfig
from jbn.data import Batch, Dataset, Examples, fit_inputs, load
from jbn.train import (
    Hypers,
    TrainKeys,
    TrainState,
    evaluate_batches,
    final_variables,
    make_gather,
    make_task,
    place,
    rows_of_epoch,
    run_steps,
)

REPEATS = tuple(range(200, 210))
SEEDS = (0, 100)  # more than the split's number: two seeds on each
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
SIZES = (128, 64)
WARMED_UP = NormConfig(momentum_warmup=True)
NORMS = {
    "no_norm": NormConfig(kind="none"),
    "batch_norm": WARMED_UP,
    "ghost_norm": WARMED_UP.model_copy(update={"kind": "ghost", "virtual_batch_size": 8}),
    "layer_norm": NormConfig(kind="layer"),
}
DROPOUTS = {"no_norm": (0.0, 0.2, 0.5), "batch_norm": (0.0, 0.2, 0.5)}  # of others none
MEASURES = ("train_accuracy", "val_accuracy", "test_accuracy")


class Setting(NamedTuple):
    """Where a network can overfit."""

    num_examples: int  # for training; the rest is for the test
    label_noise: float
    num_epochs: int


SETTINGS = {"few examples": Setting(160, 0.0, 60), "wrong labels": Setting(480, 0.4, 40)}


class Net(nn.Module):
    """The article's network, with dropout after each hidden layer's norm."""

    num_outputs: int
    norm: Callable[..., nn.Module] | None
    dropout: Any  # may be traced, as Flax's own may not

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *features"], train: bool
    ) -> Float[Array, "batch classes"]:
        x = x.reshape(len(x), -1)
        for size in SIZES:
            x = nn.relu(nn.Dense(size)(x))
            if self.norm is not None:
                x = self.norm(use_running_average=not train)(x)
            if train:
                kept = 1 - self.dropout
                is_kept = jax.random.bernoulli(self.make_rng("dropout"), kept, x.shape)
                x = jnp.where(is_kept, x / kept, 0)
        return nn.Dense(self.num_outputs)(x)


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each setting, arm, rate, split and seed; and the seconds that it took."""
    clock = time.perf_counter()
    loaded = [load(DataConfig(split_seed=split)) for split in splits]
    found = []
    for (name, setting), (arm, norm) in itertools.product(SETTINGS.items(), NORMS.items()):
        datasets = [less_of(dataset, setting.num_examples) for dataset in loaded]
        config = ArmConfig(
            data=DataConfig(label_noise=setting.label_noise),
            norm=norm,
            train=TrainConfig(num_epochs=setting.num_epochs),
        )
        for place_of, values in train(config, datasets, splits, DROPOUTS.get(arm, (0.0,))):
            row = {"data": name, "arm": named(arm, place_of.pop("dropout")), **place_of, **values}
            found.append({key: label(value) for key, value in row.items()})
    return found, time.perf_counter() - clock


def named(arm: str, dropout: float) -> str:
    """An arm with its dropout.

    >>> named("no_norm", 0.2), named("batch_norm", 0.0)
    ('dropout 0.2, no_norm', 'batch_norm')
    """
    return f"dropout {dropout:g}, {arm}" if dropout else arm


def less_of(dataset: Dataset, num_examples: int) -> Dataset:
    """The data with so many training examples, a divisor of all; the others are for the test."""
    # Evenly from the whole: what follows each other in the set is of the same writers.
    is_kept = np.arange(len(dataset.train.y)) % (len(dataset.train.y) // num_examples) == 0
    kept, others = (Examples(*(of[rows] for of in dataset.train)) for rows in (is_kept, ~is_kept))
    more = Examples(*(np.concatenate(of) for of in zip(dataset.test, others, strict=True)))
    return dataset._replace(train=kept, test=more, input_stats=fit_inputs(DataConfig(), kept.x))


def train(
    config: ArmConfig, datasets: Sequence[Dataset], splits: Sequence[int], dropouts: Sequence[float]
) -> list[tuple[dict[str, Any], dict[str, float]]]:
    """What each dropout and each rate comes to, on each split from each seed."""

    def lane(point: Any, seed: Any, data: Any, normalization: Any) -> Any:
        examples, val, test = data
        dropout, rate = point
        model = functools.partial(Net, dropout=dropout)
        task = make_task(config, datasets[0].spec, model=model).with_normalization(normalization)
        keys = TrainKeys.of(jax.random.key(seed))
        hypers = Hypers.of(config)._replace(learning_rate=rate)
        gather = functools.partial(make_gather(task, examples, keys, hypers), is_full=True)

        def epoch(state: TrainState, number: Any) -> Any:
            batches = rows_of_epoch(task, examples.y, keys, number)
            return run_steps(task, state, batches, keys, hypers, gather)[0], None

        epochs = jnp.arange(config.train.num_epochs)
        state, _ = jax.lax.scan(epoch, task.init(keys, hypers), epochs)
        variables = final_variables(task, state, examples.x, keys, hypers)

        def accuracy(batches: Batch) -> Any:
            return evaluate_batches(task, variables, batches, hypers).means["accuracy"]

        trained = task.evaluate(variables, gather(jnp.arange(len(examples.y))), hypers)
        return trained.means["accuracy"], accuracy(val), accuracy(test)

    of_seeds = jax.vmap(lane, (None, 0, None, None))
    of_points = jax.vmap(of_seeds, (0, None, None, None))
    of_splits = jax.vmap(of_points, (None, 0, 0, 0))
    placement = place(jax.devices(), num_lanes=len(splits))
    seeds = np.add.outer(splits, SEEDS)
    shared_by_split = [
        split_of(config.data, of, seed) for of, seed in zip(datasets, seeds, strict=True)
    ]
    shared = jax.device_put(stack(shared_by_split), placement.by_lane)
    program = jax.jit(of_splits, out_shardings=placement.by_lane)
    points = list(itertools.product(dropouts, RATES))
    lanes = tuple(np.array(points, np.float32).T)
    found = np.stack(jax.device_get(program(lanes, *shared)), -1)
    return [
        (
            {"dropout": dropout, "learning_rate": rate, SPLIT: split, SEED: seeds[n, k]},
            dict(zip(MEASURES, found[n, m, k].tolist(), strict=True)),
        )
        for (n, split), (m, (dropout, rate)), k in itertools.product(
            enumerate(splits), enumerate(points), range(len(SEEDS))
        )
    ]
