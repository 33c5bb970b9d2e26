"""Batch renormalization as an NNX module."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jbn._layers import apply_batch_renorm, is_evaluation
from jbn.functional._renorm import RenormLimits, renorm_limits
from jbn.nnx._batch import BatchNorm
from jbn.nnx._variables import normalize_with_batch_stats


class BatchRenorm(BatchNorm):
    """Batch normalization that trains nearly as it evaluates: `jbn.batch_renorm`.

        r = clip(σ / σ_running, 1 / r_max, r_max)    d = clip((μ - μ_running) / σ_running, ±d_max)
        y = ((x - μ) / σ * r + d) * scale + bias

    with σ = sqrt(var + epsilon). Gradients treat r and d as constants. Use it for batches that are
    small or not drawn at random. Keras has other names: scale is gamma, bias is beta, `use_bias`
    and `use_scale` are `center` and `scale`, the running mean and var are the moving mean and
    moving variance. The Keras of TensorFlow 1 has this layer as `renorm=True`, and `limits` as
    `renorm_clipping`.

    Variables: those of `jbn.nnx.BatchNorm`, and `step` (`nnx.BatchStat`, int32): the number of
    training steps so far. Each training call is a step.

    Args:
        num_features: the size of x along the feature axis.
        limits: a function of the number of steps so far that returns `jbn.RenormLimits`, the limits
            of r and d. The default is the paper's schedule for an ImageNet training, which is plain
            batch normalization for 5,000 steps. Scale it to yours by
            `functools.partial(jbn.renorm_limits, num_plain_steps=…)`.
        options: the other arguments of `jbn.nnx.BatchNorm`, including `rngs`.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> def limits(step):
        ...     return jbn.RenormLimits(r_max=3.0, d_max=5.0)
        >>> layer = jbn.nnx.BatchRenorm(1, limits=limits, rngs=nnx.Rngs(0))
        >>> y = layer(jnp.array([[1.0], [3.0]]))
        >>> print(y.round(2).ravel())  # as in evaluation, with mean 0 and variance 1
        [1. 3.]
        >>> print(layer.step[...])
        1

    References:
        Ioffe, 2017, Batch Renormalization, arXiv:1702.03275.
    """

    def __init__(
        self,
        num_features: int,
        *,
        limits: Callable[[Int[Array, ""]], RenormLimits] = renorm_limits,
        **options: Any,
    ) -> None:
        super().__init__(num_features, **options)
        self.limits = limits
        self.step = nnx.BatchStat(jnp.zeros((), jnp.int32))

    def __call__(
        self,
        x: Float[Array, "..."],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "..."]:
        """x normalized; the arguments are those of `jbn.nnx.BatchNorm`, but x is real.

        Raises:
            TypeError: x is complex, or `limits` isn't a function.
        """
        use_running_average = is_evaluation(self, use_running_average)
        step = self.step[...]
        y = normalize_with_batch_stats(
            self,
            functools.partial(apply_batch_renorm, step=step),
            x,
            use_running_average=use_running_average,
            mask=mask,
        )
        if not use_running_average:
            self.step.set_value(step + 1)
        return y
