"""Batch normalization in which each domain has its own statistics."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Inexact, Int

from jbn.functional._batch import batch_norm
from jbn.functional._mask import Mask, select
from jbn.functional._stats import BatchStats


def domain_batch_norm(
    x: Inexact[Array, "*shape"],
    stats: BatchStats,
    scale: Inexact[Array, "..."] | None = None,
    bias: Inexact[Array, "..."] | None = None,
    *,
    domain: int | Int[Array, ""],
    use_running_average: bool,
    axis: int | Sequence[int] = -1,
    momentum: float | Float[Array, ""] = 0.99,
    epsilon: float | Float[Array, ""] = 1e-5,
    mask: Mask | None = None,
    axis_name: str | Sequence[str] | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Inexact[Array, "*shape"], BatchStats]:
    """x normalized as data of one domain, and the updated statistics of all domains.

        y, stats[domain] = batch_norm(x, stats[domain], scale, bias)

    The rows of the other domains stay as they are. The domains share scale and bias, or each domain
    has its own row of them.

    Args:
        x: data of one domain; a floating dtype, real or complex.
        stats: running statistics of all domains; shape `(domains, *features)`. Make them by
            `init_batch_stats((num_domains, num_features))`.
        scale, bias: γ and β; shape `(*features)`, or `(domains, *features)`. None is 1 and 0.
        domain: the domain's row, from 0: a Python integer, or an integer array, traced or not. A
            Python integer outside the rows is an error. An array outside the rows updates nothing,
            and makes y NaN in evaluation. A negative value in an array counts from the end.
        use_running_average, axis, momentum, epsilon, mask, axis_name, axis_index_groups, dtype: as
            in `jbn.batch_norm`.

    Returns:
        y, in x's shape, and the statistics of all domains in the shapes and dtypes they came in.

    Raises:
        ValueError: the domain is a Python integer outside the rows; and as `jbn.batch_norm`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> stats = jbn.init_batch_stats((2, 1))
        >>> x = jnp.array([[1.0], [3.0]])
        >>> y, stats = jbn.domain_batch_norm(
        ...     x, stats, domain=1, use_running_average=False, momentum=0.5
        ... )
        >>> print(y.round(2).ravel(), stats.mean.ravel())
        [-1.  1.] [0. 1.]

    References:
        Chang et al., 2019, Domain-Specific Batch Normalization for Unsupervised Domain Adaptation,
        arXiv:1906.03950.
    """
    num_domains = stats.mean.shape[0]
    if isinstance(domain, int) and not 0 <= domain < num_domains:
        raise ValueError(f"domain: found {domain}, wanted one from 0 to {num_domains - 1}")
    is_domain = jnp.arange(num_domains) == jnp.where(domain < 0, domain + num_domains, domain)

    def in_domain(rows: Inexact[Array, "..."]) -> Bool[Array, "..."]:
        return is_domain.reshape(num_domains, *[1] * (rows.ndim - 1))

    # Sums of one row, not gather and scatter: they work however the features are sharded.
    def row(rows: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        found = jnp.sum(jnp.where(in_domain(rows), rows, 0), 0)
        return jnp.where(jnp.any(is_domain), found, jnp.nan)

    def row_if_many(value: Inexact[Array, "..."] | None) -> Inexact[Array, "..."] | None:
        return row(value) if value is not None and value.ndim == stats.mean.ndim else value

    y, moved_row = batch_norm(
        x,
        jax.tree.map(row, stats),
        row_if_many(scale),
        row_if_many(bias),
        use_running_average=use_running_average,
        axis=axis,
        momentum=momentum,
        epsilon=epsilon,
        mask=mask,
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
        dtype=dtype,
    )
    if use_running_average:
        return y, stats

    def with_row(rows: Inexact[Array, "..."], new: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        return select(in_domain(rows), jnp.expand_dims(new, 0), rows)

    return y, BatchStats(*map(with_row, stats, moved_row))
