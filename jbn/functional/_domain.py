"""Batch normalization with statistics of its own for each domain."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int

from jbn.functional._batch import batch_norm
from jbn.functional._stats import BatchStats


def domain_batch_norm(
    x: Inexact[Array, "..."],
    bank: BatchStats,
    domain: int | Int[Array, ""],
    scale: Inexact[Array, "..."] | None = None,
    bias: Inexact[Array, "..."] | None = None,
    *,
    use_running_average: bool,
    axis: int | Sequence[int] = -1,
    **options: Any,
) -> tuple[Inexact[Array, "..."], BatchStats]:
    """x normalized as one domain's data are, and the bank of statistics after it.

    With b the bank's row `domain`: y, b = batch_norm(x, b, scale, bias). Other rows stay as they
    are. The domains share scale and bias, or have rows of their own in them too.

    Args:
        x: data of one domain; a floating dtype, real or complex.
        bank: running statistics of all domains; shape `(domains, *features)`. Made by
            `init_batch_stats((num_domains, num_features))`.
        domain: the row, from 0; an integer or a traced one. A Python integer that isn't in the bank
            is an error; an array that isn't moves nothing, and makes NaN of y in evaluation
            (negative ones count from the end).
        scale, bias: γ and β; shape `(*features)`, or `(domains, *features)`. None is 1 and 0.
        use_running_average, axis, options: as in `jbn.batch_norm`.

    Returns:
        y, in x's shape, and the bank in the shapes and dtypes it came in.

    Raises:
        ValueError: the domain is known and not in the bank; and as `jbn.batch_norm`.

    Example:
        >>> import jax.numpy as jnp, jbn
        >>> bank = jbn.init_batch_stats((2, 1))
        >>> x = jnp.array([[1.0], [3.0]])
        >>> y, bank = jbn.domain_batch_norm(x, bank, 1, use_running_average=False, momentum=0.5)
        >>> print(y.round(2).ravel(), bank.mean.ravel())
        [-1.  1.] [0. 1.]

    References:
        Chang et al., 2019, Domain-Specific Batch Normalization for Unsupervised Domain Adaptation,
        arXiv:1906.03950.
    """
    num_domains = bank.mean.shape[0]
    if isinstance(domain, int) and not 0 <= domain < num_domains:
        raise ValueError(f"domain: found {domain}, wanted one from 0 to {num_domains - 1}")

    def row(bank: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        return jnp.take(bank, domain, 0, mode="fill", fill_value=jnp.nan)

    def row_if_banked(value: Inexact[Array, "..."] | None) -> Inexact[Array, "..."] | None:
        return row(value) if value is not None and value.ndim == bank.mean.ndim else value

    y, stats = batch_norm(
        x,
        jax.tree.map(row, bank),
        row_if_banked(scale),
        row_if_banked(bias),
        use_running_average=use_running_average,
        axis=axis,
        **options,
    )
    if use_running_average:
        return y, bank
    moved = (old.at[domain].set(new, mode="drop") for old, new in zip(bank, stats, strict=True))
    return y, BatchStats(*moved)
