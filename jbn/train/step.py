"""What a run does with a model: begin, take a step, settle on variables, evaluate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from jbn.config import ArmConfig, NormConfig, UserError
from jbn.data import Examples
from jbn.functional._stats import ema_momentum
from jbn.models import build_model, norm_of_batch
from jbn.train.metrics import Metrics, cross_entropies, measure
from jbn.train.optimizer import make_optimizer
from jbn.train.state import Hypers, TrainState
from jbn.variables import recompute_batch_stats

_EVALUATED_AT_ONCE = 1000  # examples; all 10000 of a test split want gigabytes in a CNN


def make_init(
    config: ArmConfig, num_classes: int
) -> Callable[[PRNGKeyArray, Examples, Hypers], TrainState]:
    """Returns `init(key, examples, hypers)`, the state before the first step."""

    def init(key: PRNGKeyArray, examples: Examples, hypers: Hypers) -> TrainState:
        model = _build(config, config.norm, num_classes, hypers)
        variables = model.init(key, examples.x[:2], train=True)
        params = _scaled_kernels(variables["params"], hypers.init_gain)
        batch_stats = variables.get("batch_stats", {})
        opt_state = make_optimizer(config.optimizer, hypers, params, num_steps=1).init(params)
        average = None if config.train.ema_decay is None else params
        return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, opt_state, average)

    return init


def make_train_step(
    config: ArmConfig,
    num_classes: int,
    num_steps: int,
    to_tree: Callable[[Any], Any] = lambda params: params,
) -> Callable[[TrainState, Examples, Hypers], tuple[TrainState, tuple[Metrics, Array]]]:
    """Returns `train_step(state, batch, hypers) -> (state, (metrics, gradient_norm))`.

    The batch is as the model takes it. `num_steps` is how many the run takes, for the learning
    rate's schedule. `to_tree` makes the model's parameters of `state.params`, where these have
    another form.
    """

    def train_step(
        state: TrainState, batch: Examples, hypers: Hypers
    ) -> tuple[TrainState, tuple[Metrics, Float[Array, ""]]]:
        norm = norm_of_batch(config.norm, len(batch.x))
        momentum = hypers.momentum
        if norm.momentum_warmup:  # each batch is a step, and moves the running statistics
            momentum = ema_momentum(state.step, momentum)
        model = _build(config, norm, num_classes, hypers._replace(momentum=momentum))

        def loss(params: Any) -> tuple[Float[Array, ""], tuple[Any, Metrics]]:
            variables = {"params": to_tree(params), "batch_stats": state.batch_stats}
            logits, updates = model.apply(variables, batch.x, train=True, mutable=["batch_stats"])
            logits = _checked(logits, batch, num_classes)
            smoothing = config.train.label_smoothing
            mean_loss = cross_entropies(logits, batch.y, smoothing).mean()
            return mean_loss, (updates.get("batch_stats", {}), measure(logits, batch.y))

        gradient, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(state.params)
        shapes = jax.eval_shape(to_tree, state.params)
        optimizer = make_optimizer(config.optimizer, hypers, shapes, num_steps)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = _next_average(config, state, params)
        state = TrainState(state.step + 1, params, batch_stats, opt_state, average)
        return state, (metrics, optax.tree.norm(gradient))

    return train_step


def _next_average(config: ArmConfig, state: TrainState, params: Any) -> Any:
    """The average of the parameters, which takes new ones in when they have moved."""
    if config.train.ema_decay is None:
        return None
    accumulate = config.optimizer.accumulate
    weight = 1 - ema_momentum(state.step // accumulate, config.train.ema_decay)
    has_moved = (state.step + 1) % accumulate == 0
    return optax.incremental_update(params, state.average, jnp.where(has_moved, weight, 0))


def make_settle(
    config: ArmConfig, num_classes: int, prepare: Callable[[Any, Hypers], Any]
) -> Callable[[TrainState, Any, Hypers], dict[str, Any]]:
    """Returns `settle(state, x, hypers)`, the variables that are evaluated and kept.

    They are the averaged parameters, where the config has an average; their batch statistics are
    recomputed over x, the training inputs, there or with `train.recompute_stats`: the running ones
    followed other parameters. `prepare(x, hypers)` makes of x what the model takes.
    """

    def settle(state: TrainState, x: Any, hypers: Hypers) -> dict[str, Any]:
        averaged = config.train.ema_decay is not None
        params = state.average if averaged else state.params
        variables = {"params": params, "batch_stats": state.batch_stats}
        if not state.batch_stats or not (averaged or config.train.recompute_stats):
            return variables

        def apply(variables: Any, x: Any) -> Any:
            # Each batch is one group, and never renormalized: the old statistics have no part.
            whole = {"virtual_batch_size": len(x), "num_plain_steps": 2**28 - 1}
            model = _build(config, config.norm.model_copy(update=whole), num_classes, hypers)
            return model.apply(variables, prepare(x, hypers), train=True, mutable=["batch_stats"])

        batch_size = config.train.batch_size
        stats = recompute_batch_stats(apply, variables, x, batch_size=batch_size)
        return {"params": params, "batch_stats": stats}

    return settle


def make_evaluate(
    config: ArmConfig, num_classes: int, prepare: Callable[[Any, Hypers], Any] = lambda x, _: x
) -> Callable[[dict[str, Any], Examples, Hypers], Metrics]:
    """Returns `evaluate(variables, examples, hypers)`; it normalizes with the batch statistics.

    `prepare(x, hypers)` makes of x what the model takes.
    """

    def evaluate(variables: dict[str, Any], examples: Examples, hypers: Hypers) -> Metrics:
        model = _build(config, config.norm, num_classes, hypers)

        def of(part: Examples) -> Metrics:
            logits: Any = model.apply(variables, prepare(part.x, hypers), train=False)
            return measure(_checked(logits, part, num_classes), part.y)

        size = _EVALUATED_AT_ONCE
        if len(examples.y) <= size:
            return of(examples)
        whole = len(examples.y) // size * size
        batches = jax.tree.map(lambda v: v[:whole].reshape(-1, size, *v.shape[1:]), examples)
        metrics = jax.tree.map(lambda v: v.sum(0), jax.lax.map(of, batches))
        if whole == len(examples.y):
            return metrics
        rest = of(jax.tree.map(lambda v: v[whole:], examples))
        return jax.tree.map(jnp.add, metrics, rest)

    return evaluate


def check_labels(y: Any) -> None:
    """Raises UserError unless the labels are what the loss takes."""
    if jnp.ndim(y) != 1 or not jnp.issubdtype(jnp.result_type(y), jnp.integer):
        raise UserError(
            f"y: found shape {jnp.shape(y)} and dtype {jnp.result_type(y)}, wanted integer labels "
            "of shape (examples,)"
        )


def _scaled_kernels(params: Any, gain: Float[Array, ""]) -> Any:
    """The parameters, of which those named kernel are multiplied by the gain."""

    def scaled(path: tuple[Any, ...], param: Array) -> Array:
        return param * gain.astype(param.dtype) if path[-1].key == "kernel" else param

    return jax.tree_util.tree_map_with_path(scaled, params)


def _checked(
    logits: Float[Array, "examples classes"], examples: Examples, num_classes: int
) -> Float[Array, "examples classes"]:
    """The logits, at least float32, if they and the labels are what the loss takes."""
    check_labels(examples.y)
    wanted = (len(examples.y), num_classes)
    if jnp.shape(logits) != wanted:
        raise UserError(
            f"model: found an output of shape {jnp.shape(logits)} for x of shape "
            f"{jnp.shape(examples.x)} and {len(examples.y)} labels, wanted logits of shape {wanted}"
        )
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def _build(config: ArmConfig, norm: NormConfig, num_classes: int, hypers: Hypers) -> nn.Module:
    return build_model(
        config.model, norm, num_classes, momentum=hypers.momentum, epsilon=hypers.epsilon
    )
