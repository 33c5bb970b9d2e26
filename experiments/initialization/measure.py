"""The width of the range of good gains of the initial weights."""

import numpy as np
from findings import Finding, compare_widths
from grids import Grid


def measure(grid: Grid) -> Finding:
    """Each arm's width, and the verdict that the README announces."""
    gains = grid.axes["model.init_gain"]
    best = grid.val.mean(-1, keepdims=True).argmax(2, keepdims=True)
    val = np.take_along_axis(grid.val, best, 2).squeeze(2)  # at each gain's own best rate
    arms = dict(zip(grid.arms, val, strict=True))
    widths, wider = compare_widths(arms, gains)
    verdicts = {"clearly": "holds", "barely": "holds partly", "no": "does not hold here"}
    return Finding(
        headings=["arm", "width, decades of the gain"],
        rows=[[arm, width] for arm, width in widths.items()],
        verdict=verdicts[wider],
        summary=f"{widths['batch_norm']} decades of the gain near the best with batch norm, "
        f"{widths['no_norm']} without",
        x="gain of the initial kernels",
        lines={arm: (gains, values) for arm, values in arms.items()},
    )
