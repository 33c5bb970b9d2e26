"""Raw, standardized and rescaled inputs, with batch normalization and without."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, at_best, extent, values_of
from verdicts import REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
PREDICTED = {"digits": REFUTED, "breast_cancer": REFUTED, "wine": REFUTED}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that standardized inputs lose against raw ones, both with batch norm."""
    values = values_of(rows)
    arms, kinds = values.labels["arm"], values.labels["data.normalize"]
    accuracy = {
        (arm, name, kind): at_best(
            values.at({"arm": arm, "data.name": name, "data.normalize": kind})
        )
        for arm in arms
        for name in PREDICTED
        for kind in kinds
    }
    comparisons = [
        Comparison(
            name.replace("_", " "),
            accuracy["batch_norm", name, "none"] - accuracy["batch_norm", name, "standardize"],
            SMALLEST,
            predicted,
        )
        for name, predicted in PREDICTED.items()
    ]
    verdict, judged = judge(comparisons)
    gains = ", ".join(f"{-of.effect.value:.1f} on {of.name}" for of in judged)
    return Finding(
        headings=["data, inputs", *(f"test accuracy, {arm}, %" for arm in arms)],
        rows=[
            [
                f"{name.replace('_', ' ')}, {kind.replace('_', ' ')}",
                *(in_words(mean_of(accuracy[arm, name, kind])) for arm in arms),
            ]
            for name in PREDICTED
            for kind in kinds
        ],
        verdict=verdict,
        summary="Points of test accuracy that standardized inputs gain over raw ones, both with "
        f"batch norm: {gains}.",
        panels=[
            Panel(
                title=name.replace("_", " "),
                x="inputs",
                y="test accuracy, %",
                lines={
                    arm: (
                        [kind.replace("_", " ") for kind in kinds],
                        np.array([accuracy[arm, name, kind] for kind in kinds]),
                    )
                    for arm in arms
                },
            )
            for name in PREDICTED
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows),
    )
