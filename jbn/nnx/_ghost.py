"""Batch normalization over groups of the batch as an NNX module."""

from typing import Any

from jaxtyping import Array, Float

from jbn._layers import apply_ghost_batch_norm, is_evaluation
from jbn.nnx._batch import BatchNorm
from jbn.nnx._variables import normalize_with_batch_stats


class GhostBatchNorm(BatchNorm):
    """Batch normalization with the statistics of groups of `virtual_batch_size` examples.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance of the example's group. The function is `jbn.ghost_batch_norm`. A
    large batch keeps the noise of small batches, and y is the same on any number of devices. The
    running mean and var (Keras's moving mean and moving variance) are updated once, by the
    statistics of the whole batch. In Keras scale is gamma, bias is beta.

    Variables: those of `jbn.nnx.BatchNorm`, so the two layers can be exchanged.

    Args:
        num_features: the size of x along the feature axis.
        virtual_batch_size: the number of examples in a group; it divides the number of examples.
        options: the other arguments of `jbn.nnx.BatchNorm`, including `rngs`. With `axis_name` each
            group is spread over that mapped axis.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.GhostBatchNorm(1, virtual_batch_size=2, rngs=nnx.Rngs(0))
        >>> print(layer(jnp.array([[1.0], [3.0], [10.0], [30.0]])).round(2).ravel())
        [-1.  1. -1.  1.]

    References:
        Hoffer, Hubara and Soudry, 2017, Train longer, generalize better, arXiv:1705.08741.
    """

    def __init__(self, num_features: int, *, virtual_batch_size: int, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.virtual_batch_size = virtual_batch_size

    def __call__(
        self,
        x: Float[Array, "..."],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "..."]:
        """x normalized; the arguments are those of `jbn.nnx.BatchNorm`.

        Raises:
            ValueError: `virtual_batch_size` doesn't divide the number of examples.
        """
        return normalize_with_batch_stats(
            self,
            apply_ghost_batch_norm,
            x,
            use_running_average=is_evaluation(self, use_running_average),
            mask=mask,
        )
