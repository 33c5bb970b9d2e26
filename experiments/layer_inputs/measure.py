"""How far the distribution of a layer's inputs moves, with batch norm and without."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from layer_inputs.collect import DRIFTS, FIRST, MEASURES
from sigmoids import ARMS, BEST, COMMON, halvings, of_splits
from values import Row, extent, values_of
from verdicts import HOLDS, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # halving
HEADINGS = {
    "in an epoch": "drift in an epoch, in spreads",
    "first five": "in the first five",
    "last": "in the last",
    "first_five_moved": "in the first five, in the sigmoid's own units",
    "before_norm": "before the norm, in spreads",
    "first_five_before_norm": "before the norm, in the first five",
    "test_accuracy": "test accuracy, %",
}


def measure(rows: Sequence[Row]) -> Finding:
    """The halvings of the drift that batch norm makes, at each one's best rate and at one rate."""
    values = values_of(rows, MEASURES)
    comparisons, table, panels, ratios = [], [], [], []
    for at in (BEST, COMMON):
        lines = {}
        for arm in ARMS:
            chosen = of_splits(values, arm, at)
            drifts = np.array([chosen[name] for name in DRIFTS])
            lines[arm] = drifts
            cells = chosen | {
                "in an epoch": drifts.mean(0),
                "first five": drifts[FIRST].mean(0),
                "last": drifts[-1],
                "test_accuracy": 100 * chosen["test_accuracy"],
            }
            specs = (".1f" if name == "test_accuracy" else ".3f" for name in HEADINGS)
            words = [
                in_words(mean_of(cells[name]), spec)
                for name, spec in zip(HEADINGS, specs, strict=True)
            ]
            table.append([f"{arm}, {at}", *words])
        for epochs, when in ((slice(None), "all epochs"), (FIRST, "the first five epochs")):
            effects = halvings(*(lines[arm][epochs].mean(0) for arm in ARMS))
            comparisons.append(Comparison(f"{when}, {at}", effects, SMALLEST, HOLDS))
            ratios.append(f"{2 ** effects.mean():.2g}")
        panels.append(
            Panel(
                title=f"What the last hidden layer takes, {at}",
                x="epoch",
                y="drift to the next epoch, in spreads",
                lines={arm: (list(range(1, len(DRIFTS) + 1)), of) for arm, of in lines.items()},
                log_y=True,
            )
        )
    verdict, judged = judge(comparisons)
    last = [of_splits(values, arm, BEST)[DRIFTS[-1]].mean() for arm in ARMS]
    return Finding(
        headings=["network", *HEADINGS.values()],
        rows=table,
        verdict=verdict,
        summary="From one epoch to the next, the distribution of what the last hidden layer takes "
        f"moves {ratios[0]} times as far without batch norm as with it, and in the first five "
        f"epochs {ratios[1]} times, each at its best rate; at one common rate {ratios[2]} and "
        f"{ratios[3]} times. In the last epoch, each at its best rate, it is "
        f"{last[1] / last[0]:.2g} times.",
        panels=panels,
        headline=("batch_norm", "no_norm"),
        judged=judged,
        unit="halvings (1: half, 2: a quarter)",
        **extent(rows, MEASURES),
    )
