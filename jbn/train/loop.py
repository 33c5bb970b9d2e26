"""Steps make an epoch, epochs make a run: each one `lax.scan`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jbn.config import ArmConfig, UserError
from jbn.data import Examples, augment, batch_indices, noisy_labels, normalize_inputs
from jbn.functional._input_stats import InputStats
from jbn.train.metrics import Metrics
from jbn.train.state import Hypers, TrainState
from jbn.train.step import check_labels, make_evaluate, make_init, make_settle, make_train_step


class EpochMetrics(NamedTuple):
    """Of one epoch: its training batches as they came, and the validation split after it."""

    train: Metrics
    gradient_norm: Float[Array, "..."]  # mean over the steps of the gradient's Euclidean norm
    val: Metrics
    # The first whose loss or gradient isn't finite; the last, if the evaluation isn't; else -1.
    diverged_step: Int[Array, "..."]


class RunKeys(NamedTuple):
    """A run's key, split by purpose."""

    init: PRNGKeyArray
    order: PRNGKeyArray
    labels: PRNGKeyArray
    augment: PRNGKeyArray

    @classmethod
    def of(cls, key: PRNGKeyArray) -> "RunKeys":
        """The parts of a key."""
        return cls(*jax.random.split(key, 4))


TrainChunk = Callable[
    [TrainState, Examples, Examples, RunKeys, Hypers], tuple[TrainState, EpochMetrics]
]
TrainRun = Callable[[PRNGKeyArray, Examples, Examples, Hypers], tuple[TrainState, EpochMetrics]]


def make_prepare(
    config: ArmConfig, input_stats: InputStats | None
) -> Callable[[Any, Hypers], Float[Array, "examples *features"]]:
    """Returns `prepare(x, hypers)`, raw inputs as the model takes them; without statistics, x."""

    def prepare(x: Any, hypers: Hypers) -> Any:
        if input_stats is None:
            return x
        return normalize_inputs(config.data, input_stats, x, input_scale=hypers.input_scale)

    return prepare


def make_train_chunk(
    config: ArmConfig, num_classes: int, input_stats: InputStats | None = None
) -> TrainChunk:
    """Returns `train_chunk(state, train, val, keys, hypers) -> (state, metrics)`: one epoch.

    The examples of an epoch, their order and what is done to them follow from the keys and
    `state.step`, so a run that was stopped between two epochs continues as if it hadn't been.
    """
    prepare = make_prepare(config, input_stats)
    settle = make_settle(config, num_classes, prepare)
    evaluate = make_evaluate(config, num_classes, prepare)

    def train_chunk(
        state: TrainState, train: Examples, val: Examples, keys: RunKeys, hypers: Hypers
    ) -> tuple[TrainState, EpochMetrics]:
        if len(train.x) != len(train.y):
            raise UserError(
                f"train: found {len(train.x)} inputs and {len(train.y)} labels, wanted as many"
            )
        check_labels(train.y)
        labels = noisy_labels(keys.labels, train.y, hypers.label_noise, num_classes)
        epoch_key = jax.random.fold_in(keys.order, state.step)
        batches = batch_indices(epoch_key, train.y, config.train.batch_size, config.train.order)
        # The steps see all parameters as one vector: what they do to each of them (gradient, norm,
        # Adam) is then one loop over memory, not one for each of many small arrays.
        _, to_tree = ravel_pytree(state.params)
        num_steps = config.train.num_epochs * len(batches)
        _check_updates(config, num_steps)
        train_step = make_train_step(config, num_classes, num_steps, to_tree)

        def step(
            state: TrainState, rows: Int[Array, " batch"]
        ) -> tuple[TrainState, tuple[Metrics, Float[Array, ""]]]:
            step_key = jax.random.fold_in(keys.augment, state.step)
            # Augmented pixels that never vary in training would be far out once normalized.
            x = augment(config.data.augment, step_key, prepare(train.x[rows], hypers))
            return train_step(state, Examples(x, labels[rows]), hypers)

        first_step = state.step
        state, (metrics, gradient_norms) = jax.lax.scan(step, _as_vectors(state), batches)
        state = state._replace(
            params=to_tree(state.params),
            average=None if state.average is None else to_tree(state.average),
        )
        is_finite = jnp.isfinite(metrics.loss_sum) & jnp.isfinite(gradient_norms)
        variables = settle(state, train.x, hypers)
        val_metrics = evaluate(variables, val, hypers)
        # What the last step did shows in the evaluation alone.
        last_step = jnp.where(jnp.isfinite(val_metrics.loss_sum), -1, state.step - 1)
        return state, EpochMetrics(
            train=jax.tree.map(lambda per_step: per_step.sum(0), metrics),
            gradient_norm=gradient_norms.mean(),
            val=val_metrics,
            diverged_step=jnp.where(is_finite.all(), last_step, first_step + is_finite.argmin()),
        )

    return train_chunk


def make_train_run(
    config: ArmConfig, num_classes: int, input_stats: InputStats | None = None
) -> TrainRun:
    """Returns `train_run(key, train, val, hypers) -> (state, metrics)`: all epochs of one seed.

    A pure function: `jax.jit` compiles it whole, `jax.vmap` over keys or `Hypers` sweeps. With
    `input_stats` (`jbn.data.fit_inputs` makes them) the examples are normalized as `config.data`
    says; without, they go in as they are. Metrics have a leading axis of epochs: `metrics.train`
    and `metrics.val` with `.loss` and `.accuracy`, `metrics.gradient_norm` and
    `metrics.diverged_step`. The model is applied with `state.variables`; what is evaluated with an
    average or recomputed statistics, `jbn.train.make_settle` makes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jbn.config import ArmConfig, TrainConfig
        >>> from jbn.train import Examples, Hypers, make_train_run
        >>> x = jax.random.normal(jax.random.key(0), (256, 2))
        >>> examples = Examples(x, (x[:, 0] > 0).astype(jnp.int32))
        >>> config = ArmConfig(train=TrainConfig(num_epochs=20, batch_size=16))
        >>> hypers = Hypers.of(config)
        >>> train_run = jax.jit(make_train_run(config, num_classes=2))
        >>> state, metrics = train_run(jax.random.key(1), examples, examples, hypers)
        >>> print(metrics.val.accuracy.shape, bool(metrics.train.accuracy[-1] > 0.9))
        (20,) True
        >>> rates = hypers._replace(learning_rate=jnp.array([1e-3, 1e-2]))
        >>> axes = Hypers(*[None] * len(Hypers._fields))._replace(learning_rate=0)
        >>> sweep = jax.vmap(make_train_run(config, num_classes=2), (None, None, None, axes))
        >>> states, metrics = jax.jit(sweep)(jax.random.key(1), examples, examples, rates)
        >>> print(metrics.val.accuracy.shape)
        (2, 20)
    """
    init = make_init(config, num_classes)
    train_chunk = make_train_chunk(config, num_classes, input_stats)
    prepare = make_prepare(config, input_stats)

    def train_run(
        key: PRNGKeyArray, train: Examples, val: Examples, hypers: Hypers
    ) -> tuple[TrainState, EpochMetrics]:
        keys = RunKeys.of(key)
        state = init(keys.init, train._replace(x=prepare(train.x[:2], hypers)), hypers)

        def epoch(state: TrainState, _: None) -> tuple[TrainState, EpochMetrics]:
            return train_chunk(state, train, val, keys, hypers)

        return jax.lax.scan(epoch, state, length=config.train.num_epochs)

    return train_run


def _check_updates(config: ArmConfig, num_steps: int) -> None:
    """Raises UserError where a run would end before its parameters or its rate get anywhere."""
    accumulate, warmup_steps = config.optimizer.accumulate, config.optimizer.warmup_steps
    if accumulate > num_steps:
        raise UserError(
            f"optimizer.accumulate: found {accumulate}, wanted at most {num_steps}, the number of "
            "batches in all epochs"
        )
    if warmup_steps >= num_steps // accumulate:
        raise UserError(
            f"optimizer.warmup_steps: found {warmup_steps}, wanted fewer than "
            f"{num_steps // accumulate}, the number of steps in all epochs"
        )


def _as_vectors(state: TrainState) -> TrainState:
    """The state with its parameters, and their average, as a vector each."""
    average = None if state.average is None else ravel_pytree(state.average)[0]
    return state._replace(params=ravel_pytree(state.params)[0], average=average)
