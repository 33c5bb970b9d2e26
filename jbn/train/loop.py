"""Steps make an epoch, epochs make a run: each one `lax.scan`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jbn.config import ArmConfig, UserError
from jbn.data import Examples, batch_indices
from jbn.train.metrics import Metrics
from jbn.train.state import Hypers, TrainState
from jbn.train.step import make_evaluate, make_init, make_train_step


class EpochMetrics(NamedTuple):
    """Of one epoch: its training batches as they came, and the validation split after it."""

    train: Metrics
    gradient_norm: Float[Array, "..."]  # mean over the steps of the gradient's Euclidean norm
    val: Metrics


TrainChunk = Callable[
    [TrainState, Examples, Examples, PRNGKeyArray, Hypers], tuple[TrainState, EpochMetrics]
]
TrainRun = Callable[[PRNGKeyArray, Examples, Examples, Hypers], tuple[TrainState, EpochMetrics]]


def make_train_chunk(config: ArmConfig, num_classes: int) -> TrainChunk:
    """Returns `train_chunk(state, train, val, key, hypers) -> (state, metrics)`: one epoch.

    The order of the examples follows from the key and `state.step`, so a run that was stopped
    between two epochs continues as if it hadn't been.
    """
    evaluate = make_evaluate(config, num_classes)

    def train_chunk(
        state: TrainState, train: Examples, val: Examples, key: PRNGKeyArray, hypers: Hypers
    ) -> tuple[TrainState, EpochMetrics]:
        # The steps see all parameters as one vector: what they do to each of them (gradient, norm,
        # Adam) is then one loop over memory, not one for each of many small arrays.
        vector, to_tree = ravel_pytree(state.params)
        train_step = make_train_step(config, num_classes, to_tree)

        def step(
            state: TrainState, rows: Int[Array, " batch"]
        ) -> tuple[TrainState, tuple[Metrics, Float[Array, ""]]]:
            return train_step(state, Examples(train.x[rows], train.y[rows]), hypers)

        if len(train.x) != len(train.y):
            raise UserError(
                f"train: found {len(train.x)} inputs and {len(train.y)} labels, wanted as many"
            )
        epoch_key = jax.random.fold_in(key, state.step)
        batches = batch_indices(epoch_key, len(train.y), config.train.batch_size)
        state = state._replace(params=vector)
        state, (metrics, gradient_norms) = jax.lax.scan(step, state, batches)
        state = state._replace(params=to_tree(state.params))
        total = jax.tree.map(lambda per_step: per_step.sum(0), metrics)
        return state, EpochMetrics(total, gradient_norms.mean(), evaluate(state, val, hypers))

    return train_chunk


def make_train_run(config: ArmConfig, num_classes: int) -> TrainRun:
    """Returns `train_run(key, train, val, hypers) -> (state, metrics)`: all epochs of one seed.

    A pure function: `jax.jit` compiles it whole, `jax.vmap` over keys or `Hypers` sweeps. The
    examples go in as they are: the config's `data` section isn't looked at. Metrics have a leading
    axis of epochs: `metrics.train` and `metrics.val` with `.loss` and `.accuracy`, and
    `metrics.gradient_norm`. The model is applied with `state.variables`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jbn.config import ArmConfig, TrainConfig
        >>> from jbn.train import Examples, Hypers, make_train_run
        >>> x = jax.random.normal(jax.random.key(0), (256, 2))
        >>> examples = Examples(x, (x[:, 0] > 0).astype(jnp.int32))
        >>> config = ArmConfig(train=TrainConfig(num_epochs=20, batch_size=16))
        >>> train_run = jax.jit(make_train_run(config, num_classes=2))
        >>> state, metrics = train_run(jax.random.key(1), examples, examples, Hypers.of(config))
        >>> print(metrics.val.accuracy.shape, bool(metrics.train.accuracy[-1] > 0.9))
        (20,) True
        >>> rates = Hypers(learning_rate=jnp.array([1e-3, 1e-2]), momentum=0.99, epsilon=1e-3)
        >>> axes = (None, None, None, Hypers(learning_rate=0, momentum=None, epsilon=None))
        >>> sweep = jax.jit(jax.vmap(make_train_run(config, num_classes=2), axes))
        >>> states, metrics = sweep(jax.random.key(1), examples, examples, rates)
        >>> print(metrics.val.accuracy.shape)
        (2, 20)
    """
    init, train_chunk = make_init(config, num_classes), make_train_chunk(config, num_classes)

    def train_run(
        key: PRNGKeyArray, train: Examples, val: Examples, hypers: Hypers
    ) -> tuple[TrainState, EpochMetrics]:
        init_key, order_key = run_keys(key)
        state = init(init_key, train, hypers)

        def epoch(state: TrainState, _: None) -> tuple[TrainState, EpochMetrics]:
            return train_chunk(state, train, val, order_key, hypers)

        return jax.lax.scan(epoch, state, length=config.train.num_epochs)

    return train_run


def run_keys(key: PRNGKeyArray) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """A run's key, split by purpose: for the initial parameters, for the order of examples."""
    init_key, order_key = jax.random.split(key)
    return init_key, order_key
