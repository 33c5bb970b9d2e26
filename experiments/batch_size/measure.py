"""How far every other arm is from batch norm, at each batch size."""

import numpy as np
from findings import Finding, Panel, in_percent, verdict_of
from grids import Grid, mean_of, tuned


def measure(found: tuple[Grid, Grid]) -> Finding:
    """The table, and the verdict that the README announces."""
    grid, of_one = found
    sizes, test = grid.axes["train.batch_size"], tuned(grid)  # (arms, sizes, seeds)
    single = dict(zip(of_one.arms, tuned(of_one), strict=True))
    batch, none = (grid.arms.index(arm) for arm in ("batch_norm", "no_norm"))
    can = [in_percent(mean_of(v)) for v in single.values()]
    cells = dict(zip(single, can, strict=True))
    rows = [["1", *(cells.get(arm, "impossible") for arm in grid.arms)]]
    essential, ahead = [], []
    for s, size in enumerate(sizes):
        rows.append([str(size)])
        gains = []
        for arm in test:
            rows[-1].append(in_percent(mean_of(arm[s])))
            gains.append(mean_of(test[batch, s] - arm[s]))
        essential.append(all(gain.low > 0.01 for a, gain in enumerate(gains) if a != batch))
        ahead.append(gains[none])
    # Where batch norm is impossible it can't be essential.
    return Finding(
        headings=["batch size", *(f"{arm}, %" for arm in grid.arms)],
        rows=rows,
        verdict=verdict_of(False, any(essential)),
        summary="points that batch norm is ahead of none: "
        + "; ".join(
            f"batches of {size} {in_percent(gain)}" for size, gain in zip(sizes, ahead, strict=True)
        )
        + "; of 1 impossible",
        panels=[
            Panel(
                title="Accuracy by batch size",
                x="batch size",
                y="test accuracy, %",
                lines={
                    arm: (
                        ([1] if arm in single else []) + list(sizes),
                        100
                        * np.concatenate(
                            [*([single[arm][None]] if arm in single else []), test[a]]
                        ),
                    )
                    for a, arm in enumerate(grid.arms)
                },
                log_x=True,
            )
        ],
        headline=("batch_norm", "no_norm"),
        num_runs=grid.val.size + of_one.val.size,
        num_seeds=grid.val.shape[-1],
    )
