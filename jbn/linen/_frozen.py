"""Batch normalization that no longer learns, as a Linen module."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from jbn._layers import apply_batch_norm, feature_shape
from jbn.functional._stats import BatchStats
from jbn.linen._variables import result_dtype


class FrozenBatchNorm(nn.Module):
    """Batch normalization with constant running statistics, scale and bias.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    Use it for fine-tuning: in training and in evaluation x goes through the same affine map, and an
    optimizer sees none of its values. It replaces a `jbn.linen.BatchNorm` and takes the arguments
    listed here. `jbn.variables.swap_norm(variables, "FrozenBatchNorm")` converts trained variables.

    Variables: `batch_stats/{mean, var, scale, bias}`, each of shape `(features,)`; no `params`.

    Args:
        use_running_average: accepted without effect, here and in the call.
        axis: the feature axis, or a tuple of feature axes.
        momentum: accepted without effect.
        epsilon: added to the variance before the root.
        dtype: the dtype of the result. None is the promotion of x, scale and bias.
        param_dtype: the dtype of scale and bias.
        use_bias, use_scale: whether there is a bias, and whether there is a scale.
        bias_init, scale_init: the initializers of bias and scale.
        axis_name, axis_index_groups: accepted without effect.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> layer = jbn.linen.FrozenBatchNorm(epsilon=0.0)
        >>> x = jnp.array([[1.0], [3.0]])
        >>> variables = layer.init(jax.random.key(0), x)
        >>> print(list(variables), layer.apply(variables, x).ravel())
        ['batch_stats'] [1. 3.]

    References:
        Ioffe and Szegedy, 2015, arXiv:1502.03167.
    """

    use_running_average: bool | None = None
    axis: int | Sequence[int] = -1
    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    axis_name: str | None = None
    axis_index_groups: Any = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "..."],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "..."]:
        """x normalized.

        Args:
            x: data of any shape; integers become float32.
            use_running_average, mask: accepted without effect.

        Returns:
            y, of x's shape.
        """
        features = feature_shape(x, "axis", self.axis)
        mean = self.variable("batch_stats", "mean", jnp.zeros, features, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, features, jnp.float32)
        scale = self._constant("scale", self.scale_init, features) if self.use_scale else None
        bias = self._constant("bias", self.bias_init, features) if self.use_bias else None
        y, _ = apply_batch_norm(
            self,
            x,
            lax.stop_gradient(BatchStats(mean.value, var.value)),
            scale,
            bias,
            use_running_average=True,
            mask=None,
            dtype=result_dtype(self, x, scale, bias),
        )
        return y

    def _constant(
        self, name: str, init: nn.initializers.Initializer, features: tuple[int, ...]
    ) -> Array:
        """The layer's scale or bias, from `batch_stats` instead of `params`."""

        def initial() -> Array:
            return init(self.make_rng("params"), features, self.param_dtype)

        return lax.stop_gradient(self.variable("batch_stats", name, initial).value)
