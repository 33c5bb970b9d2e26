"""Follows the kernels that a norm follows: what the theorem says of them, and what training does.

The hidden layers' kernels and biases have a learning rate of their own; the other parameters, whose
scale matters, have one rate in all trainings.
"""

import functools
import itertools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from probes import scale_hidden_kernels
from splits import over_lanes, split_of
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, DataConfig, NormConfig, TrainConfig
from jbn.data import Batch, Dataset, Examples, load, normalization_of
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
)

REPEATS = tuple(range(200, 210))  # each has a seed of the same number
HIDDEN = ("Dense_0", "Dense_1")  # of the article's network
RATES = np.logspace(-2, 4, 13)  # of the hidden layers
OTHER_RATE = 0.1  # of the last layer, gamma and beta
GAINS = (1.0, 10.0)
NUM_EPOCHS = 10
STEPS = (0, 1, 3, 10, 30, 100, 300, 450)  # the norms are kept before these
FACTOR = 10.0  # by which the theorem's kernels are multiplied
NUM_STEPS = 20  # of the theorem's trainings
DECAY = 0.01  # the part of a kernel that each of them takes away
ARMS = {
    "batch_norm": NormConfig(),
    "layer_norm": NormConfig(kind="layer"),
    "no_norm": NormConfig(kind="none"),
}
PARTS = ("invariance", "orthogonality", "gradient", "length", "gain", "decay")
THEOREM = tuple(f"error_of_{part}" for part in PARTS)
NORMS = tuple(f"norm_{name}_{step}" for name in HIDDEN for step in STEPS)
ACCURACIES = ("val_accuracy", "test_accuracy")


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each training, and one for each arm and split of the theorem; and the seconds."""
    clock = time.perf_counter()
    datasets = {split: load(DataConfig(split_seed=split)) for split in splits}
    spec = next(iter(datasets.values())).spec
    points = list(itertools.product(GAINS, RATES.tolist()))
    found: list[dict[str, Any]] = []
    for arm, norm in ARMS.items():
        config = ArmConfig(
            norm=norm, train=TrainConfig(num_epochs=NUM_EPOCHS, recompute_stats=True)
        )
        train = make_training(make_task(config, spec), points)
        errors = make_errors(norm, datasets[splits[0]])
        for split, dataset in datasets.items():
            place_of = {"arm": arm, SPLIT: split, SEED: split}
            for (gain, rate), values in zip(points, train(dataset, split), strict=True):
                varied = {"gain": gain, "hidden_rate": rate}
                found.append({"part": "training", **place_of, **varied, **values})
            found.append({"part": "theorem", **place_of, **errors(dataset, split)})
    names = ("part", "arm", SPLIT, SEED, "gain", "hidden_rate", *ACCURACIES, *NORMS, *THEOREM)
    table = [{name: label(row.get(name, "")) for name in names} for row in found]
    return table, time.perf_counter() - clock


def make_training(task: Task, points: Sequence[tuple[float, float]]) -> Any:
    """Returns `train(dataset, seed)`: what each point, a gain and a hidden rate, comes to.

    The last batch of an epoch is filled up, so that all epochs' steps are one loop.
    """

    def lane(gain: Any, rate: Any, seed: Any, splits: Any, normalization: Any) -> Any:
        train, val, test = splits
        mine = task.with_normalization(normalization)
        keys, hypers = TrainKeys.of(jax.random.key(seed)), Hypers.of(task.config)
        gather = functools.partial(make_gather(mine, train, keys, hypers), is_full=False)

        def step(state: TrainState, of_batch: Any) -> Any:
            gradient, collections, _ = mine.gradient(state, gather(of_batch), keys, hypers)
            moved = descend(state.params, gradient, rate)
            return TrainState(state.step + 1, moved, collections, None, None), lengths(state.params)

        epochs = jnp.arange(task.config.train.num_epochs)
        batches = jax.vmap(lambda epoch: rows_of_epoch(mine, train.y, keys, epoch))(epochs)
        first = mine.init(keys, hypers)
        params = scale_hidden_kernels(first.params, gain)
        first = first._replace(params=params, opt_state=None)
        state, seen = jax.lax.scan(step, first, batches.reshape(-1, batches.shape[-1]))
        seen = jnp.concatenate([seen, lengths(state.params)[None]])
        variables = final_variables(mine, state, train.x, keys, hypers)

        def accuracy(batches: Batch) -> Any:
            return evaluate_batches(mine, variables, batches, hypers).means["accuracy"]

        return accuracy(val), accuracy(test), seen[jnp.array(STEPS)].T

    program = over_lanes(lane, np.array(points, np.float32).T)

    def run(dataset: Dataset, seed: int) -> list[dict[str, Any]]:
        val, test, norms = program(*split_of(task.config.data, dataset, seed))
        return [
            dict(zip(ACCURACIES, (val[n].item(), test[n].item()), strict=True))
            | dict(zip(NORMS, norms[n].ravel().tolist(), strict=True))
            for n in range(len(points))
        ]

    return run


def make_errors(norm: NormConfig, dataset: Dataset) -> Any:
    """Returns `errors(dataset, seed)`: by how much each part of the theorem is wrong, in float64.

    All training examples are one batch, and epsilon is 0: the theorem is of that.
    """
    config = ArmConfig(norm=norm.model_copy(update={"epsilon": 0.0}))
    task = make_task(config, dataset.spec)

    def errors(seed: Any, train: Examples, normalization: Any) -> Any:
        mine = task.with_normalization(normalization)
        keys, hypers = TrainKeys.of(jax.random.key(seed)), Hypers.of(config)
        first = mine.init(keys, hypers)
        start = jax.tree.map(lambda w: w.astype(jnp.float64), first.params)

        def of(params: Any) -> tuple[Any, Any]:
            state = first._replace(params=params)
            gradient, _, metrics = mine.gradient(state, Batch(*train), keys, hypers)
            return gradient, metrics.means["loss"]

        def train_by(params: Any, rates: Any, kept: float) -> Any:
            def step(params: Any, rate: Any) -> Any:
                gradient, loss = of(params)
                return descend(scaled(params, kept), gradient, rate), loss

            return jax.lax.scan(step, params, rates)[1]

        gradient, loss = of(start)
        of_longer, loss_of_longer = of(scaled(start, FACTOR))
        moved = descend(start, gradient, 1.0)
        length, length_of_gradient = lengths(start), lengths(gradient)
        products = jnp.array([inner(start[name], gradient[name]) for name in HIDDEN])
        differences = jax.tree.map(lambda a, b: FACTOR * a - b, of_longer, gradient)
        squares = length**2 + length_of_gradient**2
        ones = jnp.ones(NUM_STEPS)
        kept = 1 - DECAY
        plain = train_by(start, ones, 1.0)
        of_gain = train_by(scaled(start, FACTOR), FACTOR**2 * ones, 1.0)
        decayed = train_by(start, ones, kept)
        rising = train_by(start, kept ** (-2.0 * jnp.arange(NUM_STEPS) - 1), 1.0)
        return {
            "invariance": jnp.abs(loss_of_longer - loss) / loss,
            "orthogonality": (jnp.abs(products) / length / length_of_gradient).max(),
            "gradient": (lengths(differences) / length_of_gradient).max(),
            "length": (jnp.abs(lengths(moved) ** 2 - squares) / squares).max(),
            "gain": (jnp.abs(of_gain - plain) / plain).max(),
            "decay": (jnp.abs(rising - decayed) / decayed).max(),
        }

    program = jax.jit(errors)

    def run(dataset: Dataset, seed: int) -> dict[str, float]:
        normalization = normalization_of(config.data, dataset.input_stats)
        with jax.enable_x64(True):
            found = jax.device_get(program(seed, dataset.train, normalization))
        return {f"error_of_{part}": found[part].item() for part in PARTS}

    return run


def descend(params: Any, gradient: Any, rate: Any) -> Any:
    """A step of gradient descent, with a rate for the hidden layers."""
    return {
        name: jax.tree.map(
            lambda w, g, rate=rate if name in HIDDEN else OTHER_RATE: w - rate * g,
            params[name],
            gradient[name],
        )
        for name in params
    }


def scaled(params: Any, factor: Any) -> Any:
    """The parameters, with the kernels and the biases of the hidden layers times a factor."""
    return {
        name: jax.tree.map(lambda w: factor * w, of) if name in HIDDEN else of
        for name, of in params.items()
    }


def lengths(params: Any) -> Any:
    """The Euclidean norm of each hidden layer's kernel and bias together."""
    return jnp.stack([jnp.sqrt(inner(params[name], params[name])) for name in HIDDEN])


def inner(a: Any, b: Any) -> Any:
    """The inner product of two layers' kernels and biases."""
    return sum(jnp.vdot(a[name], b[name]) for name in ("kernel", "bias"))
