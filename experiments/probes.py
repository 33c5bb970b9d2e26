"""Training runs that are looked at every so many steps."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jbn.config import ArmConfig
from jbn.data import Dataset, Examples, batch_indices
from jbn.models import build_model
from jbn.train import (
    Hypers,
    RunKeys,
    TrainState,
    make_evaluate,
    make_init,
    make_settle,
    make_train_step,
)
from jbn.train.loop import make_prepare
from jbn.train.metrics import cross_entropies

# Of a run's state and numbers, and of its training and validation examples.
Probe = Callable[[TrainState, Hypers, Examples, Examples], Any]


def train_probed(
    config: ArmConfig,
    dataset: Dataset,
    probe: Probe,
    *,
    rates: Sequence[float],
    num_seeds: int,
    num_steps: int,
    every: int,
) -> Any:
    """What a probe finds before the first step and after each `every` steps.

    Arrays on the host, of the shape (rates, seeds, probes, ...): every rate from every seed.
    """
    run = _make_run(config, dataset, probe, num_steps=num_steps, every=every)
    seeds = jnp.tile(jnp.arange(num_seeds), len(rates))
    by_lane = jnp.repeat(jnp.asarray(rates, jnp.float32), num_seeds)

    def lane(seed: Any, learning_rate: Any, train: Examples, val: Examples) -> Any:
        hypers = Hypers.of(config)._replace(learning_rate=learning_rate)
        return run(jax.random.key(seed), hypers, train, val)

    # A device of its own for each share of the lanes, as `jbn run` has it.
    devices = jax.devices()
    number = max(n for n in range(1, len(devices) + 1) if len(seeds) % n == 0)
    mesh = jax.make_mesh(
        (number,), ("lanes",), (jax.sharding.AxisType.Auto,), devices=devices[:number]
    )
    lanes, everywhere = (jax.NamedSharding(mesh, spec) for spec in (jax.P("lanes"), jax.P()))
    arguments = jax.device_put((seeds, by_lane), lanes)
    examples = jax.device_put((dataset.train, dataset.val), everywhere)
    over_lanes = jax.vmap(lane, (0, 0, None, None))
    found = jax.jit(over_lanes, out_shardings=lanes)(*arguments, *examples)
    return jax.tree.map(lambda v: np.asarray(v).reshape(len(rates), num_seeds, *v.shape[1:]), found)


def _make_run(
    config: ArmConfig, dataset: Dataset, probe: Probe, *, num_steps: int, every: int
) -> Callable[[Any, Hypers, Examples, Examples], Any]:
    """Returns `run(key, hypers, train, val)`, one run with a leading axis of probes."""
    prepare = make_prepare(config, dataset.input_stats)
    init = make_init(config, dataset.num_classes)
    train_step = make_train_step(config, dataset.num_classes, num_steps)

    def run(key: Any, hypers: Hypers, train: Examples, val: Examples) -> Any:
        keys = RunKeys.of(key)

        def epoch(first_step: Any) -> Any:
            key = jax.random.fold_in(keys.order, first_step)  # as `make_train_chunk` has it
            return batch_indices(key, train.y, config.train.batch_size, config.train.order)

        def step(state: TrainState, rows: Any) -> tuple[TrainState, None]:
            batch = Examples(prepare(train.x[rows], hypers), train.y[rows])
            return train_step(state, batch, hypers)[0], None

        def section(state: TrainState, batches: Any) -> tuple[TrainState, Any]:
            found = probe(state, hypers, train, val)
            return jax.lax.scan(step, state, batches)[0], found

        state = init(keys.init, train._replace(x=prepare(train.x[:2], hypers)), hypers)
        num_batches = len(train.y) // config.train.batch_size
        batches = jax.vmap(epoch)(jnp.arange(0, num_steps, num_batches))
        batches = batches.reshape(-1, config.train.batch_size)[:num_steps]
        sections = batches.reshape(-1, every, *batches.shape[1:])
        # The last probe has steps after it, for nothing: less than compiling the probe twice costs.
        sections = jnp.concatenate([sections, sections[:1]])
        return jax.lax.scan(section, state, sections)[1]

    return run


def make_gradient(
    config: ArmConfig, dataset: Dataset
) -> Callable[[dict[str, Any], Hypers, Examples], Any]:
    """Returns `gradient(variables, hypers, examples)`, of their loss, in training mode."""
    prepare = make_prepare(config, dataset.input_stats)

    def gradient(variables: dict[str, Any], hypers: Hypers, examples: Examples) -> Any:
        model = build_model(
            config.model,
            config.norm,
            dataset.num_classes,
            momentum=hypers.momentum,
            epsilon=hypers.epsilon,
        )

        def loss(params: Any) -> Any:
            inputs = {**variables, "params": params}
            logits: Any = model.apply(
                inputs, prepare(examples.x, hypers), train=True, mutable=["batch_stats"]
            )[0]
            return cross_entropies(logits, examples.y).mean()

        return jax.grad(loss)(variables["params"])

    return gradient


def make_accuracy(config: ArmConfig, dataset: Dataset) -> Probe:
    """Returns the accuracy of the validation examples, as the config evaluates."""
    prepare = make_prepare(config, dataset.input_stats)
    settle = make_settle(config, dataset.num_classes, prepare)
    evaluate = make_evaluate(config, dataset.num_classes, prepare)

    def accuracy(state: TrainState, hypers: Hypers, train: Examples, val: Examples) -> Any:
        return evaluate(settle(state, train.x, hypers), val, hypers).accuracy

    return accuracy


def make_gradient_norms(
    config: ArmConfig, dataset: Dataset
) -> Callable[[dict[str, Any], Hypers, Examples], Any]:
    """Returns `gradient_norms(variables, hypers, examples)`, of each hidden layer's kernel."""
    gradient = make_gradient(config, dataset)

    def gradient_norms(variables: dict[str, Any], hypers: Hypers, examples: Examples) -> Any:
        hidden = kernels(gradient(variables, hypers, examples))[:-1]
        return jnp.stack([norm(kernel) for kernel in hidden])

    return gradient_norms


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
