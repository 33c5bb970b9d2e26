"""Batches picked, and labels spoilt, inside the compiled step."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jbn.config import UserError

Order = Literal["shuffled", "fixed", "sorted", "class_blocked"]


def batch_indices(
    key: PRNGKeyArray, labels: Int[Array, " examples"], batch_size: int, order: Order = "shuffled"
) -> Int[Array, "num_batches batch_size"]:
    """One epoch: the rows of each batch, every example once.

    "shuffled": in random order. "fixed": in the order of the data. "sorted": sorted by class.
    "class_blocked": batches of one class each (but where the next begins), in random order.

    What is left over when the batch size doesn't divide the number of examples sits this epoch out:
    others each time, or in "fixed" and "sorted" the last ones.

    Raises:
        UserError: the batch size is larger than the number of examples.
    """
    num_examples = len(labels)
    if batch_size > num_examples:
        raise UserError(
            f"train.batch_size: found {batch_size}, wanted at most {num_examples}, the number of "
            "training examples"
        )
    num_used = num_examples // batch_size * batch_size
    match order:
        case "shuffled":
            rows = jax.random.permutation(key, num_examples)[:num_used]
        case "fixed":
            rows = jnp.arange(num_used)
        case "sorted":
            rows = jnp.argsort(labels, stable=True)[:num_used]
        case "class_blocked":
            examples_key, batches_key = jax.random.split(key)
            used = jax.random.permutation(examples_key, num_examples)[:num_used]
            by_class = used[jnp.argsort(jnp.asarray(labels)[used], stable=True)]
            return jax.random.permutation(batches_key, by_class.reshape(-1, batch_size))
    return rows.reshape(-1, batch_size)


def noisy_labels(
    key: PRNGKeyArray,
    labels: Int[Array, " examples"],
    share: float | Float[Array, ""],
    num_classes: int,
) -> Int[Array, " examples"]:
    """The labels, of which about this share are drawn anew: any class, the old one too."""
    which_key, class_key = jax.random.split(key)
    drawn = jax.random.randint(class_key, labels.shape, 0, num_classes, labels.dtype)
    return jnp.where(jax.random.uniform(which_key, labels.shape) < share, drawn, labels)
