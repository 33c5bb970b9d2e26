"""What other orders of the samples cost."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, at_best, extent, values_of
from verdicts import REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
PREDICTED = {"fixed": REFUTED, "sorted": REFUTED, "class_blocked": REFUTED}
IN_WORDS = {
    "fixed": "those in a fixed random order",
    "sorted": "those sorted by class",
    "class_blocked": "batches of one class each",
}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that an order loses against a shuffled one, in each arm at its best rate."""
    values = values_of(rows)
    arms = values.labels["arm"]
    accuracy = {
        (arm, order): at_best(values.at({"arm": arm, "train.order": order}))
        for arm in arms
        for order in values.labels["train.order"]
    }
    lost = {
        (arm, order): accuracy[arm, "shuffled"] - accuracy[arm, order]
        for arm in arms
        for order in PREDICTED
    }
    comparisons = [
        Comparison(
            order.replace("_", " "),
            lost["no_norm", order] - lost["batch_norm", order],
            SMALLEST,
            predicted,
        )
        for order, predicted in PREDICTED.items()
    ]
    verdict, judged = judge(comparisons)
    losses = "; ".join(
        f"{words} cost {lost['batch_norm', order].mean():z.1f} points with batch norm and "
        f"{lost['no_norm', order].mean():z.1f} without"
        for order, words in IN_WORDS.items()
    )
    orders = values.labels["train.order"]
    return Finding(
        headings=["order", *(f"points lost, {arm}" for arm in arms)],
        rows=[
            [order.replace("_", " "), *(in_words(mean_of(lost[arm, order])) for arm in arms)]
            for order in PREDICTED
        ],
        verdict=verdict,
        summary=f"Against samples that are shuffled anew in each epoch, {losses}.",
        panels=[
            Panel(
                title="Each order at its best rate",
                x="order of the samples",
                y="test accuracy, %",
                lines={
                    arm: (
                        [order.replace("_", " ") for order in orders],
                        np.array([accuracy[arm, order] for order in orders]),
                    )
                    for arm in arms
                },
            )
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows),
    )
