"""Raw, standardized and rescaled inputs, with batch normalization and without."""

from findings import Finding, in_percent
from grids import Grid, estimate, tuned


def measure(grid: Grid) -> Finding:
    """The accuracy of each case, and the verdict that the README announces."""
    names, kinds = grid.axes["data.name"], grid.axes["data.normalize"]
    test = tuned(grid)  # (arms, sets, kinds, seeds)
    rows = [
        [f"{name}, {kind}", *(in_percent(estimate(lambda v: v.mean(), arm[n, k])) for arm in test)]
        for n, name in enumerate(names)
        for k, kind in enumerate(kinds)
    ]
    batch = test[grid.arms.index("batch_norm")]
    worse, summaries = [], []
    for name, found in zip(names, batch, strict=True):
        raw, standardized = (found[kinds.index(kind)] for kind in ("none", "standardize"))
        more = estimate(lambda a, b: (a - b).mean(), standardized, raw)
        worse.append(more.high < 0)
        summaries.append(f"{name} {in_percent(more)}")
    verdict = "holds" if all(worse) else "holds partly" if any(worse) else "does not hold here"
    return Finding(
        headings=["data, inputs", *(f"{arm}, %" for arm in grid.arms)],
        rows=rows,
        verdict=verdict,
        summary="standardized less raw inputs, both with batch norm, in percentage points: "
        + "; ".join(summaries),
        x="inputs",
        lines={
            f"{name}, {arm}": (kinds, test[a, n])
            for n, name in enumerate(names)
            for a, arm in enumerate(grid.arms)
        },
    )
