"""How much less accurate networks of several architectures are without batch norm."""

from collections.abc import Sequence

import numpy as np
from accuracy.measure import accuracies_of
from findings import Finding, Panel
from values import Row, extent
from verdicts import HOLDS, NOT_SHOWN, REFUTED, Comparison, in_a_sentence, in_words, judge, mean_of

SMALLEST = 5.0  # points of test accuracy
CASES = {  # by the config's name: in words, and what is predicted
    "article": ("two layers of ReLU", REFUTED),
    "deep_relu": ("ten layers of ReLU", REFUTED),
    "deep_sigmoid": ("ten layers of sigmoids", HOLDS),
    "cnn": ("a small convolutional network", REFUTED),
    "resnet": ("a small ResNet-18", REFUTED),
    "cifar10_resnet18": ("ResNet-18 on CIFAR-10", NOT_SHOWN),
}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that each architecture loses without batch norm."""
    accuracy = accuracies_of(rows, CASES)
    arms = list(next(iter(accuracy.values())))
    comparisons = [
        Comparison(CASES[case][0], of["batch_norm"] - of["no_norm"], SMALLEST, CASES[case][1])
        for case, of in accuracy.items()
    ]
    verdict, judged = judge(comparisons)
    return Finding(
        headings=["network", *(f"test accuracy, {arm}, %" for arm in arms)],
        rows=[
            [CASES[case][0], *(in_words(mean_of(of[arm])) for arm in arms)]
            for case, of in accuracy.items()
        ],
        verdict=verdict,
        summary="Whether a network loses five points or more of test accuracy without batch norm: "
        f"{in_a_sentence(judged, 'points')}.",
        panels=[
            Panel(
                title="Each network with each norm",
                x="network",
                y="test accuracy, %",
                lines={
                    arm: (
                        [CASES[case][0] for case in accuracy],
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
