"""The norm layers of a model: how the config's are made, and which examples count in them."""

import functools
from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from jbn.config import NormConfig
from jbn.functional._renorm import RenormLimits, renorm_limits


def make_norm(
    norm: NormConfig,
    layers: Any,
    momentum: float | Float[Array, ""],
    epsilon: float | Float[Array, ""],
    dtype: Any,
) -> Callable[..., Any] | None:
    """Returns a function that makes a norm layer; None without norm.

    It takes `use_running_average`, which only batch norms use, and further arguments of the layer,
    such as `scale_init`; in NNX the number of features comes first, and `rngs` is one of them.

    Args:
        norm: the section.
        layers: the module with the layers, `jbn.linen` or `jbn.nnx`.
        momentum, epsilon: in place of those of the section.
        dtype: of the results.
    """
    scale: dict[str, Any] = {"epsilon": epsilon, "use_scale": norm.use_scale, "dtype": dtype}
    scale_and_bias: dict[str, Any] = {**scale, "use_bias": norm.use_bias}
    running: dict[str, Any] = {**scale_and_bias, "momentum": momentum}

    def of_each_example(layer: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def make(*sizes: int, use_running_average: bool | None = None, **more: Any) -> Any:
            return layer(*sizes, **options, **more)

        return make

    match norm.kind:
        case "none":
            return None
        case "batch":
            return functools.partial(layers.BatchNorm, **running)
        case "ghost":
            virtual = norm.virtual_batch_size
            return functools.partial(layers.GhostBatchNorm, virtual_batch_size=virtual, **running)
        case "renorm":
            return functools.partial(
                layers.BatchRenorm, limits=_limits(norm.num_plain_steps), **running
            )
        case "layer":
            return of_each_example(layers.LayerNorm, **scale_and_bias)
        case "rms":
            return of_each_example(layers.RMSNorm, **scale)
        case "group":
            return of_each_example(layers.GroupNorm, num_groups=norm.num_groups, **scale_and_bias)
        case "instance":
            return of_each_example(layers.InstanceNorm, **scale_and_bias)


def _limits(num_plain_steps: int) -> Callable[..., RenormLimits]:
    """The paper's schedule (5,000, 25,000 and 40,000 steps), scaled to this `num_plain_steps`."""
    return functools.partial(
        renorm_limits,
        num_plain_steps=num_plain_steps,
        num_d_steps=5 * num_plain_steps,
        num_r_steps=8 * num_plain_steps,
    )


def masked_norm(
    make: Callable[..., nn.Module] | None, mask: Bool[Array, " batch"] | None, **options: Any
) -> Callable[[Array], Array] | None:
    """A norm layer as a function of x, made with the options; None without norm.

    `mask` is True for the examples that count in batch statistics. If it is None, all count.
    """
    if make is None:
        return None
    layer: Callable[..., Array] = make(**options)
    if mask is None:
        return layer

    def masked(x: Array) -> Array:
        return layer(x, mask=mask.reshape(-1, *[1] * (x.ndim - 1)))

    return masked
