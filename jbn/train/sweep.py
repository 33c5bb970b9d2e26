"""Many seeds of one arm as lanes of one program, compiled before it runs."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
from flax.errors import FlaxError
from jaxtyping import Array, Int

from jbn.config import ArmConfig, UserError
from jbn.data import Dataset
from jbn.train.loop import EpochMetrics, make_train_chunk, make_train_run, run_keys
from jbn.train.metrics import Metrics
from jbn.train.state import Hypers, TrainState
from jbn.train.step import make_evaluate, make_init


class Sweep(NamedTuple):
    """Compiled functions; every array of the state, and of the metrics, has an axis of seeds."""

    init: Callable[[], TrainState]
    train_chunk: Callable[[TrainState], tuple[TrainState, EpochMetrics]]
    test: Callable[[TrainState], Metrics]


def count_parameters(config: ArmConfig, dataset: Dataset) -> int:
    """The number of trained numbers; nothing is computed for it but shapes.

    Raises:
        UserError: model and data don't fit together.
    """
    train_run = make_train_run(config, dataset.num_classes)
    arguments = (jax.random.key(0), dataset.train, dataset.val, Hypers.of(config))
    try:
        state, _ = jax.eval_shape(train_run, *arguments)
    except FlaxError as error:
        raise UserError(f"model: {error}".splitlines()[0]) from None
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))


def compile_sweep(config: ArmConfig, dataset: Dataset, seeds: Int[Array, " seeds"]) -> Sweep:
    """The arm's program for these seeds and this data, which it puts on the device."""
    hypers = Hypers.of(config)
    train, val, test = jax.device_put((dataset.train, dataset.val, dataset.test))
    init_keys, order_keys = jax.jit(jax.vmap(lambda seed: run_keys(jax.random.key(seed))))(seeds)

    init = jax.vmap(make_init(config, dataset.num_classes), (0, None, None))
    chunk = jax.vmap(make_train_chunk(config, dataset.num_classes), (0, None, None, 0, None))
    evaluate = jax.vmap(make_evaluate(config, dataset.num_classes), (0, None, None))

    state = jax.eval_shape(init, init_keys, train, hypers)
    compiled_init = jax.jit(init).lower(init_keys, train, hypers).compile()
    compiled_chunk = (
        jax.jit(chunk, donate_argnums=0).lower(state, train, val, order_keys, hypers).compile()
    )
    compiled_evaluate = jax.jit(evaluate).lower(state, test, hypers).compile()
    return Sweep(
        init=lambda: compiled_init(init_keys, train, hypers),
        train_chunk=lambda state: compiled_chunk(state, train, val, order_keys, hypers),
        test=lambda state: compiled_evaluate(state, test, hypers),
    )
