"""Normalization of weights instead of activations."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import split_axes
from jbn.functional._layer import layer_norm


def weight_standardize(
    kernel: Inexact[Array, "..."],
    gain: Inexact[Array, "*features"] | None = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: float | Float[Array, ""] = 1e-5,
) -> Inexact[Array, "..."]:
    """The kernel, with mean 0 and variance 1 for the weights of each output unit.

        w = (kernel - mean) / sqrt(var + epsilon) * gain

    Apply it to the kernel of a Dense or Conv in each forward pass. With a gain of 1 / sqrt(fan_in)
    the outputs keep the variance of the inputs.

    Args:
        kernel: weights of any shape; a floating dtype.
        gain: factors, of the kernel's shape along `axis`. None is 1.
        axis: the axis of the output units, or several; Flax has them on the last axis.
        epsilon: added to the variance before the root. It may be traced.

    Returns:
        w, of the kernel's shape and dtype.

    Raises:
        TypeError, ValueError: as `jbn.layer_norm`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> kernel = jnp.array([[1.0, 10.0], [3.0, 30.0]])  # two inputs, two outputs
        >>> print(jbn.weight_standardize(kernel).round(3))
        [[-1. -1.]
         [ 1.  1.]]

    References:
        Qiao et al., 2019, Micro-Batch Training with Batch-Channel Normalization and Weight
        Standardization, arXiv:1903.10520.
    """
    kernel = jnp.asarray(kernel)
    feature_axes, reduction_axes = split_axes(axis, kernel.ndim)
    return layer_norm(
        kernel, gain, reduction_axes=reduction_axes, feature_axes=feature_axes, epsilon=epsilon
    )
