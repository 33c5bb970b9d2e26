"""Raw, standardized and rescaled inputs, with batch normalization and without."""

from findings import Finding, Panel, in_percent, verdict_of
from grids import Grid, mean_of, tuned


def measure(grid: Grid) -> Finding:
    """The accuracy of each case, and the verdict that the README announces."""
    names, kinds = grid.axes["data.name"], grid.axes["data.normalize"]
    test = tuned(grid)  # (arms, sets, kinds, seeds)
    rows = [
        [f"{name}, {kind}", *(in_percent(mean_of(arm[n, k])) for arm in test)]
        for n, name in enumerate(names)
        for k, kind in enumerate(kinds)
    ]
    batch = test[grid.arms.index("batch_norm")]
    worse, summaries = [], []
    for name, found in zip(names, batch, strict=True):
        raw, standardized = (found[kinds.index(kind)] for kind in ("none", "standardize"))
        more = mean_of(standardized - raw)
        worse.append(more.high < 0)
        summaries.append(f"{name} {in_percent(more)}")
    return Finding(
        headings=["data, inputs", *(f"{arm}, %" for arm in grid.arms)],
        rows=rows,
        verdict=verdict_of(all(worse), any(worse)),
        summary="standardized less raw inputs, both with batch norm, in percentage points: "
        + "; ".join(summaries),
        panels=[
            Panel(
                title=name.replace("_", " "),
                x="inputs",
                y="test accuracy, %",
                lines={
                    arm: ([kind.replace("_", " ") for kind in kinds], 100 * test[a, n])
                    for a, arm in enumerate(grid.arms)
                },
            )
            for n, name in reversed(list(enumerate(names)))
        ],
        headline=("batch_norm", "no_norm"),
        num_runs=grid.val.size,
        num_seeds=grid.val.shape[-1],
    )
