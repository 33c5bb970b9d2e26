"""Layer, RMS, group and instance normalization as Linen modules."""

from flax import linen as nn
from jaxtyping import Array, Float

from jbn._layers import (
    apply_group_norm,
    apply_instance_norm,
    apply_layer_norm,
    apply_rms_norm,
    channel_shape,
    feature_shape,
)
from jbn.linen._variables import mapped_axis, result_dtype, scale_and_bias


class LayerNorm(nn.LayerNorm):
    """Layer normalization, a drop-in for `flax.linen.LayerNorm`: same arguments, same variables.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance of each example. The function is `jbn.layer_norm`. Where Flax is
    accurate, the results are Flax's up to rounding. Far from zero they stay accurate. Keras has
    other names: scale is gamma, bias is beta, `use_bias` and `use_scale` are `center` and `scale`.

    Variables: `params/{scale, bias}`, each of x's shape along `feature_axes`.

    Args:
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
        force_float32_reductions: accepted without effect: the reductions are in float32 (float64).

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> x = jnp.array([[1.0, 3.0], [10.0, 30.0]])
        >>> y, variables = jbn.linen.LayerNorm().init_with_output(jax.random.key(0), x)
        >>> print(y.round(3))
        [[-1.  1.]
         [-1.  1.]]

    References:
        Ba, Kiros and Hinton, 2016, Layer Normalization, arXiv:1607.06450.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, mask: Array | None = None) -> Float[Array, "..."]:
        """x normalized.

        Args:
            x: data of any shape; integers become float32.
            mask: nonzero where an entry counts; broadcastable to x.

        Returns:
            y, of x's shape.
        """
        features = feature_shape(x, "feature_axes", self.feature_axes)
        scale, bias = scale_and_bias(self, features)
        dtype = result_dtype(self, x, scale, bias)
        return apply_layer_norm(self, x, scale, bias, mask=mask, dtype=dtype, **mapped_axis(self))


class RMSNorm(nn.RMSNorm):
    """Division by the root mean square, a drop-in for `flax.linen.RMSNorm`.

        y = x / sqrt(mean(|x|²) + epsilon) * scale

    with the mean over each example. The function is `jbn.rms_norm`.

    Variables: `params/scale`, of x's shape along `feature_axes`.

    Args:
        epsilon, dtype, param_dtype, use_scale, scale_init, reduction_axes, feature_axes, axis_name,
            axis_index_groups, use_fast_variance, force_float32_reductions: as in
            `jbn.linen.LayerNorm`.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> x = jnp.array([[1.0, 7.0], [-10.0, 70.0]])
        >>> y, variables = jbn.linen.RMSNorm().init_with_output(jax.random.key(0), x)
        >>> print(y.round(1))
        [[ 0.2  1.4]
         [-0.2  1.4]]

    References:
        Zhang and Sennrich, 2019, Root Mean Square Layer Normalization, arXiv:1910.07467.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, mask: Array | None = None) -> Float[Array, "..."]:
        """x normalized; x and mask as in `jbn.linen.LayerNorm`."""
        features = feature_shape(x, "feature_axes", self.feature_axes)
        scale, _ = scale_and_bias(self, features, has_bias=False)
        dtype = result_dtype(self, x, scale)
        return apply_rms_norm(self, x, scale, mask=mask, dtype=dtype, **mapped_axis(self))


class GroupNorm(nn.GroupNorm):
    """Group normalization, a drop-in for `flax.linen.GroupNorm`: same arguments, same variables.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance of each group of successive channels of an example. The channels
    are on the last axis. The function is `jbn.group_norm`.

    Variables: `params/{scale, bias}`, each of shape `(channels,)`.

    Args:
        num_groups: the number of groups.
        group_size: the number of channels in a group; give it with `num_groups=None`.
        reduction_axes: the axes to average over, including the last. None: all but the first.
        epsilon, dtype, param_dtype, use_bias, use_scale, bias_init, scale_init, axis_name,
            axis_index_groups, use_fast_variance, force_float32_reductions: as in
            `jbn.linen.LayerNorm`.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> x = jnp.array([[1.0, 3.0, 10.0, 30.0]])
        >>> y, variables = jbn.linen.GroupNorm(num_groups=2).init_with_output(jax.random.key(0), x)
        >>> print(y.round(3))
        [[-1.  1. -1.  1.]]

    References:
        Wu and He, 2018, Group Normalization, arXiv:1803.08494.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, mask: Array | None = None) -> Float[Array, "..."]:
        """x normalized; x and mask as in `jbn.linen.LayerNorm`.

        Raises:
            ValueError: the channels don't divide into these groups, both or neither of `num_groups`
                and `group_size` are given, or `reduction_axes` leave out the channel axis.
        """
        scale, bias = scale_and_bias(self, x.shape[-1:])
        return apply_group_norm(
            self,
            x,
            scale,
            bias,
            num_groups=self._num_groups(x.shape[-1]),
            mask=mask,
            dtype=result_dtype(self, x, scale, bias),
            **mapped_axis(self),
        )

    def _num_groups(self, num_channels: int) -> int:
        num_groups, group_size = self.num_groups, self.group_size
        if num_groups is not None and group_size is None:
            return num_groups
        if num_groups is not None or group_size is None:
            raise ValueError(
                f"num_groups, group_size: found {num_groups} and {group_size}, wanted one of them; "
                "with group_size, num_groups=None"
            )
        if group_size < 1 or num_channels % group_size:
            raise ValueError(
                f"group_size: found {group_size}, wanted a divisor of the number of channels, "
                f"{num_channels}"
            )
        return num_channels // group_size


class InstanceNorm(nn.InstanceNorm):
    """Instance normalization, a drop-in for `flax.linen.InstanceNorm`: same arguments, variables.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    with the mean and the variance of each channel of an example. The function is
    `jbn.instance_norm`.

    Variables: `params/{scale, bias}`, each of x's shape along `feature_axes`.

    Args:
        feature_axes: the channel axis, or several; not the first axis.
        epsilon, dtype, param_dtype, use_bias, use_scale, bias_init, scale_init, axis_name,
            axis_index_groups, use_fast_variance, force_float32_reductions: as in
            `jbn.linen.LayerNorm`.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> images = jnp.array([[[1.0, 10.0], [3.0, 30.0]]])  # one image, two pixels, two channels
        >>> y, variables = jbn.linen.InstanceNorm().init_with_output(jax.random.key(0), images)
        >>> print(y.round(3))
        [[[-1. -1.]
          [ 1.  1.]]]

    References:
        Ulyanov, Vedaldi and Lempitsky, 2016, Instance Normalization, arXiv:1607.08022.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, mask: Array | None = None) -> Float[Array, "..."]:
        """x normalized; x and mask as in `jbn.linen.LayerNorm`.

        Raises:
            ValueError: the first axis is among the feature axes.
        """
        scale, bias = scale_and_bias(self, channel_shape(x, self.feature_axes))
        dtype = result_dtype(self, x, scale, bias)
        return apply_instance_norm(
            self, x, scale, bias, mask=mask, dtype=dtype, **mapped_axis(self)
        )
