"""What the recipes gain over plain batch norm, each at its best rate."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from recipes.collect import LARGE, MEASURES, PARTS, SMALL
from values import Row, Values, accuracy, at_best, extent, values_of
from verdicts import HOLDS, NOT_SHOWN, REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 0.5  # points of test accuracy
GAMMA_AND_BETA, GHOST, WEIGHED = (
    ("decay_of_all", "decay_of_kernels"),
    ("ghost_norm", "batch_norm"),
    ("weighed", "batch_norm"),
)
WORDS = {
    GAMMA_AND_BETA: "decay of gamma and beta as well",
    GHOST: "groups of 8",
    WEIGHED: "weighing the image itself",
}
PREDICTED = {
    (GAMMA_AND_BETA, SMALL): REFUTED,
    (GHOST, SMALL): NOT_SHOWN,
    (GHOST, LARGE): HOLDS,
    (WEIGHED, SMALL): REFUTED,
    (WEIGHED, LARGE): REFUTED,
}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that each recipe gains."""
    plain = {size: of_size(rows, size, with_part=False) for size in (SMALL, LARGE)}
    arms = {size: of.labels["arm"] for size, of in plain.items()}
    best = {
        (arm, size): at_best(plain[size].at({"arm": arm})) for size in plain for arm in arms[size]
    }
    of_parts = {
        size: of_size(rows, size, with_part=True).at({"arm": "batch_norm"}) for size in plain
    }
    best |= {("weighed", size): at_best(of_parts[size]) for size in plain}
    verdict, judged = judge(
        [
            Comparison(
                f"{WORDS[arms]}, batches of {size}",
                best[arms[0], size] - best[arms[1], size],
                SMALLEST,
                predicted,
            )
            for (arms, size), predicted in PREDICTED.items()
        ]
    )
    x = [float(rate) for rate in plain[SMALL].labels["learning_rate"]]
    words = "; ".join(f"{of.name}: {of.effect.value:z.1f}" for of in judged)
    return Finding(
        headings=["batches, arm", "test accuracy, best rate, %"],
        rows=[
            [f"{size}, {arm}", in_words(mean_of(of))]
            for (arm, size), of in sorted(best.items(), key=lambda item: item[0][1])
        ],
        verdict=verdict,
        summary=f"Points of accuracy that a recipe gains: {words}.",
        panels=[
            Panel(
                title=f"Batches of {size}",
                x="learning rate",
                y="test accuracy, %",
                lines={arm: (x, accuracy(plain[size].at({"arm": arm}))) for arm in arms[size]},
                log_x=True,
            )
            for size in plain
        ]
        + [
            Panel(
                title="Weighing the image itself, at the best rate of each part",
                x="part of its own mean and mean square",
                y="test accuracy, %",
                lines={
                    f"batches of {size}, batch_norm": (
                        PARTS,
                        np.array(
                            [
                                best["batch_norm", size],
                                *(
                                    at_best(of_parts[size].at({"part": part}))
                                    for part in of_parts[size].labels["part"]
                                ),
                            ]
                        ),
                    )
                    for size in plain
                },
            )
        ],
        headline=GHOST,
        judged=judged,
        **extent(rows, MEASURES, evaluated=("part",)),
    )


def of_size(rows: Sequence[Row], size: int, *, with_part: bool) -> Values:
    """The values of trainings with this batch size, evaluated with a part of the image or none."""
    chosen = [
        row
        for row in rows
        if row["batch_size"] == str(size) and (float(row["part"]) > 0) == with_part
    ]
    return values_of(chosen, MEASURES)
