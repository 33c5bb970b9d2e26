"""How far every other arm is from batch norm, at each batch size."""

from findings import Finding, Panel, in_percent, verdict_of
from grids import Grid, estimate, tuned


def measure(grid: Grid) -> Finding:
    """The table, and the verdict that the README announces."""
    sizes, test = grid.axes["train.batch_size"], tuned(grid)  # (arms, sizes, seeds)
    batch = grid.arms.index("batch_norm")
    rows, essential, ahead = [], [], []
    for s, size in enumerate(sizes):
        means = [estimate(lambda v: v.mean(), arm[s]) for arm in test]
        rows.append([str(size), *map(in_percent, means)])
        gains = [
            estimate(lambda a, b: (a - b).mean(), test[batch, s], arm[s])
            for a, arm in enumerate(test)
            if a != batch
        ]
        essential.append(all(gain.low > 0.01 for gain in gains))
        ahead.append(gains[-1])  # of no_norm
    return Finding(
        headings=["batch size", *(f"{arm}, %" for arm in grid.arms)],
        rows=rows,
        verdict=verdict_of(all(essential), any(essential)),
        summary="points that batch norm is ahead of none: "
        + "; ".join(
            f"batches of {size} {in_percent(gain)}" for size, gain in zip(sizes, ahead, strict=True)
        ),
        panels=[
            Panel(
                title="Accuracy by batch size",
                x="batch size",
                y="test accuracy, %",
                lines={arm: (sizes, 100 * test[a]) for a, arm in enumerate(grid.arms)},
                log_x=True,
            )
        ],
        headline=("batch_norm", "no_norm"),
        num_runs=grid.val.size,
        num_seeds=grid.val.shape[-1],
    )
