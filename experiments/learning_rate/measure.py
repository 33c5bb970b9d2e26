"""The width of the range of good learning rates, by depth."""

from findings import Finding, compare_widths
from grids import Grid


def measure(grid: Grid) -> Finding:
    """Each arm's width and largest rate, and the verdict that the README announces."""
    depths = [len(sizes) for sizes in grid.axes["model.hidden_sizes"]]
    rates = grid.axes["optimizer.learning_rate"]
    rows, wider, summaries = [], [], []
    for number, depth in enumerate(depths):
        arms = dict(zip(grid.arms, grid.val[:, number], strict=True))
        widths, is_wider = compare_widths(arms, rates)
        wider.append(is_wider == "clearly")
        largest = {}
        for arm, width in widths.items():
            learns = [r for r, v in zip(rates, arms[arm].mean(-1), strict=True) if v >= 0.5]
            largest[arm] = f"{max(learns, default=0):.2g}"
            rows.append([f"{depth} hidden layers, {arm}", width, largest[arm]])
        summaries.append(
            f"{depth} layers: {widths['batch_norm']} decades near the best with batch norm, "
            f"{widths['no_norm']} without; largest rate {largest['batch_norm']} against "
            f"{largest['no_norm']}"
        )
    verdict = "holds" if all(wider) else "holds partly" if any(wider) else "does not hold here"
    return Finding(
        headings=["network", "width, decades", "largest rate that learns"],
        rows=rows,
        verdict=verdict,
        summary=summaries[-1],
        x="learning rate",
        lines={
            f"{depth} layers, {arm}": (rates, grid.val[a, d])
            for d, depth in enumerate(depths)
            for a, arm in enumerate(grid.arms)
            if arm != "batch_norm_recomputed"
        },
    )
