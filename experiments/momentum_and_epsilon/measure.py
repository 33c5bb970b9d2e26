"""What momentum and epsilon move, in short and in long runs."""

import numpy as np
from findings import HOLDS, NOT_HERE, PARTLY, Finding, Panel, in_percent
from grids import Grid, estimate


def measure(grid: Grid) -> Finding:
    """The ranges over momenta and epsilons, and the verdict that the README announces."""
    momenta, epsilons = grid.axes["norm.momentum"], grid.axes["norm.epsilon"]
    plain, warmed_up = (grid.arms.index(arm) for arm in ("batch_norm", "momentum_warmup"))
    recomputed = grid.axes["train.recompute_stats"].index(True)
    kinds = {
        "running statistics": grid.test[plain, :, 1 - recomputed],
        "running statistics, momentum warm-up": grid.test[warmed_up, :, 1 - recomputed],
        "recomputed statistics": grid.test[plain, :, recomputed],
    }  # each (epochs, momenta, epsilons, seeds)
    rows, matters, lines = [], {}, {}
    for e, num_epochs in enumerate(grid.axes["train.num_epochs"]):
        epochs = f"{num_epochs} epoch{'s' if num_epochs > 1 else ''}"
        lines[epochs] = {}
        for kind, test in kinds.items():
            of_momenta = test[e, :, epsilons.index(1e-3)]
            of_epsilons = test[e, momenta.index(0.99)]
            small = of_epsilons[: epsilons.index(0.1) + 1]
            found = [estimate(_range, values) for values in (of_momenta, of_epsilons, small)]
            # With recomputed statistics momentum plays no part: one is as good as another.
            of_recomputed = kinds["recomputed statistics"][e, 0, epsilons.index(1e-3)]
            lost = estimate(_most_lost, of_momenta[1:], of_recomputed)
            rows.append([f"{epochs}, {kind}", *map(in_percent, [*found, lost])])
            lines[epochs][kind] = (list(map(str, momenta)), 100 * of_momenta)
            if kind == "running statistics":
                matters[num_epochs] = any(a_range.low > 0.01 for a_range in found[:2])
    verdict = PARTLY if matters[1] else NOT_HERE
    return Finding(
        headings=[
            *("run", "range over momenta, points", "range over epsilons, points", "up to 0.1"),
            "most that a momentum but 0 is below recomputed statistics, points",
        ],
        rows=rows,
        verdict=HOLDS if matters[10] else verdict,
        summary="points that momenta move: " + "; ".join(f"{row[0]} {row[1]}" for row in rows),
        panels=[
            Panel(title=epochs, x="momentum", y="test accuracy, %", lines=of_epochs)
            for epochs, of_epochs in lines.items()
        ],
        headline=("running statistics", "recomputed statistics"),
        num_runs=grid.val.size,
        num_seeds=grid.val.shape[-1],
    )


def _most_lost(test: np.ndarray, recomputed: np.ndarray) -> float:
    """How far the worst mean of an array (values, seeds) is below another's (seeds)."""
    return float(recomputed.mean() - test.mean(-1).min())


def _range(test: np.ndarray) -> float:
    """The best less the worst mean of arrays (values, seeds)."""
    mean = test.mean(-1)
    return float(mean.max() - mean.min())
