"""Batch normalization in which each domain has its own statistics, as an NNX module."""

import functools
from typing import Any

from flax import nnx
from jaxtyping import Array, Float, Int

from jbn._layers import apply_domain_batch_norm, check_num_domains, is_evaluation
from jbn.functional._stats import init_batch_stats
from jbn.nnx._variables import normalize_with_batch_stats


class DomainBatchNorm(nnx.Module):
    """Batch normalization in which each domain has its own running statistics.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    In training, mean and var are the batch's, and the domain's running mean and var (Keras's moving
    mean and moving variance) are updated. In evaluation, mean and var are the domain's running
    ones. The function is `jbn.domain_batch_norm`. All domains share scale and bias, Keras's gamma
    and beta. A domain is for example a dataset, a site or a camera, or clean or adversarial
    examples.

    It isn't a subclass of `flax.nnx.BatchNorm`, so tools that expect one mean and one variance per
    feature skip it.

    Variables: `scale` and `bias` (`nnx.Param`), each of shape `(num_features,)`; `mean` and `var`
    (`nnx.BatchStat`, float32), each of shape `(num_domains, num_features)`.

    Args:
        num_features: the size of x along the feature axis.
        num_domains: the number of domains.
        options: the other arguments of `jbn.nnx.BatchNorm`, including `rngs`.

    Example:
        >>> import jax.numpy as jnp, jbn.nnx
        >>> from flax import nnx
        >>> layer = jbn.nnx.DomainBatchNorm(1, num_domains=2, momentum=0.5, rngs=nnx.Rngs(0))
        >>> y = layer(jnp.array([[1.0], [3.0]]), domain=1)
        >>> print(y.round(2).ravel(), layer.mean[...].ravel())
        [-1.  1.] [0. 1.]

    References:
        Chang et al., 2019, Domain-Specific Batch Normalization for Unsupervised Domain Adaptation,
        arXiv:1906.03950; Li et al., 2016, Revisiting Batch Normalization For Practical Domain
        Adaptation, arXiv:1603.04779 (one scale and bias for all).
    """

    def __init__(self, num_features: int, *, num_domains: int, **options: Any) -> None:
        check_num_domains(num_domains)
        # This takes a batch normalization's arguments and variables without being a subclass.
        make: Any = nnx.BatchNorm.__init__
        make(self, num_features, **options)
        self.num_domains = num_domains
        self.mean, self.var = map(nnx.BatchStat, init_batch_stats((num_domains, num_features)))

    def __call__(
        self,
        x: Float[Array, "..."],
        domain: int | Int[Array, ""],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "..."]:
        """x normalized; training also updates the domain's row of `mean` and `var`.

        Args:
            x: data of one domain, of any shape.
            domain: the domain, from 0: a Python integer, or an integer array, traced or not. If
                there is no such domain, a Python integer is an error. An array then updates
                nothing, and makes y NaN in evaluation.
            use_running_average, mask: as in `jbn.nnx.BatchNorm`.

        Returns:
            y, of x's shape.

        Raises:
            TypeError: the domain isn't an integer.
            ValueError: the domain is a Python integer and doesn't exist, or the domain has a shape.
        """
        return normalize_with_batch_stats(
            self,
            functools.partial(apply_domain_batch_norm, domain=domain),
            x,
            use_running_average=is_evaluation(self, use_running_average),
            mask=mask,
        )

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Sets the mode, for `nnx.view` and `model.eval()`.

        Args:
            use_running_average: as in `jbn.nnx.BatchNorm`.
        """
        if use_running_average is not None:
            self.use_running_average = use_running_average
