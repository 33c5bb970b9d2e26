"""Masks and weights: which entries count, and how much; and choices between values."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Num

# True where an entry counts; or its weight, a number that isn't negative.
Mask = Bool[Array, "..."] | Float[Array, "..."]
Shape = tuple[Any, ...]  # of integers, and of sizes that `jax.export` leaves open


def expand_mask(mask: Mask | None, shape: Shape) -> Mask | None:
    """The mask with x's number of dimensions, each of size 1 or x's; weights become constants."""
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != jnp.bool_ and not jnp.issubdtype(mask.dtype, jnp.floating):
        raise TypeError(
            f"mask: found dtype {mask.dtype}, wanted bool, True where an entry counts (e.g. "
            "mask != 0), or a floating dtype, for weights"
        )
    expanded = (1,) * (len(shape) - mask.ndim) + mask.shape
    if len(expanded) != len(shape) or any(
        m not in (1, s) for m, s in zip(expanded, shape, strict=True)
    ):
        is_of_examples = 0 < mask.ndim < len(shape) and mask.shape == shape[: mask.ndim]
        hint = f"; did you mean mask[...{', None' * (len(shape) - mask.ndim)}]?"
        raise ValueError(
            f"mask: found shape {mask.shape}, wanted one that broadcasts to x's {shape}"
            + (hint if is_of_examples else "")
        )
    mask = mask.reshape(expanded)
    if mask.dtype == jnp.bool_:
        return mask
    # A traced value can't raise an error, so a negative weight becomes NaN, seen in the results.
    return lax.stop_gradient(jnp.where(mask >= 0, mask, jnp.nan))


def is_counted(mask: Mask) -> Bool[Array, "..."]:
    """True where an entry counts at all: where its weight isn't 0."""
    return mask if mask.dtype == jnp.bool_ else mask != 0


def weighted(values: Inexact[Array, "..."], mask: Mask | None) -> Inexact[Array, "..."]:
    """The values times their weights; 0 where an entry doesn't count, whatever its value."""
    if mask is None:
        return values
    if mask.dtype != jnp.bool_:
        values = values * mask.astype(values.dtype)
    return jnp.where(is_counted(mask), values, 0)


def total_weight(
    mask: Mask, shape: Shape, reduction_axes: tuple[int, ...], dtype: jnp.dtype
) -> Inexact[Array, "..."]:
    """The sum of the mask over the axes, which stay with size 1; the mask is first broadcast."""
    # True is counted in integers: a float32 sum of ones stops at 2**24.
    sum_dtype = jnp.int32 if mask.dtype == jnp.bool_ else dtype
    mask = jnp.broadcast_to(mask, shape)
    return jnp.sum(mask, reduction_axes, sum_dtype, keepdims=True).astype(dtype)


def divisor(count: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """The count, or 1 where nothing counts: a divisor that is never 0."""
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


def zero_like(x: Num[Array, "..."]) -> Num[Array, "..."]:
    """0 in the shape, dtype and sharding of x. `jnp.zeros_like` has no mesh in an eager `vmap`."""
    return jnp.where(False, x, 0)


def select(
    condition: Bool[Array, "..."], a: Num[Array, "..."], b: Num[Array, "..."]
) -> Num[Array, "..."]:
    """`jnp.where`, but all three may be sharded in different ways.

    Fresh statistics are on every device, for example, and those of a batch are sharded.
    """
    zero = zero_like(a) + zero_like(b)  # sharded as a and b together
    return jnp.where(condition & (zero == 0), a + zero, b + zero)
