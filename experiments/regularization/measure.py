"""What batch normalization and dropout gain where a network can overfit."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, Values, extent, tuned, values_of
from verdicts import HOLDS, NOT_SHOWN, REFUTED, Comparison, in_words, judge, mean_of

GAINED = 1.0  # points of test accuracy that a regularizer should gain
LOST = -1.0  # points that a network may lose where dropout isn't needed
MEASURES = ("train_accuracy", "val_accuracy", "test_accuracy")
DROPOUTS = (0.0, 0.2, 0.5)
ARMS = {
    "no_norm": ("no_norm",),
    "dropout, no_norm": ("dropout 0.2, no_norm", "dropout 0.5, no_norm"),
    "batch_norm": ("batch_norm",),
    "dropout, batch_norm": ("dropout 0.2, batch_norm", "dropout 0.5, batch_norm"),
    "ghost_norm": ("ghost_norm",),
    "layer_norm": ("layer_norm",),
}
PREDICTED = {
    "few examples": (NOT_SHOWN, HOLDS),
    "wrong labels": (REFUTED, REFUTED),
}


def measure(rows: Sequence[Row]) -> Finding:
    """What each arm comes to at its best rate, and at its best dropout."""
    values = values_of(rows, MEASURES)
    comparisons, table, panels, gaps = [], [], [], []
    for data, (of_norm, of_dropout) in PREDICTED.items():
        here = values.at({"data": data})
        found = {arm: at_best(here, parts, "test_accuracy") for arm, parts in ARMS.items()}
        trained = {arm: at_best(here, parts, "train_accuracy") for arm, parts in ARMS.items()}
        gained = found["batch_norm"] - found["no_norm"]
        lost = found["batch_norm"] - found["dropout, batch_norm"]
        comparisons += [
            Comparison(f"{data}: batch norm over nothing", gained, GAINED, of_norm),
            Comparison(f"{data}: batch norm over both", lost, LOST, of_dropout),
        ]
        for arm, accuracies in found.items():
            numbers = (trained[arm], accuracies, trained[arm] - accuracies)
            table.append([f"{data}, {arm}", *(in_words(mean_of(of)) for of in numbers)])
        panels.append(over_dropout(here, data.capitalize(), "test accuracy, %", ("test_accuracy",)))
        difference = ("train_accuracy", "test_accuracy")
        gaps.append(
            over_dropout(
                here,
                f"{data.capitalize()}: the gap",
                "training less test accuracy, points",
                difference,
            )
        )
    verdict, judged = judge(comparisons)
    few, _, wrong, _ = (of.effect.value for of in judged)
    _, with_few, _, with_wrong = (-of.effect.value for of in judged)
    return Finding(
        headings=["data, network", "training accuracy, %", "test accuracy, %", "gap, points"],
        rows=table,
        verdict=verdict,
        summary="Where training examples are few, batch norm changes test accuracy by "
        f"{few:.1f} points, and dropout beside it by another {with_few:.1f}. Where many labels are "
        f"wrong, batch norm changes it by {wrong:.1f} points, and dropout beside it brings "
        f"{with_wrong:.1f} back.",
        panels=panels + gaps,
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows, MEASURES),
    )


def at_best(values: Values, arms: Sequence[str], measure: str) -> np.ndarray:
    """A measure of each split, in percent, at the rate and the dropout that suit the others."""
    parts = [values.at({"arm": arm}).measures for arm in arms]
    val, found = (np.concatenate([part[name] for part in parts]) for name in (MEASURES[1], measure))
    return 100 * tuned(val, found).mean(-1)


def over_dropout(values: Values, title: str, y: str, names: Sequence[str]) -> Panel:
    """A measure, or the first less the second, over the dropout, at each one's best rate."""
    lines = {}
    for norm in ("batch_norm", "no_norm", "ghost_norm", "layer_norm"):
        arms = {
            dropout: f"dropout {dropout:g}, {norm}" if dropout else norm for dropout in DROPOUTS
        }
        there = {dropout: arm for dropout, arm in arms.items() if arm in values.labels["arm"]}
        first, *others = (
            np.array([at_best(values, (arm,), name) for arm in there.values()]) for name in names
        )
        lines[norm] = (list(there), first - sum(others))
    return Panel(title=title, x="part of the units that dropout drops", y=y, lines=lines)
