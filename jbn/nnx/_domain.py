"""Batch normalization with statistics of its own for each domain as an NNX module."""

import functools
from typing import Any

from flax import nnx
from jaxtyping import Array, Float, Int

from jbn._layers import apply_domain_batch_norm, check_num_domains, is_evaluation
from jbn.functional._stats import init_batch_stats
from jbn.nnx._variables import normalize_with_batch_stats


class DomainBatchNorm(nnx.Module):
    """Batch normalization with running statistics of their own for each domain.

        y = (x - mean) / sqrt(var + epsilon) * scale + bias

    In training mean and var are the batch's, and the domain's running ones (Keras's moving mean and
    moving variance) move; in evaluation they are those; `jbn.domain_batch_norm`. All domains share
    scale and bias, Keras's gamma and beta. A domain is a dataset, a site, a camera; or clean and
    adversarial examples.

    It is no `flax.nnx.BatchNorm`: tools that know one mean and one variance per feature pass it by.

    Variables: `scale` and `bias` (`nnx.Param`), each of shape `(num_features,)`; `mean` and `var`
    (`nnx.BatchStat`, float32), each of shape `(num_domains, num_features)`.

    Args:
        num_features: the size of x along the feature axis.
        num_domains: how many domains.
        options: as `jbn.nnx.BatchNorm` takes them, `rngs` among them.

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
        # All of a batch normalization's arguments and variables, without being one.
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
        """x normalized; in training, the domain's row of `mean` and `var` moves.

        Args:
            x: data of one domain, of any shape.
            domain: which one, from 0; an integer or a traced one. If there is none such, a Python
                integer is an error, and an array moves nothing, and makes NaN of y in evaluation.
            use_running_average, mask: as in `jbn.nnx.BatchNorm`.

        Returns:
            y, of x's shape.

        Raises:
            TypeError: the domain is no integer.
            ValueError: it is known and there is none such, or it has a shape.
        """
        return normalize_with_batch_stats(
            self,
            functools.partial(apply_domain_batch_norm, domain=domain),
            x,
            use_running_average=is_evaluation(self, use_running_average),
            mask=mask,
        )

    def set_view(self, use_running_average: bool | None = None) -> None:
        """What `nnx.view` and `model.eval()` choose.

        Args:
            use_running_average: as in `jbn.nnx.BatchNorm`.
        """
        if use_running_average is not None:
            self.use_running_average = use_running_average
