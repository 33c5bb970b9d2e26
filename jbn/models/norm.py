"""Tells the norm layers of a model which examples of a batch count."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Bool


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
