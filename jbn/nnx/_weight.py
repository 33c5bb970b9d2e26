"""Linear and convolutional layers with standardized weights as NNX modules."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jbn._layers import standardized_kernel


class WeightStandardizedLinear(nnx.Linear):
    """`flax.nnx.Linear` whose weights are standardized in each call.

        w = (kernel - mean) / sqrt(fan_in * var + epsilon) * gain        y = x w + bias

    with the mean and the variance of the fan_in weights of each output unit. The squares of its w
    then sum to gain². So independent inputs of mean 0 and variance 1 make outputs of variance
    gain², for any size and initialization of the kernel. It is `jbn.weight_standardize` with the
    gain gain / sqrt(fan_in) and the epsilon epsilon / fan_in. (Linen and Keras call it Dense.)

    Variables (`nnx.Param`): `kernel`, the raw kernel that the optimizer updates; `bias`; and
    `gain`, of shape `(out_features,)`, which starts as 1.

    Args:
        in_features, out_features: the sizes of x and y along the last axis.
        epsilon: added to fan_in times the variance, which is about 1 for Flax's initial kernels.
        use_gain: whether the layer learns a gain. A normalization after the layer has its own.
        options: the other arguments of `flax.nnx.Linear`, including `rngs`.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.WeightStandardizedLinear(4, 1, use_gain=False, rngs=nnx.Rngs(0))
        >>> layer.kernel[...] = jnp.array([[1.0], [1.0], [3.0], [3.0]])
        >>> print(layer(jnp.eye(4)).round(2).ravel())
        [-0.5 -0.5  0.5  0.5]

    References:
        Qiao et al., 2019, Weight Standardization, arXiv:1903.10520; Brock, De and Smith, 2021,
        arXiv:2101.08692, Section 4 (fan_in and gain).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        epsilon: float = 1e-5,
        use_gain: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(in_features, out_features, **options)
        self.epsilon = epsilon
        self.gain = _initial_gain(self, use_gain)

    def __call__(self, inputs: Float[Array, "..."], out_sharding: Any = None) -> Array:
        """x w + bias; the arguments are those of `flax.nnx.Linear`."""
        call: Any = nnx.Linear.__call__
        return call(_with_standardized_kernel(self), inputs, out_sharding)


class WeightStandardizedConv(nnx.Conv):
    """`flax.nnx.Conv` whose weights are standardized in each call.

        w = (kernel - mean) / sqrt(fan_in * var + epsilon) * gain        y = x ∗ w + bias

    as in `jbn.nnx.WeightStandardizedLinear`, over the window and the input channels (of its group)
    of each output channel. Where the window reaches into the padding, y has a smaller variance.
    Weights that the convolution's `mask` leaves out don't count in the statistics or in fan_in.

    Variables (`nnx.Param`): `kernel`, `gain` and `bias`, as in `jbn.nnx.WeightStandardizedLinear`.

    Args:
        in_features, out_features: the numbers of channels of x and y.
        kernel_size, strides: the window and its steps, as in `flax.nnx.Conv`.
        epsilon, use_gain: as in `jbn.nnx.WeightStandardizedLinear`.
        options: the other arguments of `flax.nnx.Conv`, including `rngs`.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.WeightStandardizedConv(4, 5, kernel_size=(3, 3), rngs=nnx.Rngs(0))
        >>> print(layer(jnp.ones((2, 16, 16, 4))).shape, layer.gain.shape)
        (2, 16, 16, 5) (5,)

    References:
        Qiao et al., 2019, arXiv:1903.10520; Brock, De and Smith, 2021, arXiv:2101.08692.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = 1,
        *,
        epsilon: float = 1e-5,
        use_gain: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(in_features, out_features, kernel_size, strides, **options)
        self.epsilon = epsilon
        self.gain = _initial_gain(self, use_gain)

    def __call__(self, inputs: Float[Array, "..."], out_sharding: Any = None) -> Array:
        """x ∗ w + bias; the arguments are those of `flax.nnx.Conv`."""
        call: Any = nnx.Conv.__call__
        return call(_with_standardized_kernel(self), inputs, out_sharding)


def _initial_gain(layer: Any, use_gain: bool) -> Any:
    return (
        nnx.Param(jnp.ones(layer.out_features, layer.param_dtype)) if use_gain else nnx.data(None)
    )


def _with_standardized_kernel(layer: Any) -> Any:
    """The attributes that Flax's `__call__` reads, with the standardized kernel for the raw one."""
    gain = None if layer.gain is None else layer.gain[...]
    mask = getattr(layer, "mask", None)
    kernel = standardized_kernel(layer, layer.kernel[...], gain, mask)
    return SimpleNamespace(**{**vars(layer), "kernel": kernel})
