"""Steps make an epoch, epochs make a training: pure functions, each one `lax.scan`."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jbn.config import UserError
from jbn.data import Batch, Examples, epoch_rows, noisy_labels, stacked
from jbn.data.batches import check_as_many
from jbn.train.metrics import Metrics
from jbn.train.state import Hypers, TrainKeys, TrainState
from jbn.train.task import StepMetrics, Task
from jbn.variables._recompute import moments_over_batches

_EVALUATED_AT_ONCE = 1000  # examples; all 10000 of a test split want gigabytes in a CNN


class EpochMetrics(NamedTuple):
    """Of one epoch: its training batches as they came, and the validation split after it."""

    train: dict[str, Float[Array, "..."]]
    gradient_norm: Float[Array, "..."]  # mean over the steps of the gradient's Euclidean norm
    val: dict[str, Float[Array, "..."]]
    # The first whose loss or gradient isn't finite; the last, if the evaluation isn't; else -1.
    diverged_step: Int[Array, "..."]

    @property
    def by_name(self) -> dict[str, Array]:
        """All numbers, by the names that they have in tables."""
        return {
            **{f"train_{name}": metric for name, metric in self.train.items()},
            **{f"val_{name}": metric for name, metric in self.val.items()},
            "gradient_norm": self.gradient_norm,
            "diverged_step": self.diverged_step,
        }


def run_training(
    task: Task, key: PRNGKeyArray, train: Examples, val: Examples, hypers: Hypers
) -> tuple[TrainState, EpochMetrics]:
    """All epochs of one seed, as a pure function: `jax.jit` compiles it, `jax.vmap` sweeps.

    The examples are raw inputs, which the task normalizes if its `DataSpec` has statistics of them
    (`jbn.data.fit_inputs`). Metrics have a leading axis of epochs: `metrics.train` and
    `metrics.val` with what the loss reports, `metrics.gradient_norm` and
    `metrics.diverged_step`. The model is evaluated with `final_variables(task, state, ...)`.

    Raises:
        UserError: the examples aren't those of the task.

    Example:
        >>> import functools, jax, jax.numpy as jnp
        >>> from jbn.config import ArmConfig, TrainConfig
        >>> from jbn.data import DataSpec, Examples
        >>> from jbn.train import Hypers, make_task, run_training
        >>> x = jax.random.normal(jax.random.key(0), (256, 2))
        >>> examples = Examples(x, (x[:, 0] > 0).astype(jnp.int32))
        >>> config = ArmConfig(train=TrainConfig(num_epochs=20, batch_size=16))
        >>> task = make_task(config, DataSpec(num_examples=256, features=(2,), num_classes=2))
        >>> train = functools.partial(run_training, task)
        >>> hypers = Hypers.of(config)
        >>> state, metrics = jax.jit(train)(jax.random.key(1), examples, examples, hypers)
        >>> accuracy = metrics.train["accuracy"]
        >>> print(accuracy.shape, bool(accuracy[-1] > 0.9))
        (20,) True
        >>> rates = hypers._replace(learning_rate=jnp.array([1e-3, 1e-2]))
        >>> axes = Hypers(*[None] * len(Hypers._fields))._replace(learning_rate=0)
        >>> sweep = jax.jit(jax.vmap(train, (None, None, None, axes)))
        >>> states, metrics = sweep(jax.random.key(1), examples, examples, rates)
        >>> print(metrics.val["accuracy"].shape)
        (2, 20)
    """
    keys = TrainKeys.of(key)
    val_batches = batches_to_evaluate(val)

    def epoch(state: TrainState, _: None) -> tuple[TrainState, EpochMetrics]:
        return run_epoch(task, state, train, val_batches, keys, hypers)

    return jax.lax.scan(epoch, task.init(keys, hypers), length=task.config.train.num_epochs)


def run_epoch(
    task: Task,
    state: TrainState,
    train: Examples,
    val_batches: Batch,
    keys: TrainKeys,
    hypers: Hypers,
) -> tuple[TrainState, EpochMetrics]:
    """One epoch: every training example once, then the validation split.

    The examples, their order and what is done to them follow from the keys and `state.step`. So a
    training that was stopped between two epochs continues as if it hadn't been.
    """
    check_as_many(*train)
    first_step = state.step
    state, steps = _run_steps_of_epoch(task, state, train, keys, hypers)
    variables = final_variables(task, state, train.x, keys, hypers)
    val = evaluate_batches(task, variables, val_batches, hypers)
    return state, epoch_metrics(task, first_step, steps, val)


def epoch_metrics(
    task: Task, first_step: Int[Array, ""], steps: StepMetrics, val: Metrics
) -> EpochMetrics:
    """The metrics of an epoch, from those of its steps and of the validation split."""
    is_finite = jnp.isfinite(steps.batch.sums["loss"]) & jnp.isfinite(steps.gradient_norm)
    # What the last step did shows in the evaluation alone.
    last_step = first_step + len(is_finite) - 1
    after = jnp.where(jnp.isfinite(val.sums["loss"]), -1, last_step)
    train: Metrics = jax.tree.map(lambda per_step: per_step.sum(0), steps.batch)
    of_train = task.loss.metrics(train.means)
    return EpochMetrics(
        train={n: of_train[n] for n in of_train if n not in task.loss.evaluated_only},
        gradient_norm=steps.gradient_norm.mean(),
        val=task.loss.metrics(val.means),
        diverged_step=jnp.where(is_finite.all(), after, first_step + is_finite.argmin()),
    )


def run_steps(
    task: Task,
    state: TrainState,
    batches: Any,
    keys: TrainKeys,
    hypers: Hypers,
    get: Callable[[Any], Batch] = lambda batch: batch,
) -> tuple[TrainState, StepMetrics]:
    """A step for each of the batches, which are stacked along the first axis; and its metrics.

    `get` makes a batch of what is stacked, such as its examples of their rows.
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, StepMetrics]:
        return task.step(state, get(batch), keys, hypers)

    # The steps see all parameters as one vector: what they do to each of them (gradient, norm,
    # Adam) is then one loop over memory, not one for each of many small arrays.
    state, steps = jax.lax.scan(step, _with_params(state, _as_vector), batches)
    return _with_params(state, task.as_tree), steps


def final_variables(
    task: Task, state: TrainState, x: Any, keys: TrainKeys, hypers: Hypers
) -> dict[str, Any]:
    """The variables that are evaluated and kept; x are the training inputs."""
    if not task.recomputes:
        return task.final_variables(state, None)
    moments = moments_over_batches(
        lambda batch: task.moments(state, batch, keys, hypers),
        x,
        task.config.train.batch_size,
    )
    return task.final_variables(state, moments)


def batches_to_evaluate(examples: Examples, num_shards: int = 1) -> Batch:
    """A split in batches of one size, stacked, as `evaluate_batches` takes them.

    So many devices may share a batch: they divide its size.
    """
    return stacked(examples.x, examples.y, _EVALUATED_AT_ONCE, num_shards)


def evaluate_batches(
    task: Task, variables: dict[str, Any], batches: Batch, hypers: Hypers
) -> Metrics:
    """What is measured of all batches together; `task.loss.metrics` makes metrics of its means."""
    if len(batches.y) == 1:  # without a loop the inputs of all lanes are normalized once
        return task.evaluate(variables, jax.tree.map(lambda v: v[0], batches), hypers)
    of_each = jax.lax.map(lambda batch: task.evaluate(variables, batch, hypers), batches)
    return jax.tree.map(lambda per_batch: per_batch.sum(0), of_each)


def rows_of_epoch(
    task: Task, targets: Any, keys: TrainKeys, epoch: int | Int[Array, ""]
) -> Int[Array, "num_batches batch_size"]:
    """The rows of each batch of an epoch; -1 where the last one has no more."""
    config = task.config.train
    order_key = jax.random.fold_in(keys.order, epoch)
    rows = epoch_rows(order_key, targets, config.batch_size, config.order)
    num_more = task.num_batches * config.batch_size - len(rows)
    return jnp.pad(rows, (0, num_more), constant_values=-1).reshape(-1, config.batch_size)


def noisy_targets(
    task: Task, y: Any, rows: Int[Array, " examples"], keys: TrainKeys, hypers: Hypers
) -> Array:
    """The training targets of these rows, labels with their noise."""
    y, num_classes = jnp.asarray(y), task.spec.num_classes
    if num_classes is None:
        return y
    return noisy_labels(keys.labels, y, rows, hypers.label_noise, num_classes)


def full_and_last(task: Task, rows: Any) -> list[tuple[Any, bool]]:
    """The full batches of an epoch's rows, and the last one if it isn't; with whether all count.

    The last one is filled up if the model takes a mask. Else it has its own size, and all count.
    """
    num_last = task.spec.num_examples % task.config.train.batch_size
    if not num_last:
        return [(rows, True)]
    last = rows[..., -1:, :] if task.takes_mask else rows[..., -1:, :num_last]
    return [(rows[..., :-1, :], True), (last, not task.takes_mask)]


def weight_of(rows: Int[Array, " batch"], is_full: bool) -> Float[Array, " batch"] | None:
    """0 for rows of -1, which only fill a batch up; None if all rows count."""
    return None if is_full else (rows >= 0).astype(jnp.float32)


def make_gather(
    task: Task, train: Examples, keys: TrainKeys, hypers: Hypers
) -> Callable[..., Batch]:
    """Returns `gather(rows, is_full=...)`: a batch of training examples; labels have their noise.

    A batch that isn't full has rows of -1, which don't count.
    """
    x = jnp.asarray(train.x)
    targets = noisy_targets(task, train.y, jnp.arange(len(train.y)), keys, hypers)

    def gather(rows: Int[Array, " batch"], *, is_full: bool) -> Batch:
        return Batch(x[rows], targets[rows], weight_of(rows, is_full))

    return gather


def _run_steps_of_epoch(
    task: Task, state: TrainState, train: Examples, keys: TrainKeys, hypers: Hypers
) -> tuple[TrainState, StepMetrics]:
    """A step for each batch of an epoch; only the last one may be filled up."""
    task.loss.check(train.y)
    if len(train.y) != task.spec.num_examples:
        raise UserError(
            f"train: found {len(train.y)} examples, wanted {task.spec.num_examples}, as the "
            "task's DataSpec says"
        )
    rows = rows_of_epoch(task, train.y, keys, state.step // task.num_batches)
    gather = make_gather(task, train, keys, hypers)
    found = []
    for part, is_full in full_and_last(task, rows):
        get = functools.partial(gather, is_full=is_full)
        state, steps = run_steps(task, state, part, keys, hypers, get)
        found.append(steps)
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)


def _with_params(state: TrainState, change: Callable[[Any], Any]) -> TrainState:
    """The state with its parameters, and their average, in another form."""
    average = None if state.average is None else change(state.average)
    return state._replace(params=change(state.params), average=average)


def _as_vector(params: Any) -> Float[Array, " params"]:
    return ravel_pytree(params)[0]
