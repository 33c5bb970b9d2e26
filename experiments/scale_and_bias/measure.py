"""What accuracy is lost without gamma, beta or both."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, at_best, extent, values_of
from verdicts import REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
NETWORKS = [
    (activation, position)
    for activation in ("relu", "sigmoid")
    for position in ("after_activation", "before_activation")
]


def measure(rows: Sequence[Row]) -> Finding:
    """The points that a network loses without both, each arm at its best rate."""
    values = values_of(rows)
    arms = values.labels["arm"]
    names = [f"{kind}, norm {place.removesuffix('_activation')} it" for kind, place in NETWORKS]
    accuracy = {
        arm: [
            at_best(values.at({"arm": arm, "model.activation": kind, "model.norm_position": place}))
            for kind, place in NETWORKS
        ]
        for arm in arms
    }  # each a list of (splits,)
    comparisons = [
        Comparison(name, both - neither, SMALLEST, REFUTED)
        for name, both, neither in zip(names, accuracy["both"], accuracy["neither"], strict=True)
    ]
    verdict, judged = judge(comparisons)
    largest = max(of.effect.value for of in judged)
    return Finding(
        headings=["network", *(f"test accuracy, {arm.replace('_', ' ')}, %" for arm in arms)],
        rows=[
            [name, *(in_words(mean_of(accuracy[arm][n])) for arm in arms)]
            for n, name in enumerate(names)
        ],
        verdict=verdict,
        summary=f"Without gamma and beta the four networks lose {largest:.1f} points at most, in "
        "the mean.",
        panels=[
            Panel(
                title="Accuracy with gamma, beta, both and neither",
                x="activation, and the norm after or before it",
                y="test accuracy, %",
                lines={arm: (names, np.array(of_arm)) for arm, of_arm in accuracy.items()},
            )
        ],
        headline=("both", "neither"),
        judged=judged,
        **extent(rows),
    )
