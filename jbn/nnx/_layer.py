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

    with the mean and the variance of each example; `jbn.layer_norm`. The numbers are Flax's within
    rounding where Flax's are accurate, and stay accurate far from zero. In other words: scale is
    gamma, bias is beta, `use_bias` and `use_scale` are Keras's `center` and `scale`.

    Variables: `scale` and `bias` (`nnx.Param`), each of shape `(num_features,)`.

    Args:
        num_features: the size of x along `feature_axes`; their product, if there are several.
        epsilon: added to the variance before the root.
        dtype: of the result. None is the promotion of x, scale and bias.
        param_dtype: of scale and bias.
        use_bias, use_scale: whether there is a bias, a scale.
        bias_init, scale_init: their initializers.
        reduction_axes: the axes to average over.
        feature_axes: the axes along which scale and bias vary.
        axis_name: the mapped axis (`jax.vmap`, `jax.shard_map`) that the reduced axes are spread
            over.
        axis_index_groups: groups of its indices that share statistics.
        use_fast_variance: accepted, without effect: the variance is both fast and accurate.
        promote_dtype: called as Flax calls it; without `dtype`, the result has the dtype that it
            gives x, scale and bias. Only the result is rounded to it, none of what goes in.
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
            x: data of any shape; integers are taken as float32.
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

    over each example; `jbn.rms_norm`.

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

    with the mean and the variance of a group of successive channels of an example;
    `jbn.group_norm`. The channels are on the last axis.

    Variables: `scale` and `bias` (`nnx.Param`), each of shape `(num_features,)`.

    Args:
        num_features: the number of channels.
        num_groups: how many groups.
        group_size: how many channels in each, instead; with `num_groups=None`.
        reduction_axes: the axes to average over, the last among them. None: all but the first.
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
            ValueError: `reduction_axes` leave the channels out.
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

    with the mean and the variance of each channel of an example; `jbn.instance_norm`.

    Variables: `scale` and `bias` (`nnx.Param`), each of shape `(num_features,)`.

    Args:
        num_features: the size of x along `feature_axes`; their product, if there are several.
        feature_axes: the channel axis, or several; not the first.
        epsilon, dtype, param_dtype, use_bias, use_scale, bias_init, scale_init, axis_name,
            axis_index_groups, use_fast_variance, promote_dtype, rngs, bias_metadata,
            scale_metadata: as in `jbn.nnx.LayerNorm`.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.InstanceNorm(2, rngs=nnx.Rngs(0))
        >>> images = jnp.array([[[1.0, 10.0], [3.0, 30.0]]])  # one, of two pixels, two channels
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
