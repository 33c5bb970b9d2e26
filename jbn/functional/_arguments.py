"""Arguments made canonical, or an error that says which one, what was found and what was wanted."""

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float


class NamedAxis(NamedTuple):
    """A mapped axis, or several, to sum over; within groups of its indices, if there are any."""

    name: str | tuple[str, ...] | None = None
    index_groups: tuple[tuple[int, ...], ...] | None = None

    def size(self) -> int:
        """How many values a sum over the axis adds up."""
        if self.name is None:
            return 1
        return lax.psum(1, self.name, axis_index_groups=self.index_groups)

    def sum(self, terms: Sequence[Float[Array, "..."]]) -> tuple[Float[Array, "..."], ...]:
        """Terms of one shape, each summed over the axis, in one collective."""
        if self.name is None:
            return tuple(terms)
        return tuple(lax.psum(jnp.stack(terms), self.name, axis_index_groups=self.index_groups))


def named_axis(
    axis_name: str | Sequence[str] | None, index_groups: Sequence[Sequence[int]] | None = None
) -> NamedAxis:
    """A hashable `NamedAxis` whose name is bound here."""
    if not isinstance(axis_name, str | Sequence | None):
        raise TypeError(
            f"axis_name: found {axis_name!r}, wanted a name, a sequence of names or None"
        )
    name = axis_name if axis_name is None or isinstance(axis_name, str) else tuple(axis_name)
    groups = None if index_groups is None else tuple(map(tuple, index_groups))
    named = NamedAxis(name, groups)
    if groups is not None and name is None:
        raise ValueError(
            "axis_index_groups: found groups without an axis_name, wanted both or neither"
        )
    for one in name if isinstance(name, tuple) else (name,):
        try:
            NamedAxis(one).size()
        except NameError:
            raise ValueError(
                f"axis_name: found {one!r}, which no enclosing transformation binds; wanted the "
                "axis_name of a jax.vmap or a mesh axis of a jax.shard_map around this call. Under "
                "jit with a sharded batch leave it None: the statistics are global already"
            ) from None
    return named


def accumulation_dtype(*dtypes: DTypeLike | None) -> jnp.dtype:
    """The dtype of statistics: float64 if any of `dtypes` is, else float32."""
    double = any(dtype is not None and jnp.dtype(dtype) == jnp.float64 for dtype in dtypes)
    return jnp.dtype(jnp.float64 if double else jnp.float32)


def canonical_axes(name: str, axes: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Axes as sorted non-negative numbers, each once."""
    wanted = f"wanted distinct integers from {-ndim} to {ndim - 1} for an x of {ndim} dimensions"
    try:
        given = tuple(operator.index(a) for a in (axes if isinstance(axes, Sequence) else (axes,)))
    except TypeError:
        raise TypeError(f"{name}: found {axes!r}, {wanted}") from None
    if any(not -ndim <= axis < ndim for axis in given) or len({a % ndim for a in given}) < len(
        given
    ):
        raise ValueError(f"{name}: found {axes!r}, {wanted}")
    return tuple(sorted(axis % ndim for axis in given))


def split_axes(axis: int | Sequence[int], ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The feature axes, and all others, which statistics are taken over."""
    feature_axes = canonical_axes("axis", axis, ndim)
    return feature_axes, tuple(a for a in range(ndim) if a not in feature_axes)


def num_reduced(shape: tuple[int, ...], reduction_axes: tuple[int, ...]) -> int:
    """The number of entries that a reduction makes one of."""
    return math.prod(shape[axis] for axis in reduction_axes)


def check_floating(name: str, x: Array) -> None:
    """Raises unless x is an array of a real floating dtype."""
    if x is None:
        raise TypeError(f"{name}: found None, wanted an array")
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise TypeError(
            f"{name}: found dtype {jnp.result_type(x)}, wanted bfloat16, float16, float32 or "
            f"float64; cast it first, e.g. {name}.astype(jnp.float32)"
        )


def check_shape(name: str, value: Array, wanted: tuple[int, ...]) -> None:
    """Raises unless the value has a real floating dtype and the wanted shape."""
    check_floating(name, value)
    if jnp.shape(value) != wanted:
        raise ValueError(
            f"{name}: found shape {jnp.shape(value)}, wanted {wanted}, the sizes of x along its "
            "feature axis"
        )


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Raises unless the value is one number from low to high; a traced one may be any."""
    wanted = f"wanted a number from {low:g} to {high:g}"
    if value is None or isinstance(value, str):
        raise TypeError(f"{name}: found {value!r}, {wanted}")
    try:
        shape = jnp.shape(value)
        inside = shape == () and low <= float(value) <= high
    except jax.errors.ConcretizationTypeError:
        inside = shape == ()
    except (TypeError, ValueError):
        raise TypeError(f"{name}: found {value!r}, {wanted}") from None
    if not inside:
        raise ValueError(f"{name}: found {value}, {wanted}")


def expand_mask(mask: Array | None, shape: tuple[int, ...]) -> Bool[Array, "..."] | None:
    """The mask with as many dimensions as x has, each of size 1 or x's."""
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != jnp.bool_:
        raise TypeError(
            f"mask: found dtype {mask.dtype}, wanted bool, True where an entry counts; "
            "make it one, e.g. mask != 0"
        )
    expanded = (1,) * (len(shape) - mask.ndim) + mask.shape
    if len(expanded) != len(shape) or any(
        m not in (1, s) for m, s in zip(expanded, shape, strict=True)
    ):
        raise ValueError(
            f"mask: found shape {mask.shape}, wanted one that broadcasts to x's {shape}"
        )
    return mask.reshape(expanded)
