"""Running statistics of batch normalization, and how a batch moves them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jbn.functional._arguments import check_range
from jbn.functional._moments import Moments


class BatchStats(NamedTuple):
    """Running mean and biased variance, one value per feature (Flax's `batch_stats` collection)."""

    mean: Float[Array, "*features"]
    var: Float[Array, "*features"]


def init_batch_stats(
    num_features: int | Sequence[int], dtype: DTypeLike = jnp.float32
) -> BatchStats:
    """Running statistics before the first batch: mean 0, variance 1.

    Args:
        num_features: the size of x along its feature axis; a shape for several feature axes.
        dtype: of both arrays; float32 keeps its digits over many updates.

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
    return BatchStats(jnp.zeros(num_features, dtype), jnp.ones(num_features, dtype))


def update_batch_stats(
    stats: BatchStats, moments: Moments, *, momentum: float | Float[Array, ""] = 0.99
) -> BatchStats:
    """The running statistics after one more batch.

        new = momentum * old + (1 - momentum) * batch

    A channel whose batch statistics are not finite, or come from fewer than two entries, keeps its
    old values: one bad batch does not ruin the average.

    Args:
        stats: the running statistics; shape `(num_features,)`, or that of several feature axes.
        moments: what `jbn.moments` says of the batch; reduced axes of size 1 are dropped.
        momentum: the weight of the old value, from 0 to 1, as in Flax and Keras (PyTorch's is one
            minus this). A number or a traced scalar.

    Returns:
        `BatchStats` of the same shapes and dtypes.

    Raises:
        ValueError: momentum is outside 0 to 1, or stats and moments are of different sizes.

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
    valid = (moments.count >= 2) & jnp.isfinite(moments.mean) & jnp.isfinite(moments.var)

    def move(old: Float[Array, "..."], batch: Float[Array, "..."]) -> Float[Array, "..."]:
        # A Python float is subtracted from 1 in double precision: 1 - 0.9 is 0.1, not 0.10000002.
        old_weight, batch_weight = (jnp.asarray(w, batch.dtype) for w in (momentum, 1 - momentum))
        kept = old.astype(batch.dtype)
        moved = old_weight * kept + batch_weight * batch.reshape(old.shape)
        return jnp.where(valid.reshape(old.shape), moved.astype(old.dtype), old)

    return BatchStats(move(stats.mean, moments.mean), move(stats.var, moments.var))
