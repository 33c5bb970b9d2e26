"""From the optimizer section of a config to an optax transformation."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jbn.config import OptimizerConfig
from jbn.train.state import Hypers
from jbn.variables import decay_mask


def make_optimizer(
    config: OptimizerConfig, hypers: Hypers, params: Any, num_steps: int
) -> optax.GradientTransformation:
    """The optimizer for these parameters; learning rate and weight decay may be traced.

    In this order: the gradient is clipped, weight decay is added (sgd, momentum), the optimizer's
    own rule, weight decay is added (adamw: Loshchilov and Hutter, 2019, arXiv:1711.05101), the
    schedule and the learning rate. Decay is for what `jbn.variables.decay_mask` says.

    Its state is vectors, whether the gradients come as a tree or as a vector themselves.

    Args:
        config: the section.
        hypers: the numbers.
        params: the model's parameters, as a tree; their names and shapes matter.
        num_steps: how many batches the run takes, for the schedule.
    """
    parts: list[optax.GradientTransformation] = []
    if config.clip_norm is not None:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    match config.kind:
        case "sgd":
            parts.append(_decay(hypers, params))
        case "momentum":
            parts += [_decay(hypers, params), optax.trace(config.momentum)]
        case "adam":
            parts.append(optax.scale_by_adam())
        case "adamw":
            parts += [optax.scale_by_adam(), _decay(hypers, params)]
    if config.schedule != "constant" or config.warmup_steps:
        parts.append(optax.scale_by_schedule(_schedule(config, num_steps // config.accumulate)))
    optimizer = optax.chain(*parts, optax.scale_by_learning_rate(hypers.learning_rate))
    if config.accumulate > 1:
        steps = optax.MultiSteps(optimizer, config.accumulate)
        optimizer = steps.gradient_transformation()
    return optax.flatten(optimizer)


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


def _schedule(config: OptimizerConfig, num_updates: int) -> optax.Schedule:
    """What the learning rate is multiplied with: from 0 to 1, then as the config says, to 0."""
    rest = max(num_updates - config.warmup_steps, 1)
    after = {
        "constant": optax.constant_schedule(1.0),
        "linear": optax.linear_schedule(1.0, 0.0, rest),
        "cosine": optax.cosine_decay_schedule(1.0, rest),
    }[config.schedule]
    # The first step already moves: after n steps the rate is whole.
    warmup = optax.linear_schedule(1 / (config.warmup_steps + 1), 1.0, config.warmup_steps)
    return optax.join_schedules([warmup, after], [config.warmup_steps])
