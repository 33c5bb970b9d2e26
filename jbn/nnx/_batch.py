"""Batch normalization as an NNX module."""

from flax import nnx
from jaxtyping import Array, Float

from jbn._layers import apply_batch_norm, is_evaluation
from jbn.nnx._variables import normalize_with_batch_stats


class BatchNorm(nnx.BatchNorm):
    """Batch normalization, a drop-in for `flax.nnx.BatchNorm`: same arguments, same variables.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    Where Flax is accurate, the results are Flax's up to rounding. Far from zero they stay accurate.
    Keras has other names: scale is gamma, bias is beta, `use_bias` and `use_scale` are `center` and
    `scale`, the running mean and var are the moving mean and moving variance.

    It differs from Flax's in three ways. A momentum outside 0 to 1, a real `dtype` for a complex x
    and, in training, one value per channel are errors. A channel keeps its running statistics if
    its batch isn't finite or has fewer than two counted entries. The running mean of a complex x is
    complex from the first step on, where Flax's loses the imaginary part. Before an `nnx.scan`,
    give it the complex dtype by `layer.mean.set_value`.

    Variables: `scale` and `bias` (`nnx.Param`), `mean` and `var` (`nnx.BatchStat`, float32), each
    of shape `(num_features,)`.

    Args:
        num_features: the size of x along `axis`.
        use_running_average: True normalizes with the running statistics, False with the batch's.
            Give it here, in the call, or by `model.train()` and `model.eval()`.
        axis: the feature axis.
        momentum: the weight of the old running value.
        epsilon: added to the variance before the root.
        dtype: the dtype of the result. None is the promotion of x, the statistics, scale and bias.
        param_dtype: the dtype of scale and bias.
        use_bias, use_scale: whether there is a bias, and whether there is a scale.
        bias_init, scale_init: the initializers of bias and scale.
        axis_name: the mapped axis (`jax.vmap`, `jax.shard_map`) that the batch is spread over.
        axis_index_groups: groups of that axis's indices; each group shares statistics.
        use_fast_variance: accepted without effect: the variance is both fast and accurate.
        promote_dtype: called as Flax calls it. Without `dtype`, the result has the dtype that it
            gives x, scale and bias. Only the result is rounded to that dtype, not the inputs.
        rngs: as in every NNX module.
        bias_metadata, scale_metadata: metadata of the two parameters.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.BatchNorm(1, momentum=0.9, rngs=nnx.Rngs(0))
        >>> y = layer(jnp.array([[1.0], [3.0]]))
        >>> print(y.round(3).ravel(), layer.mean[...])
        [-1.  1.] [0.2]

    References:
        Ioffe and Szegedy, 2015, arXiv:1502.03167.
    """

    def __call__(
        self,
        x: Float[Array, "..."],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "..."]:
        """x normalized; training also updates `mean` and `var`.

        Args:
            x: data of any shape.
            use_running_average: as in the constructor; the call takes precedence.
            mask: nonzero where an entry counts. Each entry counts once, whatever the number.
                Broadcastable to x.

        Returns:
            y, of x's shape.
        """
        return normalize_with_batch_stats(
            self,
            apply_batch_norm,
            x,
            use_running_average=is_evaluation(self, use_running_average),
            mask=mask,
        )
