"""Batch normalization: with the statistics of the batch, or with the running statistics."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import (
    NamedAxis,
    canonical_named_axis,
    check_floating,
    check_range,
    check_shape,
    layer_arguments,
    num_reduced,
    split_axes,
)
from jbn.functional._by_moments import normalize_by_moments
from jbn.functional._mask import Mask, without_unusable, zero_unless
from jbn.functional._moments import Moments
from jbn.functional._normalize import normalize
from jbn.functional._stats import BatchStats, update_batch_stats


def batch_norm(
    x: Inexact[Array, "*shape"],
    stats: BatchStats,
    scale: Inexact[Array, "*features"] | None = None,
    bias: Inexact[Array, "*features"] | None = None,
    *,
    use_running_average: bool,
    axis: int | Sequence[int] = -1,
    momentum: float | Float[Array, ""] = 0.99,
    epsilon: float | Float[Array, ""] = 1e-5,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Inexact[Array, "*shape"], BatchStats]:
    """x normalized per feature, and the updated running statistics.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    In training, mean and var are the batch's, over all axes but `axis`. Each running statistic
    becomes momentum * old + (1 - momentum) * batch. With `use_running_average`, mean and var are
    the running statistics, which stay as they are.

    These bounds hold for float32 in training, up to |mean| / std = 1e5. The error of y is at most
    1e-6 * max(1, |y|), or 5e-6 * max(1, |y|) if exactly every 16th entry is an outlier. The error
    of x's cotangent dx is at most 1e-6 times the channel's largest
    |scale * dy| / sqrt(var + epsilon), where dy is y's cotangent. With running statistics the mean
    is one float32 number, so y is off by up to 6e-8 * |mean| / std. The error of a bfloat16 or
    float16 y is at most one unit in the last place of max(1, |y|). The backward pass stores x, the
    mask and per-channel values.

    Args:
        x: data of any shape; a floating dtype, real or complex.
        stats: running statistics. Their shape is x's along `axis`: `(features,)` for a single axis.
            For a complex x the mean is complex: `init_batch_stats(num_features, jnp.complex64)`.
        scale: γ, of the same shape. None is 1.
        bias: β, of the same shape. None is 0.
        use_running_average: False in training, True in evaluation. A Python bool.
        axis: the feature axis, or several. Each index along them has its own statistics. With
            several axes, `stats`, `scale` and `bias` have the sizes in x's order.
        momentum: the weight of the old running value, from 0 to 1 (PyTorch's is one minus this).
        epsilon: added to the variance before the root. It and the momentum may be traced.
        mask: True where an entry counts; or floating weights, where an entry of weight 2 counts as
            two entries. Broadcastable to x. An entry that doesn't count is normalized with the
            statistics of the others. Its y is 0 if x is NaN or infinite, or if |x| is above the
            square root of the largest number (1.8e19 in float32). Derivatives treat the mask as a
            constant. In training, a negative weight makes its channel NaN. Sums of weights times x
            lose digits outside 1e-30 to 1e30.
        axis_name: the mapped axis of `jax.vmap` or `jax.shard_map` that the batch is spread over,
            or several. Under `jit`, a sharded batch needs none: its statistics are global.
        axis_index_groups: groups of that axis's indices; each group shares statistics. They work
            where `lax.psum` accepts them: in `jax.shard_map` with `check_vma=False`.
        dtype: the dtype of y, complex if x is. None is x's dtype.

    Returns:
        y: x's shape, `dtype`.
        stats: the running statistics, in the shapes and dtypes they came in. In training, a channel
            keeps its old values if the batch's mean or variance isn't finite, or if fewer than two
            of its entries count (with weights: if their sum is below 2).

    Raises:
        TypeError: x, scale, bias or stats aren't floating, or one is complex while x is real; the
            mask is neither boolean nor floating; or stats isn't a `BatchStats`.
        ValueError: an axis is out of range or repeated, a shape doesn't fit x, `axis_name` isn't
            bound, momentum or epsilon is out of range, or training has one value per channel.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[1.0, 10.0], [3.0, 30.0]])
        >>> stats = jbn.init_batch_stats(2)
        >>> y, stats = jbn.batch_norm(x, stats, use_running_average=False, momentum=0.9)
        >>> print(y.round(3))
        [[-1. -1.]
         [ 1.  1.]]
        >>> print(stats.mean, stats.var)
        [0.2 2. ] [ 1.  10.9]

    References:
        Ioffe and Szegedy, 2015, arXiv:1502.03167.
    """
    x = jnp.asarray(x)
    feature_axes, reduction_axes = split_axes(axis, x.ndim)
    _check(x, stats, feature_axes, use_running_average, momentum)
    arguments = layer_arguments(x, scale, bias, feature_axes, epsilon, mask, dtype)

    if use_running_average:
        mean = jnp.asarray(stats.mean, arguments.scale.dtype).reshape(arguments.scale.shape)
        var = jnp.asarray(stats.var, arguments.epsilon.dtype).reshape(arguments.scale.shape)
        normalized = jax.checkpoint(_normalize_by_running, prevent_cse=False, static_argnums=7)
        return normalized(x, mean, var, *arguments[1:]), stats

    named_axis = canonical_named_axis(axis_name, axis_index_groups)
    _check_batch_size(x, feature_axes, reduction_axes, named_axis)
    y, (count, shift, offset, var) = normalize_by_moments(
        *arguments[:-1], reduction_axes, named_axis, arguments.dtype
    )
    batch = Moments(count, shift + offset, var)
    return y, update_batch_stats(stats, batch, momentum=momentum)


def _check(
    x: Array, stats: Any, feature_axes: tuple[int, ...], use_running_average: Any, momentum: Any
) -> None:
    """Raises an error if an argument isn't as `batch_norm` describes it."""
    check_floating("x", x, complex_too=True)
    is_complex = jnp.iscomplexobj(x)
    features = tuple(x.shape[a] for a in feature_axes)
    if not isinstance(stats, BatchStats):
        raise TypeError(
            f"stats: found a {type(stats).__name__}, wanted a jbn.BatchStats; make one of Flax's "
            "batch_stats by jbn.BatchStats(mean=..., var=...)"
        )
    if not isinstance(use_running_average, bool):
        raise TypeError(
            f"use_running_average: found {use_running_average!r}, wanted True or False, as a "
            "Python bool, since the two are different programs"
        )
    for name, value in [("stats.mean", stats.mean), ("stats.var", stats.var)]:
        check_floating(name, value, complex_too=is_complex and name == "stats.mean")
        check_shape(name, value, features)
    check_range("momentum", momentum, 0.0, 1.0)


def _check_batch_size(
    x: Array, feature_axes: tuple[int, ...], reduction_axes: tuple[int, ...], named_axis: NamedAxis
) -> None:
    """Raises an error if training has fewer than two values per channel."""
    if num_reduced(x.shape, reduction_axes) * named_axis.size() < 2:
        raise ValueError(
            f"x: found one value per channel, or none (shape {x.shape}, axis {feature_axes}), "
            "wanted at least two to train with; pass a larger batch, or use_running_average=True"
        )


def _normalize_by_running(
    x: Inexact[Array, "..."],
    mean: Inexact[Array, "..."],
    var: Float[Array, "..."],
    scale: Inexact[Array, "..."],
    bias: Inexact[Array, "..."],
    epsilon: Float[Array, ""],
    mask: Mask | None,
    dtype: jnp.dtype,
) -> Inexact[Array, "..."]:
    x, usable = without_unusable(x.astype(mean.dtype), mask)
    y = normalize(x, mean, var, scale, bias, epsilon=epsilon)
    return zero_unless(usable, y).astype(dtype)
