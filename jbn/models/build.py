"""Makes the model that the model and norm sections of a config describe."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax import nnx
from jaxtyping import Array, Float

import jbn.linen
import jbn.nnx
from jbn.config import ModelConfig, NormConfig, UserError
from jbn.config.functions import call_with, import_function, name_of, takes
from jbn.models.cnn import CNN
from jbn.models.convolution import convolve
from jbn.models.linen_model import LinenModel
from jbn.models.mlp import MLP
from jbn.models.nnx_model import NNXModel
from jbn.models.norm import make_norm
from jbn.models.resnet import resnet18, resnet50

Model = LinenModel | NNXModel
_ACTIVATIONS: dict[str, Callable[[Array], Array] | None] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "sigmoid": nn.sigmoid,
    "none": None,
}


def build_model(
    model: ModelConfig,
    norm: NormConfig,
    num_outputs: int | None,
    *,
    features: tuple[int, ...] = (),
    factory: Callable[..., Any] | None = None,
    momentum: float | Float[Array, ""] | None = None,
    epsilon: float | Float[Array, ""] | None = None,
    freeze: tuple[str, ...] = (),
    platform: str | None = None,
) -> Model:
    """A model with the functions `init(rngs, x, train)` and `apply(variables, x, train, ...)`.

    A model of jbn also takes `mask`, which is True for the examples that count in its batch
    statistics.

    A user's factory is called with those of these arguments that it takes by name:

    - `num_outputs`: the number of outputs of an example, such as the number of classes.
    - `features`: the shape of one input, without the batch.
    - `norm`: makes a norm layer of the config's section; None if its kind is "none". In Linen it is
      called as `norm(use_running_average=...)`, in NNX as `norm(num_features, rngs=rngs)`. The
      layer's momentum and epsilon may be traced.
    - `rngs`: `nnx.Rngs`. A factory that takes it makes an NNX model, any other a Linen module.

    A Linen module is called as `module(x, train=...)`, an NNX model as `model(x)` after
    `model.train()` or `model.eval()`, and with `train=...` if it takes that. Here x has the shape
    `(batch, *features)`. The output has the shape `(batch, num_outputs)`; of classes it is the
    logits, without softmax. The model may have any collections or types of variables beside its
    parameters. In training it may draw random numbers from "dropout".

    If the model takes `mask=...`, jbn fills a smaller last batch up to the full size. `mask` has
    the shape `(batch,)` and is True for the examples that count. A model that takes no `mask` gets
    the last batch at its own size.

    Args:
        model: the architecture, or the factory.
        norm: the norm in each hidden layer.
        num_outputs: the number of outputs of an example; None, for a factory that doesn't take it.
        features: the shape of one input, for a factory that takes it.
        factory: in place of the one that `model` names.
        momentum, epsilon: numbers in place of those of `norm`, maybe traced; None keeps those.
        freeze: patterns of paths. In training a batch normalization whose paths match one
            normalizes with its running statistics.
        platform: where the model will run. On "cpu" jbn writes convolutions so that they are fast
            in a compiled loop.

    Raises:
        UserError: the factory can't be imported, takes other arguments, or returns no such model.
    """
    dtype = jnp.bfloat16 if model.dtype == "bfloat16" else None

    def norm_of(layers: Any) -> Callable[..., Any] | None:
        return make_norm(
            norm,
            layers,
            norm.momentum if momentum is None else momentum,
            norm.epsilon if epsilon is None else epsilon,
            dtype,
        )

    if factory is None and model.factory is not None:
        factory = import_function("model.factory", model.factory)
    if isinstance(factory, nn.Module | nnx.Module):
        raise UserError(
            f"model.factory: found a {type(factory).__name__} that is made already, wanted the "
            "function or class that makes it"
        )
    if factory is None and num_outputs is None:
        raise UserError(
            "loss: found one without output_shape, which jbn's own models need; wanted it, or a "
            "model.factory"
        )
    if factory is None:
        assert num_outputs is not None  # as the line above says
        return LinenModel(
            _built_in(model, norm_of(jbn.linen), num_outputs, dtype, platform), freeze
        )
    sizes: dict[str, Any] = {"features": features}
    if num_outputs is not None:
        sizes["num_outputs"] = num_outputs
    if takes(factory, "rngs"):
        make = functools.partial(_make_nnx, factory, {**sizes, "norm": norm_of(jbn.nnx)})
        return NNXModel(make, freeze)
    return LinenModel(_make_linen(factory, {**sizes, "norm": norm_of(jbn.linen)}), freeze)


def norm_of_batch(norm: NormConfig, batch_size: int) -> NormConfig:
    """The section for a batch of this size.

    If `virtual_batch_size` doesn't divide it, the whole batch is one virtual batch.
    """
    if batch_size % norm.virtual_batch_size == 0:
        return norm
    return norm.model_copy(update={"virtual_batch_size": batch_size})


def recording(model: Model) -> Model:
    """The model, which also gives the moments of what its batch normalizations take.

    `jbn.variables._recompute.layer_moments` reads them; of a Linen module it needs no help.
    """
    return dataclasses.replace(model, records=True) if isinstance(model, NNXModel) else model


def _built_in(
    model: ModelConfig,
    norm: Callable[..., nn.Module] | None,
    num_outputs: int,
    dtype: Any,
    platform: str | None,
) -> nn.Module:
    options: dict[str, Any] = {"num_outputs": num_outputs, "norm": norm, "dtype": dtype}
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


def _make_linen(factory: Callable[..., Any], arguments: dict[str, Any]) -> nn.Module:
    module = call_with(factory, "model.factory", arguments)
    if isinstance(module, nn.Module) and takes(module.__call__, "train"):
        return module
    found = f"model.factory: {name_of(factory)} returned a {type(module).__name__}"
    if isinstance(module, nn.Module):
        raise UserError(f"{found}, whose __call__ takes no train; wanted module(x, train=...)")
    if isinstance(module, nnx.Module):
        raise UserError(f"{found}; wanted the factory of an nnx.Module to take rngs")
    raise UserError(f"{found}, wanted a flax.linen.Module, or an nnx.Module made with rngs")


def _make_nnx(factory: Callable[..., Any], arguments: dict[str, Any], rngs: nnx.Rngs) -> nnx.Module:
    model = call_with(factory, "model.factory", {**arguments, "rngs": rngs})
    if not isinstance(model, nnx.Module) or not callable(model):
        raise UserError(
            f"model.factory: {name_of(factory)} returned a {type(model).__name__}, wanted an "
            "nnx.Module that is called as model(x), as the factory takes rngs"
        )
    return model
