"""Batch normalization over groups of the batch as a Linen module."""

from flax import linen as nn
from jaxtyping import Array, Float

from jbn._layers import apply_batch_norm, apply_ghost_batch_norm
from jbn.linen._batch import BatchNorm
from jbn.linen._variables import normalize_with_batch_stats


class GhostBatchNorm(BatchNorm, kw_only=True):
    """Batch normalization with the statistics of groups of `virtual_batch_size` examples.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance of the example's group. The function is `jbn.ghost_batch_norm`. A
    large batch keeps the noise of small batches, and y is the same on any number of devices. The
    running mean and var (Keras's moving mean and moving variance) are updated once, by the
    statistics of the whole batch. In Keras scale is gamma, bias is beta.

    Variables: those of `jbn.linen.BatchNorm`, so the two layers can be exchanged.

    Args:
        virtual_batch_size: the number of examples in a group; it divides the number of examples. In
            `init`, where only shapes matter, the batch is one group. A keyword argument.
        use_running_average, axis, momentum, epsilon, dtype, param_dtype, use_bias, use_scale,
            bias_init, scale_init, use_fast_variance, force_float32_reductions: as in
            `jbn.linen.BatchNorm`.
        axis_name, axis_index_groups: the mapped axis that each group is spread over, and groups of
            its indices.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> layer = jbn.linen.GhostBatchNorm(virtual_batch_size=2, use_running_average=False)
        >>> x = jnp.array([[1.0], [3.0], [10.0], [30.0]])
        >>> y, updates = layer.apply(layer.init(jax.random.key(0), x), x, mutable=["batch_stats"])
        >>> print(y.round(2).ravel())
        [-1.  1. -1.  1.]

    References:
        Hoffer, Hubara and Soudry, 2017, Train longer, generalize better, arXiv:1705.08741.
    """

    virtual_batch_size: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "..."],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "..."]:
        """x normalized; the arguments are those of `jbn.linen.BatchNorm`.

        Raises:
            ValueError: `virtual_batch_size` doesn't divide the number of examples.
        """
        use_running_average = nn.merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        apply = apply_batch_norm if self.is_initializing() else apply_ghost_batch_norm
        return normalize_with_batch_stats(
            self, apply, x, use_running_average=use_running_average, mask=mask
        )
