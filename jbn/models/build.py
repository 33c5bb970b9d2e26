"""From the model and norm sections of a config to a Flax module."""

import functools
import importlib
from collections.abc import Callable
from typing import Any, cast

from flax import linen as nn
from jaxtyping import Array, Float

from jbn.config import ModelConfig, NormConfig, UserError
from jbn.linen import BatchNorm
from jbn.models.mlp import MLP


def build_model(
    model: ModelConfig,
    norm: NormConfig,
    num_classes: int,
    *,
    momentum: float | Float[Array, ""],
    epsilon: float | Float[Array, ""],
) -> nn.Module:
    """A module that is called as `module(x, train)` and returns logits.

    Momentum and epsilon may be traced; the rest of `norm` shapes the program. A factory of the
    user's is called as `factory(num_classes=..., norm=...)`, with `norm` as `MLP` takes it.
    """
    make_norm: Callable[..., nn.Module] | None = None
    if norm.kind == "batch":
        make_norm = functools.partial(
            BatchNorm,
            momentum=cast(float, momentum),
            epsilon=cast(float, epsilon),
            use_bias=norm.use_bias,
            use_scale=norm.use_scale,
        )
    if model.factory is not None:
        return _find_factory(model.factory)(num_classes=num_classes, norm=make_norm)
    return MLP(model.hidden_sizes, num_classes, make_norm)


def _find_factory(path: str) -> Callable[..., Any]:
    """The function that "package.module:function" names."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"model.factory: found {path!r}, which can't be imported: {error}"
        ) from None
