"""Batch normalization over parts of the batch as a Linen module."""

from flax import linen as nn
from jaxtyping import Array, Float

from jbn._layers import apply_batch_norm, apply_ghost_batch_norm
from jbn.linen._batch import BatchNorm
from jbn.linen._variables import normalize_with_batch_stats


class GhostBatchNorm(BatchNorm, kw_only=True):
    """Batch normalization with the statistics of groups of `virtual_batch_size` examples.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance of the example's group; `jbn.ghost_batch_norm`. A large batch
    keeps the noise of small ones, and y is the same on any number of devices. The running mean and
    var (Keras's moving mean and moving variance) move once, by those of the whole batch; scale is
    gamma, bias is beta.

    Variables: as those of `jbn.linen.BatchNorm`, for which it can be exchanged.

    Args:
        virtual_batch_size: examples in a group; it divides their number (but in `init`, where
            shapes are all that matters and the batch is one group). By keyword.
        use_running_average, axis, momentum, epsilon, dtype, param_dtype, use_bias, use_scale,
            bias_init, scale_init, use_fast_variance, force_float32_reductions: as in
            `jbn.linen.BatchNorm`.
        axis_name, axis_index_groups: a mapped axis over which each group is spread, and groups of
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
