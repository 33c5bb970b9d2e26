"""How accurate networks are with batch norm and without, each at its best point."""

from collections.abc import Iterable, Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, at_best, extent, values_of
from verdicts import HOLDS, NOT_SHOWN, REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
CASES = {  # by the config's name: in words, and what is predicted
    "digits": ("digits", REFUTED),
    "breast_cancer": ("breast cancer", REFUTED),
    "wine": ("wine", NOT_SHOWN),
    "cnn": ("digits, convolutional", REFUTED),
    "mnist": ("MNIST", REFUTED),
    "fashion_mnist": ("Fashion-MNIST", REFUTED),
    "fashion_mnist_cnn": ("Fashion-MNIST, convolutional", REFUTED),
    "cifar10_resnet18": ("CIFAR-10, ResNet-18", HOLDS),
}
PANELS = {
    "Small tables": ("digits", "breast_cancer", "wine"),
    "Images": ("cnn", "mnist", "fashion_mnist"),
    "Convolutions on an accelerator": ("fashion_mnist_cnn", "cifar10_resnet18"),
}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that batch norm gains on each data set."""
    accuracy = accuracies_of(rows, CASES)
    arms = list(next(iter(accuracy.values())))
    comparisons = [
        Comparison(CASES[case][0], of["batch_norm"] - of["no_norm"], SMALLEST, CASES[case][1])
        for case, of in accuracy.items()
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
        summary="Points of test accuracy that batch norm gains, each network at its best "
        f"learning rate and weight decay: {gains}.",
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
            if accuracy.keys() >= set(cases)
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows),
    )


def accuracies_of(rows: Sequence[Row], cases: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
    """Each arm's test accuracy of each split, in percent, by the configs that were run."""
    found = {}
    for case in cases:
        if of_case := [row for row in rows if row["config"] == case]:
            values = values_of(of_case)
            found[case] = {arm: at_best(values.at({"arm": arm})) for arm in values.labels["arm"]}
    return found
