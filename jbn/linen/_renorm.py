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
    """Batch normalization that trains with nearly what it evaluates with: `jbn.batch_renorm`.

        r = clip(σ / σ_running, 1 / r_max, r_max)    d = clip((μ - μ_running) / σ_running, ±d_max)
        y = ((x - μ) / σ * r + d) * scale + bias

    with σ = sqrt(var + epsilon); r and d are constants to the gradient. For batches that are small
    or not drawn at random. In other words: scale is gamma, bias is beta, `use_bias` and `use_scale`
    are Keras's `center` and `scale`, the running mean and var are its moving mean and moving
    variance (`renorm=True` in the Keras of TensorFlow 1, of which limits are `renorm_clipping`).

    Variables: as those of `jbn.linen.BatchNorm`, and `batch_stats/step`, an int32: the training
    steps so far, of which each call is one (but in `init`).

    Args:
        limits: how far r and d may go, a function of the number of steps so far that returns
            `jbn.RenormLimits`. The default is the paper's schedule for an ImageNet training, which
            is plain batch normalization for 5,000 steps: scale it, by
            `functools.partial(jbn.renorm_limits, num_plain_steps=…)`. By keyword.
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
        """x normalized; the arguments are those of `jbn.linen.BatchNorm`, x is real.

        Raises:
            TypeError: x is complex, or `limits` is no function.
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
