"""Layer, RMS, group and instance normalization as NNX modules."""

from flax import nnx
from jaxtyping import Array, Float

from jbn._layers import (
    apply_group_norm,
    apply_instance_norm,
    apply_layer_norm,
    apply_rms_norm,
    channel_shape,
    feature_shape,
)
from jbn.nnx._variables import mapped_axis, result_dtype, scale_and_bias


class LayerNorm(nnx.LayerNorm):
    """Layer normalization, a drop-in for `flax.nnx.LayerNorm`: same arguments, same variables.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance of each example. The function is `jbn.layer_norm`. Where Flax is
    accurate, the results are Flax's up to rounding. Far from zero they stay accurate. Keras has
    other names: scale is gamma, bias is beta, `use_bias` and `use_scale` are `center` and `scale`.

    Variables: `scale` and `bias` (`nnx.Param`), each of shape `(num_features,)`.

    Args:
        num_features: the size of x along `feature_axes`; the product of the sizes for several axes.
        epsilon: added to the variance before the root.
        dtype: the dtype of the result. None is the promotion of x, scale and bias.
        param_dtype: the dtype of scale and bias.
        use_bias, use_scale: whether there is a bias, and whether there is a scale.
        bias_init, scale_init: the initializers of bias and scale.
        reduction_axes: the axes to average over.
        feature_axes: the axes along which scale and bias vary.
        axis_name: the mapped axis (`jax.vmap`, `jax.shard_map`) that the reduced axes are spread
            over.
        axis_index_groups: groups of that axis's indices; each group shares statistics.
        use_fast_variance: accepted without effect: the variance is both fast and accurate.
        promote_dtype: called as Flax calls it. Without `dtype`, the result has the dtype that it
            gives x, scale and bias. Only the result is rounded to that dtype, not the inputs.
        rngs: as in every NNX module.
        bias_metadata, scale_metadata: metadata of the two parameters.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.LayerNorm(2, rngs=nnx.Rngs(0))
        >>> print(layer(jnp.array([[1.0, 3.0], [10.0, 30.0]])).round(3))
        [[-1.  1.]
         [-1.  1.]]

    References:
        Ba, Kiros and Hinton, 2016, Layer Normalization, arXiv:1607.06450.
    """

    def __call__(self, x: Float[Array, "..."], *, mask: Array | None = None) -> Float[Array, "..."]:
        """x normalized.

        Args:
            x: data of any shape; integers become float32.
            mask: nonzero where an entry counts; broadcastable to x.

        Returns:
            y, of x's shape.
        """
        scale, bias = scale_and_bias(self, feature_shape(x, "feature_axes", self.feature_axes))
        dtype = result_dtype(self, x, scale, bias)
        return apply_layer_norm(self, x, scale, bias, mask=mask, dtype=dtype, **mapped_axis(self))


class RMSNorm(nnx.RMSNorm):
    """Division by the root mean square, a drop-in for `flax.nnx.RMSNorm`.

        y = x / sqrt(mean(|x|²) + epsilon) * scale

    with the mean over each example. The function is `jbn.rms_norm`.

    Variables: `scale` (`nnx.Param`), of shape `(num_features,)`.

    Args:
        num_features, epsilon, dtype, param_dtype, use_scale, scale_init, reduction_axes,
            feature_axes, axis_name, axis_index_groups, use_fast_variance, promote_dtype, rngs,
            scale_metadata: as in `jbn.nnx.LayerNorm`.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.RMSNorm(2, rngs=nnx.Rngs(0))
        >>> print(layer(jnp.array([[1.0, 7.0], [-10.0, 70.0]])).round(1))
        [[ 0.2  1.4]
         [-0.2  1.4]]

    References:
        Zhang and Sennrich, 2019, Root Mean Square Layer Normalization, arXiv:1910.07467.
    """

    def __call__(self, x: Float[Array, "..."], mask: Array | None = None) -> Float[Array, "..."]:
        """x normalized; x and mask as in `jbn.nnx.LayerNorm`."""
        scale, _ = scale_and_bias(self, feature_shape(x, "feature_axes", self.feature_axes))
        dtype = result_dtype(self, x, scale)
        return apply_rms_norm(self, x, scale, mask=mask, dtype=dtype, **mapped_axis(self))


class GroupNorm(nnx.GroupNorm):
    """Group normalization, a drop-in for `flax.nnx.GroupNorm`: same arguments, same variables.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance of each group of successive channels of an example. The channels
    are on the last axis. The function is `jbn.group_norm`.

    Variables: `scale` and `bias` (`nnx.Param`), each of shape `(num_features,)`.

    Args:
        num_features: the number of channels.
        num_groups: the number of groups.
        group_size: the number of channels in a group; give it with `num_groups=None`.
        reduction_axes: the axes to average over, including the last. None: all but the first.
        epsilon, dtype, param_dtype, use_bias, use_scale, bias_init, scale_init, axis_name,
            axis_index_groups, use_fast_variance, promote_dtype, rngs, bias_metadata,
            scale_metadata: as in `jbn.nnx.LayerNorm`.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.GroupNorm(4, num_groups=2, rngs=nnx.Rngs(0))
        >>> print(layer(jnp.array([[1.0, 3.0, 10.0, 30.0]])).round(3))
        [[-1.  1. -1.  1.]]

    References:
        Wu and He, 2018, Group Normalization, arXiv:1803.08494.
    """

    def __call__(self, x: Float[Array, "..."], *, mask: Array | None = None) -> Float[Array, "..."]:
        """x normalized; x and mask as in `jbn.nnx.LayerNorm`.

        Raises:
            ValueError: `reduction_axes` leave out the channel axis.
        """
        scale, bias = scale_and_bias(self)
        return apply_group_norm(
            self,
            x,
            scale,
            bias,
            num_groups=self.num_groups,
            mask=mask,
            dtype=result_dtype(self, x, scale, bias),
            **mapped_axis(self),
        )


class InstanceNorm(nnx.InstanceNorm):
    """Instance normalization, a drop-in for `flax.nnx.InstanceNorm`: same arguments, variables.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance of each channel of an example. The function is
    `jbn.instance_norm`.

    Variables: `scale` and `bias` (`nnx.Param`), each of shape `(num_features,)`.

    Args:
        num_features: the size of x along `feature_axes`; the product of the sizes for several axes.
        feature_axes: the channel axis, or several; not the first axis.
        epsilon, dtype, param_dtype, use_bias, use_scale, bias_init, scale_init, axis_name,
            axis_index_groups, use_fast_variance, promote_dtype, rngs, bias_metadata,
            scale_metadata: as in `jbn.nnx.LayerNorm`.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.InstanceNorm(2, rngs=nnx.Rngs(0))
        >>> images = jnp.array([[[1.0, 10.0], [3.0, 30.0]]])  # one image, two pixels, two channels
        >>> print(layer(images).round(3))
        [[[-1. -1.]
          [ 1.  1.]]]

    References:
        Ulyanov, Vedaldi and Lempitsky, 2016, Instance Normalization, arXiv:1607.08022.
    """

    def __call__(self, x: Float[Array, "..."], *, mask: Array | None = None) -> Float[Array, "..."]:
        """x normalized; x and mask as in `jbn.nnx.LayerNorm`.

        Raises:
            ValueError: the first axis is among the feature axes.
        """
        scale, bias = scale_and_bias(self, channel_shape(x, self.feature_axes))
        dtype = result_dtype(self, x, scale, bias)
        return apply_instance_norm(
            self, x, scale, bias, mask=mask, dtype=dtype, **mapped_axis(self)
        )
