"""What other orders of the samples cost."""

from findings import Finding, in_percent
from grids import Grid, estimate, tuned


def measure(grid: Grid) -> Finding:
    """The loss of each order in each arm, and the verdict that the README announces."""
    orders = grid.axes["train.order"]
    test = tuned(grid)  # (arms, orders, seeds)
    shuffled = orders.index("shuffled")
    batch, none = (grid.arms.index(arm) for arm in ("batch_norm", "no_norm"))
    rows, better, worse = [], [], []
    for number, order in enumerate(orders):
        losses = [
            estimate(lambda a, b: (a - b).mean(), test[arm, shuffled], test[arm, number])
            for arm in range(len(grid.arms))
        ]
        rows.append([order.replace("_", " "), *map(in_percent, losses)])
        if number != shuffled:
            more = estimate(
                lambda a, b, c, d: ((a - b) - (c - d)).mean(),
                *(test[batch, shuffled], test[batch, number]),
                *(test[none, shuffled], test[none, number]),
            )
            matters = max(loss.value for loss in losses) > 0.01
            better.append(more.value < 0 and (more.high < 0 or not matters))
            worse.append(more.value > 0.01)
    verdict = "holds" if all(better) else "holds partly"
    return Finding(
        headings=["order", *(f"loss, {arm}, percentage points" for arm in grid.arms)],
        rows=rows,
        verdict="does not hold here" if any(worse) else verdict,
        summary="; ".join(
            f"{order}: {losses[batch]} points lost with batch norm, {losses[none]} without"
            for order, *losses in rows
            if order != "shuffled"
        ),
        x="order of the samples",
        lines={arm: (orders, test[number]) for number, arm in enumerate(grid.arms)},
    )
