"""Batch normalization in which each domain has its own statistics, as a Linen module."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jbn._layers import apply_domain_batch_norm, check_num_domains
from jbn.linen._variables import normalize_with_batch_stats


class DomainBatchNorm(nn.Module):
    """Batch normalization in which each domain has its own running statistics.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    In training, mean and var are the batch's, and the domain's running mean and var (Keras's moving
    mean and moving variance) are updated. In evaluation, mean and var are the domain's running
    ones. The function is `jbn.domain_batch_norm`. All domains share scale and bias, Keras's gamma
    and beta. A domain is for example a dataset, a site or a camera, or clean or adversarial
    examples.

    It isn't a subclass of `flax.linen.BatchNorm`, so tools that expect one mean and one variance
    per feature skip it.

    Variables: `params/{scale, bias}`, each of shape `(features,)`, and `batch_stats/{mean, var}`,
    each of shape `(num_domains, features)`.

    Args:
        num_domains: the number of domains.
        use_running_average, axis, momentum, epsilon, dtype, param_dtype, use_bias, use_scale,
            bias_init, scale_init, axis_name, axis_index_groups, force_float32_reductions: as in
            `jbn.linen.BatchNorm`.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> layer = jbn.linen.DomainBatchNorm(2, momentum=0.5, use_running_average=False)
        >>> x = jnp.array([[1.0], [3.0]])
        >>> variables = layer.init(jax.random.key(0), x, domain=0)
        >>> y, updates = layer.apply(variables, x, domain=1, mutable=["batch_stats"])
        >>> print(y.round(2).ravel(), updates["batch_stats"]["mean"].ravel())
        [-1.  1.] [0. 1.]

    References:
        Chang et al., 2019, Domain-Specific Batch Normalization for Unsupervised Domain Adaptation,
        arXiv:1906.03950; Li et al., 2016, Revisiting Batch Normalization For Practical Domain
        Adaptation, arXiv:1603.04779 (one scale and bias for all).
    """

    num_domains: int
    use_running_average: bool | None = None
    axis: int | Sequence[int] = -1
    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    axis_name: str | Sequence[str] | None = None
    axis_index_groups: Any = None
    force_float32_reductions: bool = True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "..."],
        domain: int | Int[Array, ""],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "..."]:
        """x normalized; training also updates the domain's row of `batch_stats` (not in `init`).

        Args:
            x: data of one domain, of any shape; integers become float32.
            domain: the domain, from 0: a Python integer, or an integer array, traced or not. If
                there is no such domain, a Python integer is an error. An array then updates
                nothing, and makes y NaN in evaluation.
            use_running_average, mask: as in `jbn.linen.BatchNorm`.

        Returns:
            y, of x's shape.

        Raises:
            TypeError: the domain isn't an integer.
            ValueError: the domain is a Python integer and doesn't exist, the domain has a shape, or
                `num_domains` is below 1.
        """
        check_num_domains(self.num_domains)
        use_running_average = nn.merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        return normalize_with_batch_stats(
            self,
            functools.partial(apply_domain_batch_norm, domain=domain),
            x,
            use_running_average=use_running_average,
            mask=mask,
            leading=(self.num_domains,),
        )
