"""What accuracy is lost without gamma, beta or both."""

import numpy as np
from findings import Finding, Panel, in_percent, verdict_of
from grids import Grid, mean_of, tuned
from scale_and_bias.collect import Layers


def measure(found: Layers) -> Finding:
    """The table, and the verdict that the README announces."""
    grid, test = found.grid, tuned(found.grid)  # (arms, activations, positions, seeds)
    both = grid.arms.index("both")
    cases = [
        (a, p, f"{activation}, {position.removesuffix('_activation')}")
        for a, activation in enumerate(grid.axes["model.activation"])
        for p, position in enumerate(grid.axes["model.norm_position"])
    ]
    rows, gains = [], []
    for a, p, case in cases:
        whole = mean_of(test[both, a, p])
        more = {
            arm: mean_of(test[both, a, p] - test[number, a, p])
            for number, arm in enumerate(grid.arms)
            if number != both
        }
        gains.append(more["neither"])
        rows.append([case, in_percent(whole), *map(in_percent, more.values())])
    lost = lost_on_splits(found.splits)  # (splits, seeds)
    splits = found.splits.axes["data.split_seed"]
    for split, of_split in zip(splits, lost, strict=True):
        name = f"relu, before, split {split} of the data"
        rows.append([name, "", "", "", in_percent(mean_of(of_split))])
    name = f"relu, before, mean of these {len(splits)} splits, interval over them"
    rows.append([name, "", "", "", in_percent(mean_of(lost.mean(-1)))])
    for position in found.scale:
        for name, symbol in (("scale", "gamma"), ("bias", "beta")):
            values = getattr(found, name)[position]
            low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
            cells = f"{middle:z.2f}, 90% of them from {low:.2f} to {high:.2f}", "", "", ""
            rows.append([f"{symbol}, relu, {position.removesuffix('_activation')}", *cells])
    matters = [gain.low > 0 for gain in gains]
    names = [case for _, _, case in cases]
    return Finding(
        headings=[
            *("activation, norm after or before it", "accuracy with both, %; or median"),
            *("lost without beta, points", "without gamma", "without both"),
        ],
        rows=rows,
        verdict=verdict_of(all(matters), any(matters)),
        summary="points lost without both: "
        + "; ".join(f"{case} {in_percent(gain)}" for case, gain in zip(names, gains, strict=True))
        + f". They are affine: in evaluation within {found.from_affine:.0e} in float64",
        panels=[
            Panel(
                title="Accuracy with gamma, beta, both and neither",
                x="activation, and the norm after or before it",
                y="test accuracy, %",
                lines={
                    arm: (names, 100 * np.array([test[number, a, p] for a, p, _ in cases]))
                    for number, arm in enumerate(grid.arms)
                },
            )
        ],
        headline=("both", "neither"),
        num_runs=grid.val.size + found.splits.val.size,
        num_seeds=grid.val.shape[-1],
    )


def lost_on_splits(splits: Grid) -> np.ndarray:
    """Points lost without both, on each split: (splits, seeds)."""
    both, neither = (tuned(splits)[splits.arms.index(arm)] for arm in ("both", "neither"))
    lost: np.ndarray = both - neither
    return lost
