"""Metrics as weighted sums: they add up over batches and devices, and are divided once."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Metrics(NamedTuple):
    """The sums of what is measured of each example, by name; and the sum of the weights."""

    sums: Mapping[str, Float[Array, "..."]]
    weight: Float[Array, ""]

    @property
    def means(self) -> dict[str, Float[Array, "..."]]:
        """The mean over the examples of each that is measured."""
        return {name: total / self.weight for name, total in self.sums.items()}


def measure(
    numbers: Mapping[str, Float[Array, "examples ..."]], weight: Float[Array, " examples"] | None
) -> Metrics:
    """The sums of one batch. Without weights each example counts 1."""
    if weight is None:
        num_examples = len(next(iter(numbers.values())))
        total = jnp.asarray(num_examples, jnp.float32)
        return Metrics({name: values.sum(0) for name, values in numbers.items()}, total)

    def weighted(values: Array) -> Array:
        of_each = weight.reshape(-1, *[1] * (values.ndim - 1))
        # What only fills the batch up may be anything, NaN too.
        return jnp.where(of_each > 0, values * of_each, 0).sum(0)

    return Metrics({name: weighted(values) for name, values in numbers.items()}, weight.sum())
