"""How far the inputs of the last hidden layer's sigmoids move from epoch to epoch."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sigmoids import NUM_EPOCHS, REPEATS, Net, loss_of, rows_of

from jbn.data import Examples

__all__ = ["REPEATS", "rows"]
NUM_PROBED = 256
FIRST = slice(0, 5)  # of the drifts
QUANTILES = jnp.array([0.15, 0.5, 0.85])
NETS = {"batch_norm": Net(has_norm=True), "no_norm": Net(has_norm=False)}
DRIFTS = tuple(f"drift_{epoch}" for epoch in range(1, NUM_EPOCHS))  # from that epoch to the next
MEASURES = (
    *("val_accuracy", "test_accuracy", *DRIFTS),
    *("first_five_moved", "first_five_before_norm", "before_norm"),
)


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each arm, rate and split; and the seconds."""
    return rows_of(NETS, quantiles, columns, splits)


def quantiles(net: Net, params: Any, rate: Any, train: Examples, key: Any) -> dict[str, Any]:
    """Quantiles of each unit of the last hidden layer, in training mode: (3, units)."""
    first = jax.tree.map(lambda of: of[:NUM_PROBED], train)
    _, (before, taken) = loss_of(net, params, first, key)
    return {
        "before": jnp.quantile(before, QUANTILES, axis=0),
        "taken": jnp.quantile(taken, QUANTILES, axis=0),
    }


def columns(trace: dict[str, np.ndarray]) -> dict[str, float]:
    """What a training comes to, of quantiles and accuracies (1 + epochs, ...)."""
    taken, before = trace["taken"][1:], drift(trace["before"][1:])
    moved = np.abs(np.diff(taken, axis=0)).mean((-1, -2))
    found = {
        "val_accuracy": trace["val_accuracy"][1:].mean(),
        "test_accuracy": trace["test_accuracy"][-1],
        **dict(zip(DRIFTS, drift(taken), strict=True)),
        "first_five_moved": moved[FIRST].mean(),
        "first_five_before_norm": before[FIRST].mean(),
        "before_norm": before.mean(),
    }
    return {name: float(of) for name, of in found.items()}


def drift(quantiles: np.ndarray) -> np.ndarray:
    """How far quantiles (..., probes, 3, units) move between probes, over their spread.

    The mean over the units and the quantiles of the distance, over the mean over the units of what
    lies between the outer two. Where nothing is spread it is infinite, or NaN.

    >>> drift(np.array([[[-1.0], [0.0], [1.0]], [[0.0], [1.0], [2.0]]])).tolist()
    [0.5]
    """
    moved = np.abs(np.diff(quantiles, axis=-3)).mean((-1, -2))
    spread = (quantiles[..., 2, :] - quantiles[..., 0, :]).mean(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return moved / spread[..., 1:]
