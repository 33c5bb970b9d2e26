"""How much the gradient changes along a step, and how much it differs between batches."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gradients import NETS, batches_of, columns_of, gradient_of, stepped
from jax.flatten_util import ravel_pytree
from sigmoids import REPEATS, Net, rows_of

from jbn.data import Examples

__all__ = ["REPEATS", "rows"]
NUM_PROBED = 256
STEPS = (0.5, 1.0, 2.0, 4.0)  # as multiples of a step
MEASURES = ("along_step", "over_batches", "loss_range")


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each arm, rate and split; and the seconds."""
    return rows_of(NETS, fluctuations, columns, splits)


def columns(trace: dict[str, np.ndarray]) -> dict[str, float]:
    """What a training comes to."""
    return columns_of(trace, MEASURES)


def fluctuations(net: Net, params: Any, rate: Any, train: Examples, key: Any) -> dict[str, Any]:
    """Of the gradient and the loss along a step, and of the gradient over an epoch's batches.

    `along_step`: the largest ‖Δg‖ / ‖g‖. `loss_range`: the largest less the smallest loss.
    `over_batches`: the mean of ‖g - mean‖² over the batches, over ‖mean‖².
    """
    first = jax.tree.map(lambda of: of[:NUM_PROBED], train)
    loss, gradient = gradient_of(net, params, first, key)
    flat = ravel_pytree(gradient)[0]

    def along(length: Any) -> tuple[Any, Any]:
        there, changed = gradient_of(net, stepped(params, gradient, length * rate), first, key)
        return there, jnp.linalg.norm(ravel_pytree(changed)[0] - flat) / jnp.linalg.norm(flat)

    losses, changes = jax.lax.map(along, jnp.array(STEPS))
    losses = jnp.append(losses, loss)
    of_batches = jax.lax.map(
        lambda batch: ravel_pytree(gradient_of(net, params, batch, key)[1])[0],
        batches_of(train, key),
    )
    mean = of_batches.mean(0)
    return {
        "loss": loss,
        "along_step": changes.max(),
        "loss_range": losses.max() - losses.min(),
        "over_batches": jnp.square(of_batches - mean).sum(-1).mean() / jnp.square(mean).sum(),
    }
