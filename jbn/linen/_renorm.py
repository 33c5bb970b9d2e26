"""Batch renormalization as a Linen module."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jbn._layers import apply_batch_renorm
from jbn.functional._renorm import RenormLimits, renorm_limits
from jbn.linen._batch import BatchNorm
from jbn.linen._variables import normalize_with_batch_stats


class BatchRenorm(BatchNorm, kw_only=True):
    """Batch normalization that trains nearly as it evaluates: `jbn.batch_renorm`.

        r = clip(σ / σ_running, 1 / r_max, r_max)    d = clip((μ - μ_running) / σ_running, ±d_max)
        y = ((x - μ) / σ * r + d) * scale + bias

    with σ = sqrt(var + epsilon). Gradients treat r and d as constants. Use it for batches that are
    small or not drawn at random. Keras has other names: scale is gamma, bias is beta, `use_bias`
    and `use_scale` are `center` and `scale`, the running mean and var are the moving mean and
    moving variance. The Keras of TensorFlow 1 has this layer as `renorm=True`, and `limits` as
    `renorm_clipping`.

    Variables: those of `jbn.linen.BatchNorm`, and `batch_stats/step`, an int32: the number of
    training steps so far. Each training call is a step (but `init` isn't).

    Args:
        limits: a function of the number of steps so far that returns `jbn.RenormLimits`, the limits
            of r and d. The default is the paper's schedule for an ImageNet training, which is plain
            batch normalization for 5,000 steps. Scale it to yours by
            `functools.partial(jbn.renorm_limits, num_plain_steps=…)`. A keyword argument.
        use_running_average, axis, momentum, epsilon, dtype, param_dtype, use_bias, use_scale,
            bias_init, scale_init, axis_name, axis_index_groups, use_fast_variance,
            force_float32_reductions: as in `jbn.linen.BatchNorm`.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> def limits(step):
        ...     return jbn.RenormLimits(r_max=3.0, d_max=5.0)
        >>> layer = jbn.linen.BatchRenorm(limits=limits, use_running_average=False)
        >>> x = jnp.array([[1.0], [3.0]])
        >>> y, updates = layer.apply(layer.init(jax.random.key(0), x), x, mutable=["batch_stats"])
        >>> print(y.round(2).ravel())  # as in evaluation, with mean 0 and variance 1
        [1. 3.]
        >>> print(updates["batch_stats"]["step"])
        1

    References:
        Ioffe, 2017, Batch Renormalization, arXiv:1702.03275.
    """

    limits: Callable[[Int[Array, ""]], RenormLimits] = renorm_limits

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "..."],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "..."]:
        """x normalized; the arguments are those of `jbn.linen.BatchNorm`, but x is real.

        Raises:
            TypeError: x is complex, or `limits` isn't a function.
        """
        use_running_average = nn.merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        step = self.variable("batch_stats", "step", jnp.zeros, (), jnp.int32)
        apply = functools.partial(apply_batch_renorm, step=step.value)
        y = normalize_with_batch_stats(
            self, apply, x, use_running_average=use_running_average, mask=mask
        )
        if not use_running_average and not self.is_initializing():
            step.value += 1
        return y
