"""Batch norm of the inputs beside standardized and raw ones."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, at_best, extent, values_of
from verdicts import NOT_SHOWN, REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
PREDICTED = {"digits": REFUTED, "breast_cancer": REFUTED, "wine": NOT_SHOWN}
ARMS = ("batch_norm_of_inputs", "standardized", "raw")


def measure(rows: Sequence[Row]) -> Finding:
    """The points that batch norm of the inputs gains over standardized ones."""
    values = values_of(rows)
    accuracy = {
        arm: {name: at_best(values.at({"arm": arm, "data.name": name})) for name in PREDICTED}
        for arm in ARMS
    }
    names = [name.replace("_", " ") for name in PREDICTED]
    comparisons = [
        Comparison(
            name.replace("_", " "),
            accuracy["batch_norm_of_inputs"][name] - accuracy["standardized"][name],
            SMALLEST,
            predicted,
        )
        for name, predicted in PREDICTED.items()
    ]
    verdict, judged = judge(comparisons)
    gains = ", ".join(f"{of.effect.value:.1f} on {of.name}" for of in judged)
    over_raw = ", ".join(
        f"{(accuracy['batch_norm_of_inputs'][name] - accuracy['raw'][name]).mean():.1f}"
        for name in PREDICTED
    )
    return Finding(
        headings=["data", *(f"test accuracy, {arm.replace('_', ' ')}, %" for arm in ARMS)],
        rows=[
            [name.replace("_", " "), *(in_words(mean_of(accuracy[arm][name])) for arm in ARMS)]
            for name in PREDICTED
        ],
        verdict=verdict,
        summary="Points of test accuracy that batch norm of the inputs gains over standardized "
        f"inputs: {gains}. Over raw inputs it gains {over_raw}.",
        panels=[
            Panel(
                title="The article's network on three kinds of inputs",
                x="data",
                y="test accuracy, %",
                lines={
                    arm: (names, np.array(list(by_name.values())))
                    for arm, by_name in accuracy.items()
                },
            )
        ],
        headline=("batch_norm_of_inputs", "standardized"),
        judged=judged,
        **extent(rows),
    )
