"""What other orders of the samples cost."""

from findings import HOLDS, NOT_HERE, PARTLY, Finding, Panel, in_percent
from grids import Grid, mean_of, tuned


def measure(grid: Grid) -> Finding:
    """The loss of each order in each arm, and the verdict that the README announces."""
    orders = grid.axes["train.order"]
    test = tuned(grid)  # (arms, orders, seeds)
    shuffled = orders.index("shuffled")
    batch, none = (grid.arms.index(arm) for arm in ("batch_norm", "no_norm"))
    rows, better, worse = [], [], []
    for number, order in enumerate(orders):
        lost = test[:, shuffled] - test[:, number]  # (arms, seeds)
        losses = [mean_of(of_arm) for of_arm in lost]
        rows.append([order.replace("_", " "), *map(in_percent, losses)])
        if number != shuffled:
            more = mean_of(lost[batch] - lost[none])
            matters = max(loss.value for loss in losses) > 0.01
            better.append(more.value < 0 and (more.high < 0 or not matters))
            worse.append(more.value > 0.01)
    return Finding(
        headings=["order", *(f"loss, {arm}, percentage points" for arm in grid.arms)],
        rows=rows,
        verdict=NOT_HERE if any(worse) else HOLDS if all(better) else PARTLY,
        summary="points lost with batch norm and without: "
        + "; ".join(
            f"{order} {losses[batch]} and {losses[none]}"
            for order, *losses in rows
            if order != "shuffled"
        ),
        panels=[
            Panel(
                title="Each order at its best rate",
                x="order of the samples",
                y="test accuracy, %",
                lines={
                    arm: ([order.replace("_", " ") for order in orders], 100 * test[number])
                    for number, arm in enumerate(grid.arms)
                },
            )
        ],
        headline=("batch_norm", "no_norm"),
        num_runs=grid.val.size,
        num_seeds=grid.val.shape[-1],
    )
