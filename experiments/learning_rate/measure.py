"""The width of the range of good learning rates, by depth."""

from findings import Finding, Panel, compare_widths, verdict_of
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
            f"{depth} layers {widths['batch_norm']} and {widths['no_norm']}, largest "
            f"{largest['batch_norm']} and {largest['no_norm']}"
        )
    return Finding(
        headings=["network", "width, decades", "largest rate that learns"],
        rows=rows,
        verdict=verdict_of(all(wider), any(wider)),
        summary="decades of rates near the best, and the largest that learns, with batch norm and "
        "without: " + "; ".join(summaries),
        panels=[
            Panel(
                title=f"{depth} hidden layers",
                x="learning rate",
                y="validation accuracy, %",
                lines={arm: (rates, 100 * grid.val[a, d]) for a, arm in enumerate(grid.arms)},
                log_x=True,
            )
            for d, depth in reversed(list(enumerate(depths)))
        ],
        headline=("batch_norm", "no_norm"),
        num_runs=grid.val.size,
        num_seeds=grid.val.shape[-1],
    )
