"""Metrics as weighted sums: they add up over batches and devices, and are divided once."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Metrics(NamedTuple):
    """The sums of some numbers of each example, by name; and the sum of the examples' weights."""

    sums: Mapping[str, Float[Array, "..."]]
    weight: Float[Array, "..."]

    @property
    def means(self) -> dict[str, Float[Array, "..."]]:
        """The mean of each number over the examples."""
        return {name: total / self.weight for name, total in self.sums.items()}


def measure(
    numbers: Mapping[str, Float[Array, " examples"]], weight: Float[Array, " examples"] | None
) -> Metrics:
    """The metrics of one batch, from the numbers of its examples. Without weights each counts 1."""
    if weight is None:
        num_examples = len(next(iter(numbers.values())))
        total = jnp.asarray(num_examples, jnp.float32)
        return Metrics({name: values.sum() for name, values in numbers.items()}, total)
    # What only fills the batch up may be anything, NaN too.
    sums = {
        name: jnp.where(weight > 0, values * weight, 0).sum() for name, values in numbers.items()
    }
    return Metrics(sums, weight.sum())
