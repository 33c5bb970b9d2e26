"""Batch normalization as a Linen module."""

from flax import linen as nn
from jaxtyping import Array, Float

from jbn._layers import apply_batch_norm
from jbn.linen._variables import normalize_with_batch_stats


class BatchNorm(nn.BatchNorm):
    """Batch normalization, a drop-in for `flax.linen.BatchNorm`: same arguments, same variables.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    Where Flax is accurate, the results are Flax's up to rounding. Far from zero they stay accurate.
    Keras has other names: scale is gamma, bias is beta, `use_bias` and `use_scale` are `center` and
    `scale`, the running mean and var are the moving mean and moving variance.

    It differs from Flax's in three ways. A momentum outside 0 to 1, a real `dtype` for a complex x
    and, in training, one value per channel are errors. A channel keeps its running statistics if
    its batch isn't finite or has fewer than two counted entries. The running mean of a complex x is
    complex from `init` on (in Flax from the first step on).

    Variables: `params/{scale, bias}` and `batch_stats/{mean, var}`, each of shape `(features,)`.

    Args:
        use_running_average: True normalizes with the running statistics, False with the batch's.
            Give it here or in the call.
        axis: the feature axis, or a tuple of feature axes.
        momentum: the weight of the old running value.
        epsilon: added to the variance before the root.
        dtype: the dtype of the result. None is the promotion of x, scale and bias.
        param_dtype: the dtype of scale and bias.
        use_bias, use_scale: whether there is a bias, and whether there is a scale.
        bias_init, scale_init: the initializers of bias and scale.
        axis_name: the mapped axis (`jax.vmap`, `jax.shard_map`) that the batch is spread over.
        axis_index_groups: groups of that axis's indices; each group shares statistics.
        use_fast_variance: accepted without effect: the variance is both fast and accurate.
        force_float32_reductions: False makes the initial running statistics in `param_dtype`. From
            the first update on they are float32 (float64), and so are the reductions in any case.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> layer = jbn.linen.BatchNorm(momentum=0.9)
        >>> x = jnp.array([[1.0], [3.0]])
        >>> variables = layer.init(jax.random.key(0), x, use_running_average=False)
        >>> y, updates = layer.apply(
        ...     variables, x, use_running_average=False, mutable=["batch_stats"]
        ... )
        >>> print(y.round(3).ravel(), updates["batch_stats"]["mean"])
        [-1.  1.] [0.2]

    References:
        Ioffe and Szegedy, 2015, arXiv:1502.03167.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "..."],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "..."]:
        """x normalized; training also updates `batch_stats` (but `init` doesn't).

        Args:
            x: data of any shape; integers become float32.
            use_running_average: as in the constructor; give it in exactly one of the two places.
            mask: nonzero where an entry counts. Each entry counts once, whatever the number.
                Broadcastable to x.

        Returns:
            y, of x's shape.
        """
        use_running_average = nn.merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        return normalize_with_batch_stats(
            self, apply_batch_norm, x, use_running_average=use_running_average, mask=mask
        )
