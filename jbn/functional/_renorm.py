"""Batch renormalization: batch normalization that trains nearly as it evaluates."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jbn.functional._arguments import check_floating, check_range, split_axes
from jbn.functional._batch import batch_norm
from jbn.functional._mask import Mask
from jbn.functional._moments import moments
from jbn.functional._stats import BatchStats


class RenormLimits(NamedTuple):
    """Limits of batch renormalization's r and d: 1 / r_max ≤ r ≤ r_max, -d_max ≤ d ≤ d_max."""

    r_max: float | Float[Array, ""]
    d_max: float | Float[Array, ""]


def renorm_limits(
    step: int | Int[Array, ""],
    *,
    r_max: float = 3.0,
    d_max: float = 5.0,
    num_plain_steps: int = 5_000,
    num_r_steps: int = 40_000,
    num_d_steps: int = 25_000,
) -> RenormLimits:
    """The paper's limits at a step: first those of batch normalization, then wider and wider.

    Up to `num_plain_steps`, r_max is 1 and d_max is 0, which is batch normalization. Then both grow
    linearly: r_max until `num_r_steps`, d_max until `num_d_steps`.

    Args:
        step: the number of updates before this one; an integer or a traced one.
        r_max, d_max: the final limits.
        num_plain_steps: the step at which the limits begin to grow.
        num_r_steps, num_d_steps: the steps at which r_max and d_max are final. The three defaults
            are the paper's, for an ImageNet training: scale them to yours.

    Returns:
        `RenormLimits(r_max, d_max)`, float32 scalars.

    Raises:
        ValueError: r_max is below 1, d_max is below 0, or `num_r_steps` or `num_d_steps` is below
            `num_plain_steps`.

    Example:
        >>> import jbn
        >>> for step in (0, 15_000, 100_000):
        ...     print([round(float(limit), 3) for limit in jbn.renorm_limits(step)])
        [1.0, 0.0]
        [1.571, 2.5]
        [3.0, 5.0]

    References:
        Ioffe, 2017, arXiv:1702.03275, Section 4.
    """
    check_range("r_max", r_max, 1.0, float("inf"))
    check_range("d_max", d_max, 0.0, float("inf"))
    check_range("num_r_steps", num_r_steps, float(num_plain_steps), float("inf"))
    check_range("num_d_steps", num_d_steps, float(num_plain_steps), float("inf"))
    step = jnp.asarray(step, jnp.float32)

    def progress(end: int) -> Float[Array, ""]:
        return jnp.clip((step - num_plain_steps) / max(end - num_plain_steps, 1), 0, 1)

    return RenormLimits(1 + (r_max - 1) * progress(num_r_steps), d_max * progress(num_d_steps))


def batch_renorm(
    x: Float[Array, "*shape"],
    stats: BatchStats,
    scale: Float[Array, "*features"] | None = None,
    bias: Float[Array, "*features"] | None = None,
    *,
    use_running_average: bool,
    limits: RenormLimits,
    axis: int | Sequence[int] = -1,
    momentum: float | Float[Array, ""] = 0.99,
    epsilon: float | Float[Array, ""] = 1e-5,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Float[Array, "*shape"], BatchStats]:
    """x normalized per feature, nearly as in evaluation, and the updated running statistics.

        r = clip(σ / σ_running, 1 / r_max, r_max)    d = clip((μ - μ_running) / σ_running, ±d_max)
        y = ((x - μ) / σ * r + d) * scale + bias

    with σ = sqrt(var + epsilon). Without limits, (x - μ) / σ * r + d equals
    (x - μ_running) / σ_running. The gradient is still that of batch normalization, with r and d as
    constants. In evaluation it is `jbn.batch_norm`. Use it for batches that are small or not drawn
    at random.

    Args:
        x: as in `jbn.batch_norm`, and real.
        stats, scale, bias, use_running_average, axis, momentum, epsilon, mask, axis_name,
            axis_index_groups, dtype: as in `jbn.batch_norm`.
        limits: r_max, at least 1, and d_max, at least 0; numbers or traced scalars. r_max 1 and
            d_max 0 are batch normalization. Widen them slowly, by `jbn.renorm_limits`.

    Returns:
        y and the running statistics, as from `jbn.batch_norm`.

    Raises:
        TypeError: x is complex; and as `jbn.batch_norm`.
        ValueError: a limit is out of range; and as `jbn.batch_norm`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[1.0], [3.0]])
        >>> y, stats = jbn.batch_renorm(
        ...     x, jbn.init_batch_stats(1), use_running_average=False,
        ...     limits=jbn.RenormLimits(r_max=3.0, d_max=5.0),
        ... )
        >>> print(y.round(2).ravel())  # as in evaluation, with mean 0 and variance 1
        [1. 3.]

    References:
        Ioffe, 2017, Batch Renormalization: Towards Reducing Minibatch Dependence in
        Batch-Normalized Models, arXiv:1702.03275.
    """
    check_range("limits.r_max", limits.r_max, 1.0, float("inf"))
    check_range("limits.d_max", limits.d_max, 0.0, float("inf"))
    x = jnp.asarray(x)
    check_floating("x", x, complex_too=False)  # clip takes no complex d
    moments_options: dict[str, Any] = {
        "mask": mask,
        "axis_name": axis_name,
        "axis_index_groups": axis_index_groups,
    }
    layer_options: dict[str, Any] = {
        "axis": axis,
        "momentum": momentum,
        "epsilon": epsilon,
        "dtype": dtype,
        **moments_options,
    }
    if use_running_average:
        return batch_norm(x, stats, scale, bias, use_running_average=True, **layer_options)

    for name, value in [("scale", scale), ("bias", bias)]:
        if value is not None:
            check_floating(name, value, complex_too=False)
    _, reduction_axes = split_axes(axis, x.ndim)
    # batch_norm takes the same moments: in one program XLA computes them once.
    batch = moments(lax.stop_gradient(x), reduction_axes, **moments_options)
    computed = batch.mean.dtype
    mean, var = (part.reshape(stats.mean.shape) for part in (batch.mean, batch.var))
    running_mean, running_var = (lax.stop_gradient(part).astype(computed) for part in stats)
    epsilon = jnp.asarray(epsilon, computed)
    r_max, d_max = (jnp.asarray(limit, computed) for limit in limits)
    running_factor = lax.rsqrt(running_var + epsilon)
    r = jnp.clip(jnp.sqrt(var + epsilon) * running_factor, 1 / r_max, r_max)
    d = jnp.clip((mean - running_mean) * running_factor, -d_max, d_max)

    scale = jnp.ones(r.shape, computed) if scale is None else scale.astype(computed)
    bias = jnp.zeros(r.shape, computed) if bias is None else bias.astype(computed)
    return batch_norm(
        x, stats, scale * r, scale * d + bias, use_running_average=False, **layer_options
    )
