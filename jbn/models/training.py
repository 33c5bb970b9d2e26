"""What a model is and does with a batch in training, whatever the batch's size."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jbn.config import NormConfig
from jbn.linen import BatchNorm


def norm_of_batch(norm: NormConfig, batch_size: int) -> NormConfig:
    """The section for a batch of so many examples: one that can't be split into groups is one."""
    if batch_size % norm.virtual_batch_size == 0:
        return norm
    return norm.model_copy(update={"virtual_batch_size": batch_size})


def apply_in_training(model: nn.Module, variables: Mapping[str, Any], x: Any) -> tuple[Any, Any]:
    """The logits of a batch, and the updates of its `batch_stats`.

    Of a batch of one, too: jbn's batch norms refuse to train with one value per channel, which is
    a mistake where somebody chose it unawares. Whoever asks a run for it gets what it is: mean and
    value are the same, y is the bias, and nothing moves the running statistics.
    """
    with nn.intercept_methods(_beside_one_that_does_not_count):
        return model.apply(variables, x, train=True, mutable=["batch_stats"])


def _beside_one_that_does_not_count(
    next_call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
) -> Any:
    """A batch norm's output where x has one value per channel: of two, of which one is masked."""
    layer = context.module
    if not isinstance(layer, BatchNorm) or context.method_name != "__call__":
        return next_call(*args, **kwargs)
    call = inspect.signature(BatchNorm.__call__).bind(layer, *args, **kwargs).arguments
    x, mask = call["x"], call.get("mask")
    if layer.axis != -1 or mask is not None or jnp.size(x) != jnp.shape(x)[-1]:
        return next_call(*args, **kwargs)
    # y doesn't depend on x; of the gradient that rounding leaves Adam would make whole steps.
    x = jax.lax.stop_gradient(x)
    # As if they were pixels: both are in the example's group, if there are groups.
    both = jnp.stack([x, x], -2)
    y = next_call(both, call.get("use_running_average"), mask=jnp.array([[True], [False]]))
    return y[..., 0, :]
