"""Trains residual perceptrons at many rates, and looks at their blocks before training."""

import functools
import itertools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from probes import norm as length_of
from residual_scale.collect import RESIDUAL, end
from trainings import make_run
from values import SEED, SPLIT, label
from vanishing_gradients.collect import ARMS, NUM_EXAMPLES, WIDTH, Deep, Layer

import jbn.linen
from jbn.config import ArmConfig, DataConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import Dataset, load, normalization_of
from jbn.models.norm import make_norm
from jbn.train import Hypers, Task, TrainKeys, make_task

REPEATS = tuple(range(200, 210))  # each has a seed of the same number
BLOCKS, NUM_EPOCHS = (5, 10, 20), 5
RATES = np.logspace(-5, 1, 13)
ACCURACIES = ("val_accuracy", "test_accuracy")
SIZES = tuple(f"{of}_{n}" for of in ("size", "mean") for n in range(1, BLOCKS[-1] + 1))


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each training, and for each arm and split of untrained blocks; and the seconds."""
    clock = time.perf_counter()
    datasets = {split: load(DataConfig(split_seed=split)) for split in splits}
    found: list[dict[str, Any]] = []
    for blocks, (arm, norm) in itertools.product(BLOCKS, ARMS.items()):
        task = make_residual(norm, blocks, datasets[splits[0]])
        named = {"blocks": blocks, "arm": arm}
        run = make_run(
            task, [(1.0, rate) for rate in RATES.tolist()], lambda params, _: params, end
        )
        for split, dataset in datasets.items():
            of_split = {SPLIT: split, SEED: split}
            for rate, values in zip(RATES.tolist(), run(dataset, split), strict=True):
                varied = {"learning_rate": rate}
                found.append({"part": "training", **named, **varied, **of_split, **values})
        if blocks == BLOCKS[-1]:
            for split, dataset in datasets.items():
                sizes = untrained(task, dataset, split)
                found.append({"part": "untrained", **named, SPLIT: split, SEED: split, **sizes})
    names = ("part", "blocks", "arm", "learning_rate", SPLIT, SEED, *ACCURACIES, *SIZES)
    table = [{name: label(row.get(name, "")) for name in names} for row in found]
    return table, time.perf_counter() - clock


def make_residual(norm: NormConfig, blocks: int, dataset: Dataset) -> Task:
    """The task of a network with a hidden layer and so many residual blocks."""
    config = ArmConfig(
        norm=norm,
        optimizer=OptimizerConfig(kind="sgd"),
        train=TrainConfig(num_epochs=NUM_EPOCHS),
    )
    model: Any = functools.partial(Deep, depth=1 + blocks, case=RESIDUAL)
    return make_task(config, dataset.spec, model=model)


def untrained(task: Task, dataset: Dataset, seed: int) -> dict[str, float]:
    """What each block adds before the first step, in training mode, of `NUM_EXAMPLES` examples.

    size: the root of the mean square over the examples and the units.
    mean: the same of the units' means over the examples.
    """
    config = task.config
    mine = task.with_normalization(normalization_of(config.data, dataset.input_stats))
    hypers = Hypers.of(config)
    state = mine.init(TrainKeys.of(jax.random.key(seed)), hypers)
    options = make_norm(config.norm, jbn.linen, 0.0, config.norm.epsilon, None), True, WIDTH
    layer = Layer(*options)

    def branch(x: Any, variables: Any) -> Any:
        (y, _), _ = layer.apply(
            variables, x, RESIDUAL.activation, None, None, mutable=["batch_stats"]
        )
        return y

    def block(x: Any, variables: Any) -> tuple[Any, Any]:
        y = branch(x, variables)
        return x + y, (root_mean_square(y), root_mean_square(y.mean(0)))

    first, others = (
        {kind: of[name] for kind, of in state.variables.items()} for name in ("first", "others")
    )
    x = mine.prepare(dataset.train.x[:NUM_EXAMPLES], hypers).reshape(NUM_EXAMPLES, -1)
    _, found = jax.lax.scan(block, branch(x, first), others)
    return dict(zip(SIZES, np.concatenate(found).tolist(), strict=True))


def root_mean_square(x: Any) -> Any:
    """Of all entries, also of large ones."""
    return length_of(x) / jnp.sqrt(x.size)
