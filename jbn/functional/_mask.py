"""Which entries count, and how often: masks and weights."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact

# True where an entry counts; or how often it counts, a number that isn't negative.
Mask = Bool[Array, "..."] | Float[Array, "..."]
Shape = tuple[Any, ...]  # of integers, and of sizes that `jax.export` leaves open


def expand_mask(mask: Mask | None, shape: Shape) -> Mask | None:
    """The mask with as many dimensions as x has, each of size 1 or x's. Weights are constants."""
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != jnp.bool_ and not jnp.issubdtype(mask.dtype, jnp.floating):
        raise TypeError(
            f"mask: found dtype {mask.dtype}, wanted bool, True where an entry counts (e.g. "
            "mask != 0), or a floating one, how often it counts"
        )
    expanded = (1,) * (len(shape) - mask.ndim) + mask.shape
    if len(expanded) != len(shape) or any(
        m not in (1, s) for m, s in zip(expanded, shape, strict=True)
    ):
        raise ValueError(
            f"mask: found shape {mask.shape}, wanted one that broadcasts to x's {shape}"
        )
    mask = mask.reshape(expanded)
    if mask.dtype == jnp.bool_:
        return mask
    # The values of a traced array can't be an error; NaN shows in the results of its channel.
    return lax.stop_gradient(jnp.where(mask >= 0, mask, jnp.nan))


def is_counted(mask: Mask) -> Bool[Array, "..."]:
    """Where entries count at all."""
    return mask if mask.dtype == jnp.bool_ else mask != 0


def weighted(values: Inexact[Array, "..."], mask: Mask | None) -> Inexact[Array, "..."]:
    """Values times how often they count; 0, whatever the value, where that is never."""
    if mask is None:
        return values
    if mask.dtype != jnp.bool_:
        values = values * mask.astype(values.dtype)
    return jnp.where(is_counted(mask), values, 0)


def total_weight(
    mask: Mask, shape: Shape, reduction_axes: tuple[int, ...], dtype: jnp.dtype
) -> Inexact[Array, "..."]:
    """The sum of the mask, broadcast to the shape, over the axes, which stay with size 1."""
    # Counted as integers: a float32 sum of ones sticks at 2**24.
    sum_dtype = jnp.int32 if mask.dtype == jnp.bool_ else dtype
    mask = jnp.broadcast_to(mask, shape)
    return jnp.sum(mask, reduction_axes, sum_dtype, keepdims=True).astype(dtype)


def divisor(count: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """What to divide a sum by: the count, or 1 where nothing counts."""
    return jnp.where(count != 0, count, 1)


def without_unusable(
    x: Inexact[Array, "..."], mask: Mask | None
) -> tuple[Inexact[Array, "..."], Bool[Array, "..."] | None]:
    """x with 0 for its unusable entries, and where x is usable (None: everywhere).

    An entry is unusable if the mask leaves it out and it is NaN, infinite, or so large that its
    normalized value could be infinite.
    """
    if mask is None:
        return x, None
    usable = is_counted(mask) | (jnp.abs(x) < float(jnp.finfo(x.dtype).max) ** 0.5)
    return jnp.where(usable, x, 0), usable


def zero_unless(
    usable: Bool[Array, "..."] | None, y: Inexact[Array, "..."]
) -> Inexact[Array, "..."]:
    """y with 0 where x is unusable."""
    return y if usable is None else jnp.where(usable, y, 0)
