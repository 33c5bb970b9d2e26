"""Batch normalization over groups of the batch, whose size doesn't depend on the devices."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import check_whole_groups, split_axes
from jbn.functional._batch import batch_norm
from jbn.functional._mask import Mask, expand_mask
from jbn.functional._moments import Moments, merge_moments, moments
from jbn.functional._stats import BatchStats, is_valid_batch, update_batch_stats


def ghost_batch_norm(
    x: Inexact[Array, "*shape"],
    stats: BatchStats,
    scale: Inexact[Array, "*features"] | None = None,
    bias: Inexact[Array, "*features"] | None = None,
    *,
    use_running_average: bool,
    virtual_batch_size: int,
    axis: int | Sequence[int] = -1,
    momentum: float | Float[Array, ""] = 0.99,
    epsilon: float | Float[Array, ""] = 1e-5,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Inexact[Array, "*shape"], BatchStats]:
    """x normalized in groups of `virtual_batch_size` examples, and the updated running statistics.

    The examples of a group are successive, along the first axis that isn't a feature axis. Each
    group is normalized as by `jbn.batch_norm`, with its own statistics. The running statistics are
    updated once, by the statistics of the whole batch, which are merged exactly from the groups'.
    In evaluation it is `jbn.batch_norm`.

    Under `jit`, with a batch sharded into whole groups, y needs no communication and the running
    statistics need one small sum.

    Args:
        x, stats, scale, bias, use_running_average, axis, momentum, epsilon, mask, dtype: as in
            `jbn.batch_norm`.
        axis_name, axis_index_groups: the mapped axis that each group is spread over, and groups of
            its indices.
        virtual_batch_size: the number of examples in a group; it divides the number of examples.

    Returns:
        y and the running statistics, as from `jbn.batch_norm`. In a channel, a group is left out of
        the running statistics if its own statistics aren't finite, or if fewer than two of its
        entries count (with weights: if their sum is below 2).

    Raises:
        ValueError: `virtual_batch_size` doesn't divide the number of examples; and as
            `jbn.batch_norm`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[1.0], [3.0], [10.0], [30.0]])
        >>> y, stats = jbn.ghost_batch_norm(
        ...     x, jbn.init_batch_stats(1), use_running_average=False, virtual_batch_size=2
        ... )
        >>> print(y.round(2).ravel())
        [-1.  1. -1.  1.]

    References:
        Hoffer, Hubara and Soudry, 2017, Train longer, generalize better, arXiv:1705.08741.
    """
    if use_running_average:
        options: dict[str, Any] = {"axis": axis, "epsilon": epsilon, "mask": mask, "dtype": dtype}
        return batch_norm(x, stats, scale, bias, use_running_average=True, **options)
    x = jnp.asarray(x)
    feature_axes, reduction_axes = split_axes(axis, x.ndim)
    if (
        not reduction_axes
        or virtual_batch_size < 1
        or x.shape[reduction_axes[0]] % virtual_batch_size
    ):
        raise ValueError(
            f"virtual_batch_size: found {virtual_batch_size}, wanted a divisor of the number of "
            f"examples of x, whose shape is {x.shape}"
        )
    batch_axis = reduction_axes[0]
    num_groups = x.shape[batch_axis] // virtual_batch_size
    check_whole_groups("virtual_batch_size", virtual_batch_size, num_groups, x, batch_axis)

    def grouped(value: Array) -> Array:
        sizes = (num_groups, virtual_batch_size)
        return value.reshape(value.shape[:batch_axis] + sizes + value.shape[batch_axis + 1 :])

    def normalize_group(
        x: Inexact[Array, "..."], mask: Mask | None
    ) -> tuple[Inexact[Array, "..."], Moments]:
        moments_options: dict[str, Any] = {
            "mask": mask,
            "axis_name": axis_name,
            "axis_index_groups": axis_index_groups,
        }
        layer_options: dict[str, Any] = {
            "axis": feature_axes,
            "epsilon": epsilon,
            "dtype": dtype,
            **moments_options,
        }
        y, _ = batch_norm(x, stats, scale, bias, use_running_average=False, **layer_options)
        # batch_norm takes the same moments: in one program XLA computes them once.
        return y, moments(x, reduction_axes, **moments_options)

    mask = expand_mask(mask, x.shape)
    if mask is not None:
        rows = (*mask.shape[:batch_axis], x.shape[batch_axis], *mask.shape[batch_axis + 1 :])
        mask = grouped(jnp.broadcast_to(mask, rows))
    mask_axis = None if mask is None else batch_axis
    over_groups = jax.vmap(normalize_group, (batch_axis, mask_axis), (batch_axis, 0))
    y, parts = over_groups(grouped(x), mask)

    counts = jnp.where(is_valid_batch(parts), parts.count, 0)
    batch = merge_moments(parts._replace(count=counts))
    return y.reshape(x.shape), update_batch_stats(stats, batch, momentum=momentum)
