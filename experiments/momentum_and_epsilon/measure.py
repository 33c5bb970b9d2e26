"""What momentum and epsilon move, in short and in long runs."""

import numpy as np
from findings import Finding, in_percent
from grids import Grid, estimate


def measure(grid: Grid) -> Finding:
    """The ranges over momenta and epsilons, and the verdict that the README announces."""
    momenta, epsilons = grid.axes["norm.momentum"], grid.axes["norm.epsilon"]
    of_momenta = grid.test[0][..., epsilons.index(1e-3), :]  # (epochs, recomputed, momenta, seeds)
    of_epsilons = grid.test[0][..., momenta.index(0.99), :, :]
    rows, matters = [], {}
    for e, num_epochs in enumerate(grid.axes["train.num_epochs"]):
        for r, recomputed in enumerate(grid.axes["train.recompute_stats"]):
            found = [estimate(_range, values[e, r]) for values in (of_momenta, of_epsilons)]
            kind = "recomputed" if recomputed else "running"
            epochs = f"{num_epochs} epoch{'s' if num_epochs > 1 else ''}"
            rows.append([f"{epochs}, {kind} statistics", *map(in_percent, found)])
            if not recomputed:
                matters[num_epochs] = any(estimate.low > 0.01 for estimate in found)
    verdict = "holds partly" if matters[1] else "does not hold here"
    return Finding(
        headings=["run", "range over momenta, points", "range over epsilons, points"],
        rows=rows,
        verdict="holds" if matters[10] else verdict,
        summary="; ".join(
            f"{run}: momenta move {momentum} points, epsilons {epsilon}"
            for run, momentum, epsilon in rows
        ),
        x="momentum",
        lines={
            f"{epochs} epoch{'s' * (epochs > 1)}, {'recomputed' if recomputed else 'running'}": (
                list(map(str, momenta)),
                of_momenta[e, r],
            )
            for e, epochs in enumerate(grid.axes["train.num_epochs"])
            for r, recomputed in enumerate(grid.axes["train.recompute_stats"])
        },
    )


def _range(test: np.ndarray) -> float:
    """The best less the worst mean of arrays (values, seeds)."""
    mean = test.mean(-1)
    return float(mean.max() - mean.min())
