"""How far batch norm is behind layer norm, which needs no batch, by the size of the batches."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, at_best, extent, values_of
from verdicts import HOLDS, NOT_SHOWN, Comparison, in_a_sentence, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
PREDICTED = {"2": HOLDS, "4": HOLDS, "16": NOT_SHOWN}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that batch norm loses against layer norm with small batches."""
    many = values_of([row for row in rows if row["config"] == "sizes"])
    single = values_of([row for row in rows if row["config"] == "one"])
    arms, sizes = many.labels["arm"], many.labels["train.batch_size"]
    accuracy = {
        arm: {size: at_best(many.at({"arm": arm, "train.batch_size": size})) for size in sizes}
        for arm in arms
    }
    of_one = {arm: at_best(single.at({"arm": arm})) for arm in single.labels["arm"]}
    comparisons = [
        Comparison(
            f"batches of {size}",
            accuracy["layer_norm"][size] - accuracy["batch_norm"][size],
            SMALLEST,
            predicted,
        )
        for size, predicted in PREDICTED.items()
    ]
    verdict, judged = judge(comparisons)
    one = [in_words(mean_of(of_one[arm])) if arm in of_one else "impossible" for arm in arms]
    lines = {}
    for arm, by_size in accuracy.items():
        found = ({"1": of_one[arm]} if arm in of_one else {}) | by_size
        lines[arm] = ([int(size) for size in found], np.array(list(found.values())))
    return Finding(
        headings=["batch size", *(f"test accuracy, {arm}, %" for arm in arms)],
        rows=[
            ["1", *one],
            *([size, *(in_words(mean_of(accuracy[arm][size])) for arm in arms)] for size in sizes),
        ],
        verdict=verdict,
        summary="Whether batch norm is a point or more behind layer norm, which needs no batch: "
        f"{in_a_sentence(judged, 'points')}.",
        panels=[
            Panel(
                title="Accuracy by batch size",
                x="examples in a batch",
                y="test accuracy, %",
                lines=lines,
                log_x=True,
            )
        ],
        headline=("batch_norm", "layer_norm"),
        judged=judged,
        **extent(rows),
    )
