"""How much a layer's gradient changes when the layers before it take their step."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gradients import NETS, batches_of, columns_of, gradient_of, stepped
from sigmoids import REPEATS, Net, rows_of

from jbn.data import Examples

__all__ = ["REPEATS", "rows"]
NUM_BATCHES = 4  # that are looked at, at each probe
LAYERS = (1, 2, 3)  # the second and third hidden layer, and the last one, from 0
MEASURES = ("distance", "angle", "relative_distance")


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each arm, rate and split; and the seconds."""
    return rows_of(NETS, shifts, columns, splits)


def columns(trace: dict[str, np.ndarray]) -> dict[str, float]:
    """What a training comes to."""
    return columns_of(trace, MEASURES)


def shifts(net: Net, params: Any, rate: Any, train: Examples, key: Any) -> dict[str, Any]:
    """Of a kernel's gradient G, and G' after the step of the layers before it, on the same batch.

    `distance`: ‖G - G'‖. `angle`: between the two, in degrees. `relative_distance`: over ‖G‖. The
    geometric mean over the layers and some batches.
    """

    def of_batch(batch: Examples) -> tuple[Any, Any]:
        loss, gradient = gradient_of(net, params, batch, key)
        after = stepped(params, gradient, rate)

        def of_layer(layer: int) -> Any:
            mixed = {
                name: after[name] if int(name.split("_")[1]) < layer else of
                for name, of in params.items()
            }
            old, new = (
                of[f"Dense_{layer}"]["kernel"]
                for of in (gradient, gradient_of(net, mixed, batch, key)[1])
            )
            distance = jnp.linalg.norm(new - old)
            return jnp.stack([distance, angle(old, new), distance / jnp.linalg.norm(old)])

        return loss, jnp.stack([of_layer(layer) for layer in LAYERS])

    batches = jax.tree.map(lambda of: of[:NUM_BATCHES], batches_of(train, key))
    losses, found = jax.lax.map(of_batch, batches)
    means = jnp.exp(jnp.log(found).mean((0, 1)))
    return {"loss": losses.mean(), **dict(zip(MEASURES, means, strict=True))}


def angle(x: Any, y: Any) -> Any:
    """The angle between two arrays, in degrees; also where it is too small for its cosine."""
    x, y = x / jnp.linalg.norm(x), y / jnp.linalg.norm(y)
    half = jnp.arctan2(jnp.linalg.norm(x - y), jnp.linalg.norm(x + y))
    return jnp.rad2deg(2 * half)
