"""Running statistics of batch normalization, and how a batch updates them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Inexact, Int

from jbn.functional._arguments import accumulation_dtype, check_floating, check_range, real_dtype
from jbn.functional._mask import select
from jbn.functional._moments import Moments, merge_moments


class BatchStats(NamedTuple):
    """Running mean and biased variance, one value per feature (Flax's `batch_stats` collection)."""

    mean: Inexact[Array, "*features"]
    var: Float[Array, "*features"]


def init_batch_stats(
    num_features: int | Sequence[int], dtype: DTypeLike = jnp.float32
) -> BatchStats:
    """Running statistics before the first batch: mean 0, variance 1.

    Args:
        num_features: the size of x along its feature axis; a shape for several feature axes.
        dtype: the dtype of both arrays: float32, or float64. Training refuses 16-bit statistics.
            With a complex dtype, for complex data, the mean is complex and the variance is real.

    Returns:
        `BatchStats(mean, var)`, each of shape `(num_features,)` or of the shape given.

    Example:
        >>> import jbn
        >>> stats = jbn.init_batch_stats(2)
        >>> print(stats.mean, stats.var)
        [0. 0.] [1. 1.]

    References:
        Ioffe and Szegedy, 2015, arXiv:1502.03167.
    """
    return BatchStats(jnp.zeros(num_features, dtype), jnp.ones(num_features, real_dtype(dtype)))


def running_mean_dtype(x: Array, dtype: DTypeLike) -> jnp.dtype:
    """The dtype of x's running mean: `dtype` if x is real, a complex dtype otherwise."""
    return accumulation_dtype(dtype, jnp.complex64) if jnp.iscomplexobj(x) else jnp.dtype(dtype)


def update_batch_stats(
    stats: BatchStats, moments: Moments, *, momentum: float | Float[Array, ""] = 0.99
) -> BatchStats:
    """The running statistics after one more batch.

        new = momentum * old + (1 - momentum) * batch

    A channel keeps its old values if the batch's mean or variance isn't finite, or if its count
    (under weights, their sum) is below 2. So one bad batch does not ruin the average.

    Args:
        stats: the running statistics; shape `(num_features,)`, or that of several feature axes.
        moments: the batch's moments, by `jbn.moments`. Their axes of size 1 are dropped.
        momentum: the weight of the old value, from 0 to 1, as in Flax and Keras (PyTorch's is one
            minus this). A number or a traced scalar.

    Returns:
        `BatchStats` of the same shapes and dtypes.

    Raises:
        TypeError: the batch's mean is complex and the running mean isn't; or the statistics have 16
            bits, which round small updates away.
        ValueError: momentum is outside 0 to 1, or stats and moments have different sizes.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> batch = jbn.moments(jnp.array([[1.0], [3.0]]), 0)
        >>> stats = jbn.update_batch_stats(jbn.init_batch_stats(1), batch, momentum=0.5)
        >>> print(stats.mean, stats.var)
        [1.] [1.]

    References:
        Ioffe and Szegedy, 2015, arXiv:1502.03167, Section 3.1.
    """
    check_range("momentum", momentum, 0.0, 1.0)
    features = [size for size in moments.mean.shape if size != 1]
    if [size for size in stats.mean.shape if size != 1] != features:
        raise ValueError(
            f"stats: found shape {stats.mean.shape}, wanted that of the moments' features, "
            f"{moments.mean.shape} without the reduced axes"
        )
    if jnp.iscomplexobj(moments.mean) and not jnp.iscomplexobj(stats.mean):
        raise TypeError(
            f"stats.mean: found dtype {stats.mean.dtype}, wanted a complex one, like the "
            "batch's mean; make it by jbn.init_batch_stats(num_features, jnp.complex64)"
        )
    for name, value in stats._asdict().items():
        if value.dtype.itemsize == 2:
            raise TypeError(
                f"stats.{name}: found dtype {value.dtype}, wanted float32 or float64: in 16 bits "
                "small updates are rounded away, and the statistics stop moving. Cast them first: "
                "jax.tree.map(lambda value: value.astype(jnp.float32), stats)"
            )
    valid = is_valid_batch(moments).reshape(stats.mean.shape)

    def move(old: Inexact[Array, "..."], batch: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        # A Python float is subtracted from 1 in double precision: 1 - 0.9 is 0.1, not 0.10000002.
        old_weight, batch_weight = (jnp.asarray(w, batch.dtype) for w in (momentum, 1 - momentum))
        kept = old.astype(batch.dtype)
        moved = old_weight * kept + batch_weight * batch.reshape(old.shape)
        return select(valid, moved.astype(old.dtype), old)

    return BatchStats(move(stats.mean, moments.mean), move(stats.var, moments.var))


def is_valid_batch(moments: Moments) -> Bool[Array, "..."]:
    """True for each channel whose batch may update the running statistics.

        count >= 2, and mean and variance are finite

    The count is the number of entries, or the sum of their weights. Where this is False,
    `update_batch_stats` keeps the old values. To see how often that happens, sum
    `~is_valid_batch(moments)` in the metrics of the training loop.

    Args:
        moments: the batch's moments, by `jbn.moments`.

    Returns:
        True or False per channel; the shape of the moments.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> batch = jbn.moments(jnp.array([[1.0, jnp.nan], [3.0, 5.0]]), 0)
        >>> print(jbn.is_valid_batch(batch))
        [[ True False]]

    References:
        Ioffe and Szegedy, 2015, arXiv:1502.03167, Section 3.1 (the running average);
        pytorch/pytorch#88474 (one non-finite batch ruins it for good).
    """
    return (moments.count >= 2) & jnp.isfinite(moments.mean) & jnp.isfinite(moments.var)


def ema_momentum(
    step: int | Int[Array, ""], momentum: float | Float[Array, ""] = 0.99
) -> Float[Array, ""]:
    """The step's momentum, which makes running statistics independent of their initial values.

        momentum(step) = min(momentum, step / (step + 1))

    The first batch replaces the initial mean 0 and variance 1. For about 1 / (1 - momentum) batches
    the running statistics are the plain average of all batches, then an exponential average. With a
    constant momentum the initial values keep the weight momentum**steps: after 10 steps at 0.99
    they still weigh 0.9. That makes evaluation far worse than training after a short run.

    Args:
        step: the number of updates before this one; an integer or a traced one.
        momentum: the momentum in the long run, from 0 to 1; a number or a traced scalar.

    Returns:
        A float32 scalar: the `momentum` for `jbn.batch_norm`.

    Raises:
        ValueError: momentum is outside 0 to 1.

    Example:
        Ten batches of mean 5 and variance 4, and the running statistics after them:

        >>> import jax.numpy as jnp, jbn
        >>> batch = jbn.Moments(*(jnp.array([v]) for v in (32.0, 5.0, 4.0)))
        >>> plain = warmed = jbn.init_batch_stats(1)
        >>> for step in range(10):
        ...     plain = jbn.update_batch_stats(plain, batch, momentum=0.99)
        ...     momentum = jbn.ema_momentum(step, 0.99)
        ...     warmed = jbn.update_batch_stats(warmed, batch, momentum=momentum)
        >>> print(plain.mean.round(2), plain.var.round(2), warmed.mean, warmed.var)
        [0.48] [1.29] [5.] [4.]

    References:
        Kingma and Ba, 2015, arXiv:1412.6980, Section 3 (which corrects the bias of the initial
        values by division).
    """
    check_range("momentum", momentum, 0.0, 1.0)
    step = jnp.asarray(step, jnp.float32)
    return jnp.minimum(jnp.asarray(momentum, jnp.float32), step / (step + 1))


def effective_num_batches(
    step: int | Int[Array, ""], momentum: float | Float[Array, ""] = 0.99
) -> Float[Array, ""]:
    """The number of equally weighted batches whose mean is as steady as the running mean.

    It is 1 over the sum of the batches' squared weights after `step` updates with `ema_momentum`.
    With m = momentum, the first n0 = min(step, floor(m / (1 - m)) + 1) batches share the weight
    m**k. The later k = step - n0 batches have the weights (1 - m) m**j, j = 0 to k - 1. The result:

        1 / (m**(2k) / n0 + (1 - m)² (1 - m**(2k)) / (1 - m²))

    At first it equals the step; in the end it is (1 + m) / (1 - m): 199 for 0.99, 19 for 0.9.

    Args:
        step: the number of updates so far; an integer or a traced one.
        momentum: the momentum in the long run, from 0 to 1; a number or a traced scalar.

    Returns:
        A float32 scalar; 0 before the first update.

    Raises:
        ValueError: momentum is outside 0 to 1.

    Example:
        >>> import jbn
        >>> [round(float(jbn.effective_num_batches(n, 0.9)), 2) for n in (0, 1, 10, 1000)]
        [0.0, 1.0, 10.0, 19.0]

    References:
        Kish, 1965, Survey Sampling (the effective sample size of unequal weights).
    """
    check_range("momentum", momentum, 0.0, 1.0)
    step, m = jnp.asarray(step, jnp.float32), jnp.asarray(momentum, jnp.float32)
    # The 1e-3 keeps floor from losing a batch where a whole quotient is rounded down.
    num_alike = jnp.minimum(step, jnp.floor(m / (1 - m) + 1e-3) + 1)
    later = m ** (2 * (step - num_alike))
    squares = later / jnp.maximum(num_alike, 1) + (1 - m) / (1 + m) * (1 - later)
    return jnp.where(step > 0, 1 / squares, 0)


def merge_batch_stats(stats: BatchStats, counts: Float[Array, "..."]) -> BatchStats:
    """The statistics of all data together, from the statistics of its parts.

        mean = Σ nᵢ meanᵢ / Σ nᵢ        var = Σ nᵢ (varᵢ + |meanᵢ - mean|²) / Σ nᵢ

    Use it for running statistics that drifted apart on several devices, or for a whole batch from
    the statistics of its micro-batches. A part with count 0 is ignored, whatever its statistics.

    Args:
        stats: statistics of the parts, stacked along a new first axis: shape `(parts, features)`.
        counts: the number of entries of each part; shape `(parts,)`, or `(parts, features)` if it
            differs between channels, as with masks.

    Returns:
        `BatchStats` without the first axis, in the dtypes that came in. Mean and variance are 0
        where all counts are 0.

    Raises:
        ValueError: the counts' shape doesn't fit.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> parts = jbn.BatchStats(jnp.array([[1.0], [4.0]]), jnp.array([[0.0], [2.0]]))
        >>> whole = jbn.merge_batch_stats(parts, jnp.array([2.0, 1.0]))
        >>> print(whole.mean, whole.var.round(3))
        [2.] [2.667]

    References:
        Chan, Golub and LeVeque, 1983, Algorithms for Computing the Sample Variance.
    """
    stats, counts = BatchStats(*map(jnp.asarray, stats)), jnp.asarray(counts)
    shape = stats.mean.shape
    if counts.shape not in (shape, shape[:1]):
        raise ValueError(
            f"counts: found shape {counts.shape}, wanted {shape[:1]} or {shape}, as stats.mean has"
        )
    per_feature = counts.reshape(counts.shape + (1,) * (len(shape) - counts.ndim))
    _, mean, var = merge_moments(Moments(jnp.broadcast_to(per_feature, shape), *stats))
    return BatchStats(mean, var)


def interpolate_batch_stats(
    a: BatchStats, b: BatchStats, weight: float | Float[Array, ""]
) -> BatchStats:
    """Statistics between a and b: mean and variance are each (1 - weight) * a + weight * b.

    Use it to blend the statistics of the training data, a, with those of the test data, b; `weight`
    1 takes only the test data's (AdaBN). Or use it to update running statistics a by a whole
    batch's statistics b: `weight` is 1 - momentum then.

    Args:
        a, b: statistics of the same shapes.
        weight: the weight of b, from 0 to 1; a number or a traced scalar.

    Returns:
        `BatchStats` in the dtypes of a.

    Raises:
        TypeError: b's mean is complex and a's is not.
        ValueError: the shapes differ, or a weight that isn't traced is outside 0 to 1.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> test = jbn.BatchStats(jnp.array([4.0]), jnp.array([3.0]))
        >>> blend = jbn.interpolate_batch_stats(jbn.init_batch_stats(1), test, 0.25)
        >>> print(blend.mean, blend.var)
        [1.] [1.5]

    References:
        Li et al., 2018, Adaptive Batch Normalization for Practical Domain Adaptation; Schneider et
        al., 2020, arXiv:2006.16971 (blending at test time).
    """
    check_range("weight", weight, 0.0, 1.0)
    a, b = (BatchStats(*map(jnp.asarray, stats)) for stats in (a, b))
    if a.mean.shape != b.mean.shape or a.var.shape != b.var.shape:
        raise ValueError(f"b: found shape {b.mean.shape}, wanted {a.mean.shape}, as a has")
    check_floating("b.mean", b.mean, complex_too=jnp.iscomplexobj(a.mean))

    def between(a: Inexact[Array, "..."], b: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        dtype = accumulation_dtype(a.dtype)
        old, new = jnp.asarray(1 - weight, dtype), jnp.asarray(weight, dtype)
        return (old * a.astype(dtype) + new * b.astype(dtype)).astype(a.dtype)

    return BatchStats(between(a.mean, b.mean), between(a.var, b.var))
