"""How accurate networks are with batch norm and without, each at its best point."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, at_best, extent, values_of
from verdicts import NOT_SHOWN, REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
CASES = {  # by the config's name: in words, and what is predicted
    "digits": ("digits", REFUTED),
    "breast_cancer": ("tumours", REFUTED),
    "wine": ("wines", NOT_SHOWN),
    "cnn": ("digits, convolutional", REFUTED),
    "mnist": ("MNIST", REFUTED),
    "fashion_mnist": ("Fashion-MNIST", REFUTED),
}
PANELS = {
    "Small tables": ("digits", "breast_cancer", "wine"),
    "Images": ("cnn", "mnist", "fashion_mnist"),
}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that batch norm gains on each data set."""
    accuracy = {case: accuracy_of(rows, case) for case in CASES}
    arms = list(accuracy["digits"])
    comparisons = [
        Comparison(name, of["batch_norm"] - of["no_norm"], SMALLEST, predicted)
        for (name, predicted), of in zip(CASES.values(), accuracy.values(), strict=True)
    ]
    verdict, judged = judge(comparisons)
    gains = ", ".join(f"{of.effect.value:.1f} on {of.name}" for of in judged)
    return Finding(
        headings=["data", "splits", *(f"test accuracy, {arm}, %" for arm in arms)],
        rows=[
            [
                CASES[case][0],
                str(of["batch_norm"].size),
                *(in_words(mean_of(of[arm]), ".2f") for arm in arms),
            ]
            for case, of in accuracy.items()
        ],
        verdict=verdict,
        summary="With the best learning rate for each, the points of test accuracy that batch "
        f"norm gains are: {gains}.",
        panels=[
            Panel(
                title=title,
                x="data",
                y="test accuracy, %",
                lines={
                    arm: (
                        [CASES[case][0] for case in cases],
                        np.array([accuracy[case][arm] for case in cases]),
                    )
                    for arm in arms
                },
            )
            for title, cases in PANELS.items()
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows),
    )


def accuracy_of(rows: Sequence[Row], case: str) -> dict[str, np.ndarray]:
    """Each arm's test accuracy of each split, in percent, in one config's sweep."""
    values = values_of([row for row in rows if row["config"] == case])
    return {arm: at_best(values.at({"arm": arm})) for arm in values.labels["arm"]}
