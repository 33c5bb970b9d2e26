"""How much better recomputed statistics evaluate than running ones, by batch size and length."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, accuracy, extent, values_of
from verdicts import HOLDS, NOT_SHOWN, REFUTED, Comparison, in_a_sentence, in_words, judge, mean_of

SMALLEST = 1.0  # points of test accuracy
PREDICTED = {
    "0.9": {"2": HOLDS, "4": NOT_SHOWN, "8": REFUTED},
    "0.99": {"2": NOT_SHOWN, "4": REFUTED, "8": REFUTED},
}
EPOCHS = ("1", "10")
ALL = "recomputed 1440"
LINES = {
    "recomputed": ALL,
    "running, 0.9": "running 0.9",
    "running, 0.99": "running 0.99",
}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that running statistics lose against recomputed ones."""
    values = values_of(rows, ("test_accuracy",))
    sizes = values.labels["batch_size"]
    kinds = values.labels["statistics"]
    found = {
        (kind, epochs): accuracy(values.at({"statistics": kind, "epochs": epochs}))
        for kind in kinds
        for epochs in values.labels["epochs"]
    }
    comparisons = []
    for momentum, predicted in PREDICTED.items():
        lost = found[ALL, "10"] - found[f"running {momentum}", "10"]
        comparisons += [
            Comparison(
                f"batches of {size} and momentum {momentum}",
                lost[sizes.index(size)],
                SMALLEST,
                outcome,
            )
            for size, outcome in predicted.items()
        ]
    verdict, judged = judge(comparisons)
    x = [int(size) for size in sizes]
    return Finding(
        headings=["batches, epochs", *(f"test accuracy, {kind}, %" for kind in kinds)],
        rows=[
            [
                f"{size}, {epochs}",
                *(in_words(mean_of(found[kind, epochs][n])) for kind in kinds),
            ]
            for epochs in EPOCHS
            for n, size in enumerate(sizes)
        ],
        verdict=verdict,
        summary="Whether statistics that are recomputed over the training examples gain after ten "
        "epochs a point or more of test accuracy over running ones: "
        f"{in_a_sentence(judged, 'points')}.",
        panels=[
            *(
                Panel(
                    title=f"{epochs} epoch{'s' if epochs != '1' else ''}",
                    x="batch size",
                    y="test accuracy, %",
                    lines={name: (x, found[kind, epochs]) for name, kind in LINES.items()},
                    log_x=True,
                )
                for epochs in reversed(EPOCHS)
            ),
            Panel(
                title="Batches of 2 over the training",
                x="epochs",
                y="test accuracy, %",
                lines={
                    name: (
                        [int(epochs) for epochs in values.labels["epochs"]],
                        np.array([found[kind, epochs][0] for epochs in values.labels["epochs"]]),
                    )
                    for name, kind in LINES.items()
                },
            ),
            Panel(
                title="Examples that statistics are recomputed over, 10 epochs",
                x="examples",
                y="test accuracy, %",
                lines={
                    f"batches of {size}": (
                        [int(kind.split()[1]) for kind in kinds if kind.startswith("recomputed")],
                        np.array(
                            [
                                found[kind, "10"][n]
                                for kind in kinds
                                if kind.startswith("recomputed")
                            ]
                        ),
                    )
                    for n, size in enumerate(sizes)
                },
                log_x=True,
            ),
        ],
        headline=("recomputed", "running, 0.99"),
        judged=judged,
        **extent(rows, ("test_accuracy",), evaluated=("statistics", "epochs")),
    )
