"""Dense and convolutional layers with standardized weights as Linen modules."""

from typing import Any

from flax import linen as nn

from jbn._layers import standardized_kernel


class _StandardizedKernel(nn.Module, kw_only=True):
    """A layer that stores a raw `kernel` and computes with the standardized one."""

    epsilon: float = 1e-5
    use_gain: bool = True

    @nn.nowrap
    def param(self, name: str, *args: Any, **options: Any) -> Any:
        value = super().param(name, *args, **options)
        if name != "kernel":
            return value
        gain = None
        if self.use_gain:
            outputs = value.shape[-1:]
            gain = self.param("gain", nn.initializers.ones, outputs, self.param_dtype)
        return standardized_kernel(self, value, gain, getattr(self, "mask", None))


class WeightStandardizedDense(_StandardizedKernel, nn.Dense):
    """`flax.linen.Dense` whose weights are standardized in each call.

        w = (kernel - mean) / sqrt(fan_in * var + epsilon) * gain        y = x w + bias

    with the mean and the variance of the fan_in weights of each output unit. The squares of its w
    then sum to gain². So independent inputs of mean 0 and variance 1 make outputs of variance
    gain², for any size and initialization of the kernel. It is `jbn.weight_standardize` with the
    gain gain / sqrt(fan_in) and the epsilon epsilon / fan_in.

    Variables: `params/kernel`, the raw kernel that the optimizer updates; `bias`; and `gain`, of
    shape `(features,)`, which starts as 1.

    Args:
        epsilon: added to fan_in times the variance, which is about 1 for Flax's initial kernels.
        use_gain: whether the layer learns a gain. A normalization after the layer has its own.
        features, use_bias, dtype, param_dtype, precision, kernel_init, bias_init, promote_dtype,
            dot_general, dot_general_cls: as in `flax.linen.Dense`.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> layer = jbn.linen.WeightStandardizedDense(1, use_bias=False)
        >>> params = {"kernel": jnp.array([[1.0], [1.0], [3.0], [3.0]]), "gain": jnp.array([2.0])}
        >>> print(layer.apply({"params": params}, jnp.eye(4)).round(2).ravel())
        [-1. -1.  1.  1.]

    References:
        Qiao et al., 2019, Weight Standardization, arXiv:1903.10520; Brock, De and Smith, 2021,
        arXiv:2101.08692, Section 4 (fan_in and gain).
    """


class WeightStandardizedConv(_StandardizedKernel, nn.Conv):
    """`flax.linen.Conv` whose weights are standardized in each call.

        w = (kernel - mean) / sqrt(fan_in * var + epsilon) * gain        y = x ∗ w + bias

    as in `jbn.linen.WeightStandardizedDense`, over the window and the input channels (of its group)
    of each output channel. Where the window reaches into the padding, y has a smaller variance.
    Weights that the convolution's `mask` leaves out don't count in the statistics or in fan_in.

    Variables: `params/{kernel, gain, bias}`, as in `jbn.linen.WeightStandardizedDense`.

    Args:
        epsilon, use_gain: as in `jbn.linen.WeightStandardizedDense`.
        features, kernel_size, strides, padding, input_dilation, kernel_dilation,
            feature_group_count, use_bias, mask, dtype, param_dtype, precision, kernel_init,
            bias_init, promote_dtype, conv_general_dilated, conv_general_dilated_cls: as in
            `flax.linen.Conv`.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> layer = jbn.linen.WeightStandardizedConv(5, kernel_size=(3, 3))
        >>> x = jax.random.normal(jax.random.key(0), (2, 16, 16, 4))
        >>> y, variables = layer.init_with_output(jax.random.key(1), x)
        >>> print(y.shape, jax.tree.map(jnp.shape, variables["params"]))
        (2, 16, 16, 5) {'bias': (5,), 'gain': (5,), 'kernel': (3, 3, 4, 5)}

    References:
        Qiao et al., 2019, arXiv:1903.10520; Brock, De and Smith, 2021, arXiv:2101.08692.
    """
