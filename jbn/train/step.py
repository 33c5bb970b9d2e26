"""The three things a run does with a model: begin, take a step, evaluate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from jbn.config import ArmConfig, UserError
from jbn.data import Examples
from jbn.models import build_model
from jbn.train.metrics import Metrics, measure
from jbn.train.optimizer import make_optimizer
from jbn.train.state import Hypers, TrainState


def make_init(
    config: ArmConfig, num_classes: int
) -> Callable[[PRNGKeyArray, Examples, Hypers], TrainState]:
    """Returns `init(key, examples, hypers)`, the state before the first step."""

    def init(key: PRNGKeyArray, examples: Examples, hypers: Hypers) -> TrainState:
        model = _build(config, num_classes, hypers)
        variables = model.init(key, examples.x[:2], train=True)
        params, batch_stats = variables["params"], variables.get("batch_stats", {})
        opt_state = make_optimizer(hypers.learning_rate).init(params)
        return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, opt_state)

    return init


def make_train_step(
    config: ArmConfig, num_classes: int, to_tree: Callable[[Any], Any] = lambda params: params
) -> Callable[[TrainState, Examples, Hypers], tuple[TrainState, tuple[Metrics, Array]]]:
    """Returns `train_step(state, batch, hypers) -> (state, (metrics, gradient_norm))`.

    `to_tree` makes the model's parameters of `state.params`, where these have another form.
    """

    def train_step(
        state: TrainState, batch: Examples, hypers: Hypers
    ) -> tuple[TrainState, tuple[Metrics, Float[Array, ""]]]:
        model = _build(config, num_classes, hypers)

        def loss(params: Any) -> tuple[Float[Array, ""], tuple[Any, Metrics]]:
            variables = {"params": to_tree(params), "batch_stats": state.batch_stats}
            logits, updates = model.apply(variables, batch.x, train=True, mutable=["batch_stats"])
            metrics = measure(_checked(logits, batch, num_classes), batch.y)
            return metrics.loss, (updates.get("batch_stats", {}), metrics)

        gradient, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = make_optimizer(hypers.learning_rate).update(
            gradient, state.opt_state, state.params
        )
        params = optax.apply_updates(state.params, updates)
        state = TrainState(state.step + 1, params, batch_stats, opt_state)
        return state, (metrics, optax.tree.norm(gradient))

    return train_step


def make_evaluate(
    config: ArmConfig, num_classes: int
) -> Callable[[TrainState, Examples, Hypers], Metrics]:
    """Returns `evaluate(state, examples, hypers)`, which normalizes with the running statistics."""

    def evaluate(state: TrainState, examples: Examples, hypers: Hypers) -> Metrics:
        model = _build(config, num_classes, hypers)
        logits: Any = model.apply(state.variables, examples.x, train=False)
        return measure(_checked(logits, examples, num_classes), examples.y)

    return evaluate


def _checked(
    logits: Float[Array, "examples classes"], examples: Examples, num_classes: int
) -> Float[Array, "examples classes"]:
    """The logits, if they and the labels are what the loss takes."""
    if jnp.ndim(examples.y) != 1 or not jnp.issubdtype(jnp.result_type(examples.y), jnp.integer):
        raise UserError(
            f"y: found shape {jnp.shape(examples.y)} and dtype {jnp.result_type(examples.y)}, "
            "wanted integer labels of shape (examples,)"
        )
    wanted = (len(examples.y), num_classes)
    if jnp.shape(logits) != wanted:
        raise UserError(
            f"model: found an output of shape {jnp.shape(logits)} for x of shape "
            f"{jnp.shape(examples.x)} and {len(examples.y)} labels, wanted logits of shape {wanted}"
        )
    return logits


def _build(config: ArmConfig, num_classes: int, hypers: Hypers) -> nn.Module:
    return build_model(
        config.model, config.norm, num_classes, momentum=hypers.momentum, epsilon=hypers.epsilon
    )
