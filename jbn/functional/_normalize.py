"""Normalization with given statistics, mean and variance, and with scale and bias."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import accumulation_dtype, check_floating, real_dtype


def normalize(
    x: Inexact[Array, "*shape"],
    mean: Inexact[Array, "..."],
    var: Float[Array, "..."],
    scale: Inexact[Array, "..."] | None = None,
    bias: Inexact[Array, "..."] | None = None,
    *,
    epsilon: float | Float[Array, ""] = 1e-5,
) -> Inexact[Array, "*shape"]:
    """x normalized with the given statistics.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    The arguments broadcast to x. Each has x's number of dimensions, like the results of
    `jbn.moments`.

    Args:
        x: data of any shape; a floating dtype, real or complex.
        mean, var: statistics; broadcastable to x.
        scale, bias: γ and β; broadcastable to x. None is 1 and 0.
        epsilon: added to `var` before the root.

    Returns:
        y, with x's shape and dtype; computed in float32, or in x's dtype if that is wider.

    Raises:
        TypeError: x isn't floating, x is real and another argument complex, or var is complex.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> x = jnp.array([[1.0], [3.0]])
        >>> count, mean, var = jbn.moments(x, 0)
        >>> print(jbn.normalize(x, mean, var, epsilon=0.0))
        [[-1.]
         [ 1.]]

    References:
        Ioffe and Szegedy, 2015, arXiv:1502.03167, Algorithm 1.
    """
    x, mean, var = jnp.asarray(x), jnp.asarray(mean), jnp.asarray(var)
    check_floating("x", x, complex_too=True)
    check_floating("var", var, complex_too=False)
    for name, value in [("mean", mean), ("scale", scale), ("bias", bias)]:
        if value is not None:
            check_floating(name, value, complex_too=jnp.iscomplexobj(x))
    dtype = accumulation_dtype(x.dtype)
    real = real_dtype(dtype)
    factor = lax.rsqrt(var.astype(real) + jnp.asarray(epsilon, real)).astype(dtype)
    if scale is not None:
        factor = factor * jnp.asarray(scale, dtype)
    y = (x.astype(dtype) - mean.astype(dtype)) * factor
    if bias is not None:
        y = y + jnp.asarray(bias, dtype)
    return y.astype(x.dtype)
