"""The network of sigmoids with noise after batch norm, which unsettles what its layers take."""

from collections.abc import Sequence

import numpy as np
from layer_inputs.collect import FIRST, drift, quantiles
from sigmoids import REPEATS, Net, Noise, rows_of

__all__ = ["REPEATS", "rows"]
EARLY = 5  # epochs
NETS = {
    "batch_norm": Net(has_norm=True),
    # The widths of Santurkar et al., from memory.
    "noisy_batch_norm": Net(has_norm=True, noise=Noise(0.5, (1.0, 1.25), 0.1)),
    "very_noisy_batch_norm": Net(has_norm=True, noise=Noise(4.0, (0.25, 1.0), 0.1)),
    "no_norm": Net(has_norm=False),
}
ACCURACIES = tuple(f"accuracy_{epoch}" for epoch in (1, 2, EARLY, 10, 20, 40, 60))
MEASURES = ("val_accuracy", *ACCURACIES, "first_five_drift", "drift")


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each arm, rate and split; and the seconds."""
    return rows_of(NETS, quantiles, columns, splits)


def columns(trace: dict[str, np.ndarray]) -> dict[str, float]:
    """What a training comes to, of quantiles and accuracies (1 + epochs, ...)."""
    drifts = drift(trace["taken"][1:])
    found = {
        "val_accuracy": trace["val_accuracy"][1:].mean(),
        **{name: trace["test_accuracy"][int(name.split("_")[1])] for name in ACCURACIES},
        "first_five_drift": drifts[FIRST].mean(),
        "drift": drifts.mean(),
    }
    return {name: float(of) for name, of in found.items()}
