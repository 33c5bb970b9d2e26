"""How much less accurate networks of several architectures are without batch norm."""

from collections.abc import Sequence

import numpy as np
from accuracy.measure import accuracy_of
from findings import Finding, Panel
from values import Row, extent
from verdicts import HOLDS, REFUTED, Comparison, in_a_sentence, in_words, judge, mean_of

SMALLEST = 5.0  # points of test accuracy
CASES = {  # by the config's name: in words, and what is predicted
    "article": ("two layers of ReLU", REFUTED),
    "deep_relu": ("ten layers of ReLU", REFUTED),
    "deep_sigmoid": ("ten layers of sigmoids", HOLDS),
    "cnn": ("a small convolutional network", REFUTED),
    "resnet": ("a small ResNet-18", REFUTED),
}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that each architecture loses without batch norm."""
    accuracy = {case: accuracy_of(rows, case) for case in CASES}
    arms = list(accuracy["article"])
    comparisons = [
        Comparison(name, of["batch_norm"] - of["no_norm"], SMALLEST, predicted)
        for (name, predicted), of in zip(CASES.values(), accuracy.values(), strict=True)
    ]
    verdict, judged = judge(comparisons)
    return Finding(
        headings=["network", *(f"test accuracy, {arm}, %" for arm in arms)],
        rows=[
            [CASES[case][0], *(in_words(mean_of(of[arm])) for arm in arms)]
            for case, of in accuracy.items()
        ],
        verdict=verdict,
        summary="Without batch norm a network loses five points or more of test accuracy: "
        f"{in_a_sentence(judged, 'points')}.",
        panels=[
            Panel(
                title="Each network with each norm",
                x="network",
                y="test accuracy, %",
                lines={
                    arm: (
                        [name for name, _ in CASES.values()],
                        np.array([of[arm] for of in accuracy.values()]),
                    )
                    for arm in arms
                },
            )
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows),
    )
