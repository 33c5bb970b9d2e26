"""From the optimizer section of a config to an optax transformation."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jbn.config import ArmConfig, OptimizerConfig
from jbn.train.parts import Parts, make_own_optimizer, make_own_schedule
from jbn.train.state import Hypers
from jbn.variables import decay_mask
from jbn.variables._masks import is_matched


def make_optimizer(
    arm: ArmConfig, parts: Parts, hypers: Hypers, params: Any, num_steps: int
) -> optax.GradientTransformation:
    """The optimizer for these parameters; learning rate and weight decay may be traced.

    In this order: the gradient is clipped, weight decay is added (sgd, momentum), the optimizer's
    own rule, weight decay is added (adamw: Loshchilov and Hutter, 2019, arXiv:1711.05101), the
    schedule and the learning rate. Decay is for what `jbn.variables.decay_mask` says. What is
    frozen doesn't move.

    Gradients and parameters may come as a tree or as one vector. The state is of vectors; that of
    an optimizer of the user's own is of trees.

    Args:
        arm: the config.
        parts: an optimizer or a schedule of the user's own in the place of the config's.
        hypers: the numbers.
        params: the model's parameters, as a tree; their names and shapes matter.
        num_steps: how many batches the run takes, for the schedule.
    """
    config = arm.optimizer
    num_updates = num_steps // config.accumulate
    chain: list[optax.GradientTransformation] = []
    if config.clip_norm is not None:
        chain.append(optax.clip_by_global_norm(config.clip_norm))
    if parts.optimizer is not None:
        arguments = {
            "learning_rate": hypers.learning_rate,
            "weight_decay": hypers.weight_decay,
            "momentum": config.momentum,
            "num_steps": num_updates,
        }
        chain.append(make_own_optimizer(parts.optimizer, arguments))
    else:
        chain += _rule(config, hypers, params)
    if config.schedule != "constant" or config.warmup_steps or parts.schedule is not None:
        chain.append(optax.scale_by_schedule(_schedule(config, parts, num_updates)))
    if parts.optimizer is None:
        chain.append(optax.scale_by_learning_rate(hypers.learning_rate))
    optimizer = optax.chain(*chain)
    if config.accumulate > 1:
        steps = optax.MultiSteps(optimizer, config.accumulate)
        optimizer = steps.gradient_transformation()
    optimizer = _of_trees(optimizer, params) if parts.optimizer else optax.flatten(optimizer)
    return _without(optimizer, arm.train.freeze, params) if arm.train.freeze else optimizer


def _rule(
    config: OptimizerConfig, hypers: Hypers, params: Any
) -> list[optax.GradientTransformation]:
    """What the kind of optimizer makes of a gradient, before the learning rate."""
    match config.kind:
        case "sgd":
            return [_decay(hypers, params)]
        case "momentum":
            return [_decay(hypers, params), optax.trace(config.momentum)]
        case "adam":
            return [optax.scale_by_adam()]
        case "adamw":
            return [optax.scale_by_adam(), _decay(hypers, params)]


def _of_trees(optimizer: optax.GradientTransformation, params: Any) -> optax.GradientTransformation:
    """The optimizer, of vectors too; it sees trees, for its rule may be one for each array."""
    _, as_tree = ravel_pytree(jax.tree.map(lambda p: jnp.zeros(p.shape, p.dtype), params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if not isinstance(updates, jax.Array):
            return optimizer.update(updates, state, params)
        made, state = optimizer.update(as_tree(updates), state, as_tree(params))
        return ravel_pytree(made)[0], state

    return optax.GradientTransformation(optimizer.init, update)


def _without(
    optimizer: optax.GradientTransformation, frozen: tuple[str, ...], params: Any
) -> optax.GradientTransformation:
    """The optimizer, whose updates are 0 for parameters that match a pattern."""
    flat = flatten_dict(params)
    is_frozen = {path: jnp.full(p.shape, is_matched(path, frozen)) for path, p in flat.items()}
    as_tree = unflatten_dict(is_frozen)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        made, state = optimizer.update(updates, state, params)
        mask = ravel_pytree(as_tree)[0] if isinstance(made, jax.Array) else as_tree
        return jax.tree.map(lambda u, off: jnp.where(off, 0, u), made, mask), state

    return optax.GradientTransformation(optimizer.init, update)


def _decay(hypers: Hypers, params: Any) -> optax.GradientTransformation:
    """Adds weight decay to a vector of updates; optax's own masks whole leaves of a tree."""
    share, _ = ravel_pytree(
        jax.tree.map(
            lambda p, decayed: jnp.full(p.shape, decayed, p.dtype), params, decay_mask(params)
        )
    )

    def add(
        updates: Float[Array, " params"], params: Float[Array, " params"]
    ) -> Float[Array, " params"]:
        return updates + hypers.weight_decay * share * params

    return optax.stateless(add)


def _schedule(config: OptimizerConfig, parts: Parts, num_updates: int) -> optax.Schedule:
    """What the learning rate is multiplied with: from 0 to 1, then as the config says, to 0."""
    rest = max(num_updates - config.warmup_steps, 1)
    after: optax.Schedule
    if parts.schedule is not None:
        after = make_own_schedule(parts.schedule, rest)
    else:
        after = {
            "constant": optax.constant_schedule(1.0),
            "linear": optax.linear_schedule(1.0, 0.0, rest),
            "cosine": optax.cosine_decay_schedule(1.0, rest),
        }[config.schedule]
    # The first step already moves: after n steps the rate is whole.
    warmup = optax.linear_schedule(1 / (config.warmup_steps + 1), 1.0, config.warmup_steps)
    return optax.join_schedules([warmup, after], [config.warmup_steps])
