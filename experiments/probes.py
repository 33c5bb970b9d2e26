"""Training runs that are looked at every so many steps."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from splits import over_lanes

from jbn.data import Dataset, Examples, normalization_of
from jbn.train import (
    Hypers,
    Task,
    TrainKeys,
    TrainState,
    batches_to_evaluate,
    evaluate_batches,
    final_variables,
    make_gather,
    rows_of_epoch,
    run_steps,
)

# Of a training's state, keys and numbers, and of its training and validation examples.
Probe = Callable[[TrainState, TrainKeys, Hypers, Examples, Examples], Any]


def make_probed(
    task: Task,
    make_probe: Callable[[Task], Probe],
    *,
    rates: Sequence[float],
    num_steps: int,
    every: int,
) -> Callable[[Dataset, int], Any]:
    """Returns `run(dataset, seed)`: what a probe finds, of the shape (rates, probes, ...).

    The data sets are of the same sizes, with statistics of their own; it is compiled once for all.
    """

    def lane(learning_rate: Any, seed: Any, examples: Any, normalization: Any) -> Any:
        mine = task.with_normalization(normalization)
        return _lane(mine, make_probe(mine), num_steps, every, seed, learning_rate, *examples)

    program = over_lanes(lane, [np.array(rates, np.float32)])

    def run(dataset: Dataset, seed: int) -> Any:
        examples = dataset.train, dataset.val
        normalization = normalization_of(task.config.data, dataset.input_stats)
        return program(seed, examples, normalization)

    return run


def _lane(
    task: Task,
    probe: Probe,
    num_steps: int,
    every: int,
    seed: Any,
    learning_rate: Any,
    train: Examples,
    val: Examples,
) -> Any:
    """What a probe finds in one training."""
    keys = TrainKeys.of(jax.random.key(seed))
    hypers = Hypers.of(task.config)._replace(learning_rate=learning_rate)

    def section(state: TrainState, rows: Any) -> tuple[TrainState, Any]:
        found = probe(state, keys, hypers, train, val)
        return run_steps(task, state, rows, keys, hypers, gather)[0], found

    is_full = len(train.y) % task.config.train.batch_size == 0
    gather = functools.partial(make_gather(task, train, keys, hypers), is_full=is_full)
    epochs = jnp.arange(-(-num_steps // task.num_batches))
    rows = jax.vmap(lambda epoch: rows_of_epoch(task, train.y, keys, epoch))(epochs)
    rows = rows.reshape(-1, rows.shape[-1])[:num_steps]
    sections = rows.reshape(-1, every, rows.shape[-1])
    # The last probe has steps after it, for nothing: less than compiling the probe twice costs.
    sections = jnp.concatenate([sections, sections[:1]])
    return jax.lax.scan(section, task.init(keys, hypers), sections)[1]


def make_accuracy(task: Task) -> Probe:
    """Returns the accuracy of the validation examples, as the config evaluates."""

    def accuracy(
        state: TrainState, keys: TrainKeys, hypers: Hypers, train: Examples, val: Examples
    ) -> Any:
        variables = final_variables(task, state, train.x, keys, hypers)
        metrics = evaluate_batches(task, variables, batches_to_evaluate(val), hypers)
        return metrics.means["accuracy"]

    return accuracy


def norm(x: Any) -> Any:
    """The Euclidean norm, also of numbers whose squares are too small or too large for float32."""
    largest = jnp.abs(x).max()
    return largest * jnp.linalg.norm(x / jnp.where(largest > 0, largest, 1))


def kernels(tree: dict[str, Any]) -> list[Any]:
    """The kernels among an MLP's parameters, or their gradients, from the first layer to the last.

    >>> kernels({"Dense_0": {"kernel": 1, "bias": 2}, "BatchNorm_0": {}, "Dense_1": {"kernel": 3}})
    [1, 3]
    """
    names = [name for name in tree if name.startswith("Dense_")]
    return [tree[name]["kernel"] for name in sorted(names, key=lambda name: int(name[6:]))]


def scale_hidden_kernels(params: dict[str, Any], gain: Any) -> dict[str, Any]:
    """An MLP's parameters, the kernels of its hidden layers times a gain.

    >>> scale_hidden_kernels({"Dense_0": {"kernel": 2, "bias": 3}, "Dense_1": {"kernel": 5}}, 10)
    {'Dense_0': {'kernel': 20, 'bias': 3}, 'Dense_1': {'kernel': 5}}
    """
    last = f"Dense_{len(kernels(params)) - 1}"
    return {
        name: {**of, "kernel": gain * of["kernel"]}
        if name.startswith("Dense_") and name != last
        else of
        for name, of in params.items()
    }
