"""Test accuracy with batch norm and without, each at its best on validation data."""

from collections.abc import Mapping

import numpy as np
from findings import Finding, Panel, in_percent, verdict_of
from grids import Grid, at_best, mean_of


def measure(found: Mapping[str, Grid]) -> Finding:
    """The table, and the verdict that the README announces."""
    rows, gains, tests = [], {}, {}
    for name, grid in found.items():
        tests[name] = dict(zip(grid.arms, at_best_point(grid), strict=True))
        batch, none = tests[name]["batch_norm"], tests[name]["no_norm"]
        gains[name] = mean_of(batch - none)
        cells = [in_percent(mean_of(test)) for test in tests[name].values()]
        rows.append([f"{name}, {len(batch)} seeds", *cells, in_percent(gains[name])])
    better = [gain.low > 0 for gain in gains.values()]
    arms = list(next(iter(tests.values())))
    return Finding(
        headings=["network, data", *(f"{arm}, %" for arm in arms), "batch_norm gains, points"],
        rows=rows,
        verdict=verdict_of(all(better), any(better)),
        summary="points gained by batch norm: "
        + "; ".join(f"{name} {in_percent(gain)}" for name, gain in gains.items()),
        panels=[
            Panel(
                title="Accuracy, each arm tuned",
                x="network, data",
                y="test accuracy, %",
                lines={
                    arm: (list(tests), [100 * test[arm] for test in tests.values()]) for arm in arms
                },
            )
        ],
        headline=("batch_norm", "no_norm"),
        num_runs=sum(grid.val.size for grid in found.values()),
        num_seeds=len(batch),
    )


def at_best_point(grid: Grid) -> np.ndarray:
    """Test accuracies (arms, seeds), each arm's at its point of the highest mean validation one."""
    val, test = (v.reshape(len(grid.arms), -1, v.shape[-1]) for v in (grid.val, grid.test))
    return at_best(val, test, 1)
