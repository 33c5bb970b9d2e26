"""Makes a Flax module of the model and norm sections of a config."""

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jbn.config import ModelConfig, NormConfig, UserError
from jbn.functional._renorm import RenormLimits, renorm_limits
from jbn.linen import (
    BatchNorm,
    BatchRenorm,
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
)
from jbn.models.cnn import CNN
from jbn.models.convolution import convolve
from jbn.models.mlp import MLP
from jbn.models.resnet import resnet18, resnet50

_ACTIVATIONS: dict[str, Callable[[Array], Array] | None] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "sigmoid": nn.sigmoid,
    "none": None,
}


def build_model(
    model: ModelConfig,
    norm: NormConfig,
    num_classes: int,
    *,
    momentum: float | Float[Array, ""] | None = None,
    epsilon: float | Float[Array, ""] | None = None,
    platform: str | None = None,
) -> nn.Module:
    """A module that is called as `module(x, train)` and returns logits.

    A model of jbn also takes `mask`, which is True for the examples that count in its batch
    statistics.

    A user's factory is called as `factory(num_classes=..., norm=...)` and returns a Flax Linen
    module. `norm` is None or makes a norm layer when it is called as
    `norm(use_running_average=...)`. The layer's momentum and epsilon may be traced. The module is
    called as `module(x, train=...)`. Here x has the shape `(batch, *features)`, and the module
    returns logits of shape `(batch, num_classes)`, without softmax. The module may have any
    collections beside its parameters. In training it may draw random numbers from "dropout".

    If the module takes `mask=...`, jbn fills a smaller last batch up to the full size. `mask` has
    the shape `(batch,)` and is True for the examples that count. A module that takes no `mask` gets
    the last batch at its own size.

    Args:
        model: the architecture, or the factory.
        norm: the norm in each hidden layer.
        num_classes: the number of logits of an example.
        momentum, epsilon: numbers in place of those of `norm`, maybe traced; None keeps those.
        platform: where the model will run. On "cpu" jbn writes convolutions so that they are fast
            in a compiled loop.

    Raises:
        UserError: the factory can't be imported, takes other arguments, or returns no such module.
    """
    dtype = jnp.bfloat16 if model.dtype == "bfloat16" else None
    make_norm = _make_norm(
        norm,
        norm.momentum if momentum is None else momentum,
        norm.epsilon if epsilon is None else epsilon,
        dtype,
    )
    if model.factory is not None:
        return _call_factory(model.factory, num_classes=num_classes, norm=make_norm)
    options: dict[str, Any] = {"num_classes": num_classes, "norm": make_norm, "dtype": dtype}
    if model.kind != "mlp" and platform == "cpu":
        options["conv_general_dilated"] = convolve
    if model.kind in ("mlp", "cnn"):
        options["kernel_init"] = getattr(nn.initializers, model.kernel_init)()
    else:
        options |= {
            "stem": model.stem,
            "num_filters": model.num_filters,
            "zero_last_scale": model.zero_last_scale,
        }
    match model.kind:
        case "mlp":
            return MLP(
                model.hidden_sizes,
                activation=_ACTIVATIONS[model.activation],
                norm_position=model.norm_position,
                **options,
            )
        case "cnn":
            return CNN(channels=model.channels, **options)
        case "resnet18":
            return resnet18(**options)
        case "resnet50":
            return resnet50(**options)


def norm_of_batch(norm: NormConfig, batch_size: int) -> NormConfig:
    """The section for a batch of this size.

    If `virtual_batch_size` doesn't divide it, the whole batch is one virtual batch.
    """
    if batch_size % norm.virtual_batch_size == 0:
        return norm
    return norm.model_copy(update={"virtual_batch_size": batch_size})


def _make_norm(
    norm: NormConfig,
    momentum: float | Float[Array, ""],
    epsilon: float | Float[Array, ""],
    dtype: Any,
) -> Callable[..., nn.Module] | None:
    """Returns a function that makes a norm layer; None without norm.

    It takes `use_running_average`, which only batch norms use, and further arguments of the layer,
    such as `scale_init`.
    """
    scale: dict[str, Any] = {"epsilon": epsilon, "use_scale": norm.use_scale, "dtype": dtype}
    scale_and_bias: dict[str, Any] = {**scale, "use_bias": norm.use_bias}
    running: dict[str, Any] = {**scale_and_bias, "momentum": momentum}

    def of_each_example(layer: type[nn.Module], **options: Any) -> Callable[..., nn.Module]:
        return lambda use_running_average, **more: layer(**options, **more)

    match norm.kind:
        case "none":
            return None
        case "batch":
            return functools.partial(BatchNorm, **running)
        case "ghost":
            virtual = norm.virtual_batch_size
            return functools.partial(GhostBatchNorm, virtual_batch_size=virtual, **running)
        case "renorm":
            return functools.partial(BatchRenorm, limits=_limits(norm.num_plain_steps), **running)
        case "layer":
            return of_each_example(LayerNorm, **scale_and_bias)
        case "rms":
            return of_each_example(RMSNorm, **scale)
        case "group":
            return of_each_example(GroupNorm, num_groups=norm.num_groups, **scale_and_bias)
        case "instance":
            return of_each_example(InstanceNorm, **scale_and_bias)


def _limits(num_plain_steps: int) -> Callable[..., RenormLimits]:
    """The paper's schedule (5,000, 25,000 and 40,000 steps), scaled to this `num_plain_steps`."""
    return functools.partial(
        renorm_limits,
        num_plain_steps=num_plain_steps,
        num_d_steps=5 * num_plain_steps,
        num_r_steps=8 * num_plain_steps,
    )


def _call_factory(path: str, **arguments: Any) -> nn.Module:
    """The model that the function at "package.module:function" returns."""
    module, _, name = path.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UserError(
            f"model.factory: found {path!r}, which can't be imported: {error}"
        ) from None
    if not _takes(factory, **arguments):
        raise UserError(f"model.factory: {path} can't be called with (num_classes=..., norm=...)")
    model = factory(**arguments)
    if not isinstance(model, nn.Module) or not _takes(model.__call__, None, train=True):
        raise UserError(
            f"model.factory: {path} returned a {type(model).__name__}, wanted a flax.linen.Module "
            "that is called as module(x, train=...)"
        )
    return model


def _takes(function: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether the function can be called with these arguments."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True
