"""Batches picked inside the compiled step."""

import jax
from jaxtyping import Array, Int, PRNGKeyArray

from jbn.config import UserError


def batch_indices(
    key: PRNGKeyArray, num_examples: int, batch_size: int
) -> Int[Array, "num_batches batch_size"]:
    """One epoch: every example once, in random order.

    What is left over when the batch size doesn't divide the number of examples sits this epoch out;
    each epoch leaves out others.

    Raises:
        UserError: the batch size is larger than the number of examples.
    """
    if batch_size > num_examples:
        raise UserError(
            f"train.batch_size: found {batch_size}, wanted at most {num_examples}, the number of "
            "training examples"
        )
    num_batches = num_examples // batch_size
    order = jax.random.permutation(key, num_examples)
    return order[: num_batches * batch_size].reshape(num_batches, batch_size)
