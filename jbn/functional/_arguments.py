"""Checks and canonical forms of arguments. Errors say which argument, what was found and wanted."""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Inexact, Num

from jbn.functional._mask import Mask, Shape, expand_mask


class NamedAxis(NamedTuple):
    """The mapped axis to sum over, or several, and the groups of its indices to sum within."""

    name: str | tuple[str, ...] | None = None
    index_groups: tuple[tuple[int, ...], ...] | None = None

    def size(self) -> int:
        """The number of values that a sum over the axis adds up."""
        if self.name is None:
            return 1
        size: int = lax.psum(1, self.name, axis_index_groups=self.index_groups)
        return size

    def sum(self, terms: Sequence[Num[Array, "..."]]) -> tuple[Num[Array, "..."], ...]:
        """Each term summed over the axis, in one collective; all have one shape and dtype."""
        if self.name is None:
            return tuple(terms)
        return tuple(lax.psum(jnp.stack(terms), self.name, axis_index_groups=self.index_groups))

    def max(self, terms: Sequence[Float[Array, "..."]]) -> tuple[Float[Array, "..."], ...]:
        """Each term's maximum over the axis, in one collective; all have one shape and dtype."""
        if self.name is None:
            return tuple(terms)
        return tuple(lax.pmax(jnp.stack(terms), self.name, axis_index_groups=self.index_groups))


def canonical_named_axis(
    axis_name: str | Sequence[str] | None, index_groups: Sequence[Sequence[int]] | None = None
) -> NamedAxis:
    """A hashable `NamedAxis`; raises an error if no transformation binds the name."""
    if not isinstance(axis_name, str | Sequence | None):
        raise TypeError(
            f"axis_name: found {axis_name!r}, wanted a name, a sequence of names or None"
        )
    name = axis_name if axis_name is None or isinstance(axis_name, str) else tuple(axis_name)
    groups = None if index_groups is None else tuple(map(tuple, index_groups))
    named_axis = NamedAxis(name, groups)
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
    return named_axis


def accumulation_dtype(*dtypes: DTypeLike) -> jnp.dtype:
    """The dtype to compute in: `dtypes` and float32 promoted; complex if one of them is."""
    # By NumPy's rules: JAX's refuse to mix dtypes if the user has made promotion strict.
    return functools.reduce(np.promote_types, [np.dtype(d) for d in dtypes], np.dtype(np.float32))


def real_dtype(dtype: DTypeLike) -> jnp.dtype:
    """The dtype of the real part."""
    return jnp.dtype(jnp.finfo(dtype).dtype)


def canonical_axes(name: str, axes: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """The axes as sorted non-negative integers; a repeated axis is an error."""
    wanted = f"wanted distinct integers from {-ndim} to {ndim - 1} for an x of {ndim} dimensions"
    try:
        indices = tuple(
            operator.index(a) for a in (axes if isinstance(axes, Sequence) else (axes,))
        )
    except TypeError:
        raise TypeError(f"{name}: found {axes!r}, {wanted}") from None
    if any(not -ndim <= axis < ndim for axis in indices) or len({a % ndim for a in indices}) < len(
        indices
    ):
        raise ValueError(f"{name}: found {axes!r}, {wanted}")
    return tuple(sorted(axis % ndim for axis in indices))


def split_axes(axis: int | Sequence[int], ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The feature axes, and all other axes, over which statistics are taken."""
    feature_axes = canonical_axes("axis", axis, ndim)
    return feature_axes, tuple(a for a in range(ndim) if a not in feature_axes)


def broadcast_shape(shape: Shape, feature_axes: tuple[int, ...]) -> Shape:
    """The shape in which values per feature broadcast to an x of `shape`."""
    return tuple(size if axis in feature_axes else 1 for axis, size in enumerate(shape))


def num_reduced(shape: Shape, reduction_axes: tuple[int, ...]) -> Any:
    """The number of entries that a reduction combines into one; `jax.export` may leave it open."""
    return math.prod(shape[axis] for axis in reduction_axes)


def max_num_shards(x: Array, axis: int) -> int:
    """The number of shards of x along an axis; where XLA chooses it, the largest it may choose."""
    sharding = jax.typeof(x).sharding
    mesh, names = sharding.mesh, sharding.spec[axis]
    if names is not None:
        return math.prod(
            mesh.shape[name] for name in ((names,) if isinstance(names, str) else names)
        )
    left_to_xla = zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    num_devices = math.prod(size for size, kind in left_to_xla if kind is AxisType.Auto)
    size = x.shape[axis]
    return math.gcd(size, num_devices) if isinstance(size, int) else num_devices


def check_whole_groups(name: str, found: int, num_groups: int, x: Array, axis: int) -> None:
    """Raises an error if the groups along an axis are spread over devices by an explicit mesh."""
    mesh_axis = jax.typeof(x).sharding.spec[axis]
    num_shards = max_num_shards(x, axis)
    if mesh_axis is not None and num_groups % num_shards:
        raise ValueError(
            f"{name}: found {found}, which makes {num_groups} groups along axis {axis} of x; mesh "
            f"axis {mesh_axis!r} shards it over {num_shards} devices, so a group would lie on "
            f"several. Wanted a number of groups that {num_shards} divides, or an x that isn't "
            "sharded along that axis: jax.sharding.reshard it first"
        )


def unsharded_parts(parts: Array) -> Array:
    """The parts, all of them on each device; how they are sharded along other axes stays."""
    sharding = jax.typeof(parts).sharding
    if sharding.spec[0] is None:
        return parts
    whole = NamedSharding(sharding.mesh, P(None, *sharding.spec[1:]))
    unsharded: Array = jax.sharding.reshard(parts, whole)
    return unsharded


def check_floating(name: str, value: Array, *, complex_too: bool) -> None:
    """Raises an error unless the value is a floating array: real, or with `complex_too` complex."""
    if value is None:
        raise TypeError(f"{name}: found None, wanted an array")
    dtype = jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.inexact if complex_too else jnp.floating):
        wanted = "bfloat16, float16, float32, float64" + (
            " or a complex one" if complex_too else ""
        )
        advice = (
            "scale, bias and the running mean may be complex only if x is"
            if jnp.issubdtype(dtype, jnp.complexfloating)
            else f"cast it first, e.g. {name}.astype(jnp.float32)"
        )
        raise TypeError(f"{name}: found dtype {dtype}, wanted {wanted}; {advice}")


def check_values(name: str, value: Array, allowed: Callable[[Array], Array], wanted: str) -> None:
    """Raises an error unless all numbers of an array are allowed; traced ones may be any."""
    if not isinstance(value, jax.core.Tracer) and not jnp.all(allowed(value)):
        raise ValueError(f"{name}: found {value}, wanted {wanted}")


def check_shape(name: str, value: Array, wanted: tuple[int, ...]) -> None:
    """Raises an error unless the value has the wanted shape."""
    if jnp.shape(value) != wanted:
        raise ValueError(
            f"{name}: found shape {jnp.shape(value)}, wanted {wanted}, the sizes of x along its "
            "feature axis"
        )


def check_not_alone(shape: Shape, reduction_axes: tuple[int, ...], named_axis: NamedAxis) -> None:
    """Raises an error if each mean is that of one value, which the norm would make its bias."""
    if num_reduced(shape, reduction_axes) == 1 and named_axis.size() == 1:
        raise ValueError(
            f"x: found one value per mean (shape {tuple(shape)}, averaged over axes "
            f"{reduction_axes}), wanted at least two: x - mean is 0, so y would be the bias, "
            "whatever x is; average over more axes, or leave this normalization out"
        )


def check_stacked(name: str, tree: Any) -> None:
    """Raises an error unless all arrays have one shape, with the parts along its first axis."""
    shapes = {jnp.shape(leaf) for leaf in jax.tree.leaves(tree)}
    if len(shapes) > 1 or not all(shape and shape[0] for shape in shapes):
        raise ValueError(
            f"{name}: found shapes {', '.join(map(str, sorted(shapes)))}, wanted one shape, with "
            "at least one part along its first axis"
        )


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Raises an error unless the value is one number from low to high; a traced one may be any."""
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


class LayerArguments(NamedTuple):
    """A layer's checked arguments, in shapes that broadcast.

    Scale, bias and epsilon have the dtype to compute in.
    """

    x: Inexact[Array, "..."]
    scale: Inexact[Array, "..."]
    bias: Inexact[Array, "..."]
    epsilon: Float[Array, ""]
    mask: Mask | None
    dtype: jnp.dtype


def layer_arguments(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    feature_axes: tuple[int, ...],
    epsilon: Any,
    mask: Mask | None,
    dtype: DTypeLike | None,
) -> LayerArguments:
    """The checked arguments that all layers share; an error names a bad one."""
    is_complex = jnp.iscomplexobj(x)
    features = tuple(x.shape[a] for a in feature_axes)
    for name, value in [("scale", scale), ("bias", bias)]:
        if value is not None:
            check_floating(name, value, complex_too=is_complex)
            check_shape(name, value, features)
    check_range("epsilon", epsilon, 0.0, float("inf"))
    dtype = jnp.dtype(x.dtype if dtype is None else dtype)
    if not jnp.issubdtype(dtype, jnp.complexfloating if is_complex else jnp.inexact):
        wanted = "a complex one, as x has," if is_complex else "a floating one"
        raise TypeError(f"dtype: found {dtype}, wanted {wanted} or None")
    accumulated = accumulation_dtype(x.dtype, real_dtype(dtype))
    to_broadcast = broadcast_shape(x.shape, feature_axes)
    scale = jnp.ones(features, accumulated) if scale is None else scale
    bias = jnp.zeros(features, accumulated) if bias is None else bias
    return LayerArguments(
        x,
        jnp.asarray(scale, accumulated).reshape(to_broadcast),
        jnp.asarray(bias, accumulated).reshape(to_broadcast),
        jnp.asarray(epsilon, real_dtype(accumulated)),
        expand_mask(mask, x.shape),
        dtype,
    )
