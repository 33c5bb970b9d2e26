"""Batch normalization that no longer learns, as an NNX module."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype as flax_promote_dtype
from jax import lax
from jax.nn.initializers import Initializer
from jaxtyping import Array, Float

from jbn._layers import apply_batch_norm
from jbn.functional._stats import BatchStats
from jbn.nnx._variables import result_dtype, scale_and_bias


class FrozenBatchNorm(nnx.Module):
    """Batch normalization with constant running statistics, scale and bias.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    Use it for fine-tuning: in training and in evaluation x goes through the same affine map, and an
    optimizer of the `nnx.Param` sees none of its values. It replaces a `jbn.nnx.BatchNorm` and
    takes the arguments listed here. To copy a trained model's variables into the frozen model:
    `nnx.update(frozen_model, nnx.to_pure_dict(nnx.state(model)))`.

    Variables: `mean`, `var`, `scale` and `bias`, each a `nnx.BatchStat` of shape
    `(num_features,)`.

    Args:
        num_features: the size of x along `axis`.
        use_running_average: accepted without effect, here and in the call.
        axis: the feature axis.
        momentum: accepted without effect.
        epsilon: added to the variance before the root.
        dtype: the dtype of the result. None is the promotion of x, the statistics, scale and bias.
        param_dtype: the dtype of scale and bias.
        use_bias, use_scale: whether there is a bias, and whether there is a scale.
        bias_init, scale_init: the initializers of bias and scale.
        axis_name, axis_index_groups: accepted without effect.
        promote_dtype: as in `jbn.nnx.BatchNorm`.
        rngs: as in every NNX module.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.FrozenBatchNorm(1, epsilon=0.0, rngs=nnx.Rngs(0))
        >>> print(layer(jnp.array([[1.0], [3.0]])).ravel(), nnx.state(layer, nnx.Param))
        [1. 3.] State({})

    References:
        Ioffe and Szegedy, 2015, arXiv:1502.03167.
    """

    def __init__(
        self,
        num_features: int,
        *,
        use_running_average: bool = False,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Initializer = nnx.initializers.zeros,
        scale_init: Initializer = nnx.initializers.ones,
        axis_name: str | None = None,
        axis_index_groups: Any = None,
        promote_dtype: Any = flax_promote_dtype,
        rngs: nnx.Rngs,
    ):
        self.axis, self.momentum, self.epsilon = axis, momentum, epsilon
        self.dtype, self.promote_dtype = dtype, promote_dtype
        shape = (num_features,)
        self.mean = nnx.BatchStat(jnp.zeros(shape, jnp.float32))
        self.var = nnx.BatchStat(jnp.ones(shape, jnp.float32))
        if use_scale:
            self.scale = nnx.BatchStat(scale_init(rngs.params(), shape, param_dtype))
        if use_bias:
            self.bias = nnx.BatchStat(bias_init(rngs.params(), shape, param_dtype))

    def __call__(
        self,
        x: Float[Array, "..."],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "..."]:
        """x normalized.

        Args:
            x: data of any shape.
            use_running_average, mask: accepted without effect.

        Returns:
            y, of x's shape.
        """
        stats = BatchStats(self.mean[...], self.var[...])
        scale, bias = scale_and_bias(self)
        stats, scale, bias = lax.stop_gradient((stats, scale, bias))
        y, _ = apply_batch_norm(
            self,
            x,
            stats,
            scale,
            bias,
            use_running_average=True,
            mask=None,
            dtype=result_dtype(self, x, scale, bias, stats=stats),
        )
        return y
