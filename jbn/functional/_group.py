"""Group and instance normalization: of groups of channels, or of channels, in each example."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import (
    canonical_axes,
    canonical_named_axis,
    check_floating,
    check_not_alone,
    check_whole_groups,
    layer_arguments,
    split_axes,
)
from jbn.functional._by_moments import normalize_by_moments
from jbn.functional._mask import Mask


def group_norm(
    x: Inexact[Array, "*shape"],
    scale: Inexact[Array, " features"] | None = None,
    bias: Inexact[Array, " features"] | None = None,
    *,
    num_groups: int,
    axis: int = -1,
    reduction_axes: int | Sequence[int] | None = None,
    epsilon: float | Float[Array, ""] = 1e-6,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    dtype: DTypeLike | None = None,
) -> Inexact[Array, "*shape"]:
    """x normalized over groups of successive channels, each example by itself.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance of the example's group. One group is layer normalization over all
    axes but the first. One channel per group is instance normalization. Accuracy and memory are
    those of `jbn.batch_norm`, with one exception: if one entry of thousands makes nearly all of the
    variance, the bound on the error of its dx is 5e-6.

    Args:
        x: data of any shape; a floating dtype, real or complex.
        scale: γ, one per channel: shape `(features,)`. None is 1.
        bias: β, of the same shape. None is 0.
        num_groups: the number of groups; it divides the number of channels.
        axis: the channel axis.
        reduction_axes: the axes to average over besides the channels of the group. None: all but
            the first, the batch axis.
        epsilon, mask, axis_name, axis_index_groups, dtype: as in `jbn.layer_norm`.

    Returns:
        y, of x's shape and `dtype`.

    Raises:
        TypeError: as `jbn.layer_norm`.
        ValueError: `num_groups` doesn't divide the number of channels; and as `jbn.layer_norm`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[1.0, 3.0, 10.0, 30.0]])
        >>> print(jbn.group_norm(x, num_groups=2).round(3))
        [[-1.  1. -1.  1.]]

    References:
        Wu and He, 2018, Group Normalization, arXiv:1803.08494.
    """
    x = jnp.asarray(x)
    check_floating("x", x, complex_too=True)
    (axis,) = canonical_axes("axis", axis, x.ndim)
    other_axes = tuple(range(1, x.ndim)) if reduction_axes is None else reduction_axes
    axes = canonical_axes("reduction_axes", other_axes, x.ndim)
    if not 1 <= num_groups <= x.shape[axis] or x.shape[axis] % num_groups:
        raise ValueError(
            f"num_groups: found {num_groups}, wanted a divisor of the number of channels, "
            f"{x.shape[axis]}"
        )
    check_whole_groups("num_groups", num_groups, num_groups, x, axis)
    arguments = layer_arguments(x, scale, bias, (axis,), epsilon, mask, dtype)

    def grouped(value: Array) -> Array:
        """The value, its channel axis split into (groups, channels); size 1 becomes (1, 1)."""
        sizes = (1, 1) if value.shape[axis] == 1 else (num_groups, value.shape[axis] // num_groups)
        return value.reshape(value.shape[:axis] + sizes + value.shape[axis + 1 :])

    within = tuple(sorted({a + (a > axis) for a in axes if a != axis} | {axis + 1}))
    grouped_x = grouped(arguments.x)
    named_axis = canonical_named_axis(axis_name, axis_index_groups)
    check_not_alone(grouped_x.shape, within, named_axis)
    y, _ = normalize_by_moments(
        grouped_x,
        *map(grouped, (arguments.scale, arguments.bias)),
        arguments.epsilon,
        None if arguments.mask is None else grouped(arguments.mask),
        within,
        named_axis,
        arguments.dtype,
    )
    return y.reshape(x.shape)


def instance_norm(
    x: Inexact[Array, "*shape"],
    scale: Inexact[Array, "*features"] | None = None,
    bias: Inexact[Array, "*features"] | None = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float | Float[Array, ""] = 1e-6,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    dtype: DTypeLike | None = None,
) -> Inexact[Array, "*shape"]:
    """x normalized per channel, each example by itself.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance over all axes except the batch axis, which is the first, and the
    channel axes. Accuracy and memory are those of `jbn.group_norm`.

    Args:
        x: data of shape `(batch, ...)`; a floating dtype, real or complex.
        scale: γ, of x's shape along `axis`. None is 1.
        bias: β, of the same shape. None is 0.
        axis: the channel axis, or several (their sizes in x's order); not the first axis.
        epsilon, mask, axis_name, axis_index_groups, dtype: as in `jbn.layer_norm`.

    Returns:
        y, of x's shape and `dtype`.

    Raises:
        TypeError: as `jbn.layer_norm`.
        ValueError: the first axis is among the channel axes; and as `jbn.layer_norm`: an example
            has one value per channel, such as an image of one pixel.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> images = jnp.array([[[1.0, 10.0], [3.0, 30.0]]])  # one image, two pixels, two channels
        >>> print(jbn.instance_norm(images).round(3))
        [[[-1. -1.]
          [ 1.  1.]]]

    References:
        Ulyanov, Vedaldi and Lempitsky, 2016, Instance Normalization, arXiv:1607.08022.
    """
    x = jnp.asarray(x)
    check_floating("x", x, complex_too=True)
    feature_axes, others = split_axes(axis, x.ndim)
    if 0 in feature_axes:
        raise ValueError(f"axis: found {axis}, wanted channel axes; the first one is the batch's")
    *arguments, dtype = layer_arguments(x, scale, bias, feature_axes, epsilon, mask, dtype)
    named_axis = canonical_named_axis(axis_name, axis_index_groups)
    reduction_axes = tuple(a for a in others if a != 0)
    check_not_alone(x.shape, reduction_axes, named_axis)
    return normalize_by_moments(*arguments, reduction_axes, named_axis, dtype)[0]
