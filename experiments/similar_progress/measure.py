"""How evenly a training's progress is spread over its epochs."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from similar_progress.collect import LOSSES, NUM_EPOCHS
from values import Row, Values, extent, tuned, values_of
from verdicts import REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 10.0  # percent of all progress: the share of one epoch of ten
PREDICTED = {
    "article's network, gradient descent": REFUTED,
    "article's network, Adam": REFUTED,
    "sigmoids, gradient descent": REFUTED,
}
PASSED = (1 + np.arange(NUM_EPOCHS)) / NUM_EPOCHS  # the share of the epochs after each


def measure(rows: Sequence[Row]) -> Finding:
    """Unevenness of the progress of each network, without batch norm less with it."""
    comparisons, table, panels, said = [], [], [], []
    for title, predicted in PREDICTED.items():
        of_network = [row for row in rows if row["network"] == title]
        values = values_of(of_network, (*LOSSES, "val_accuracy"))
        uneven, lines = {}, {}
        for arm in values.labels["arm"]:
            losses = at_best(values.at({"arm": arm}))
            halvings = -np.diff(np.log2(losses), axis=0)
            uneven[arm] = 100 * unevenness(halvings).mean(-1)
            ahead = 100 * ahead_of_even(halvings).mean(-1)
            lines[arm] = (range(1, NUM_EPOCHS), ahead[:-1])
            firsts = [shares(progress)[0] for progress in (halvings, -np.diff(losses, axis=0))]
            table.append(
                [
                    f"{title}, {arm}",
                    in_words(mean_of(uneven[arm])),
                    *(in_words(mean_of(100 * share.mean(-1)), ".0f") for share in firsts),
                    in_words(mean_of(halvings.sum(0).mean(-1))),
                ]
            )
        gain = uneven["no_norm"] - uneven["batch_norm"]
        comparisons.append(Comparison(title, gain, SMALLEST, predicted))
        said.append(
            f"{uneven['batch_norm'].mean():.0f}% with batch norm and "
            f"{uneven['no_norm'].mean():.0f}% without ({title})"
        )
        panels.append(
            Panel(
                title=title,
                x="epoch",
                y="ahead of even, % of all progress",
                lines=lines,
            )
        )
    verdict, judged = judge(comparisons)
    return Finding(
        headings=[
            *("network", "unevenness, %", "the first epoch's share of the halvings, %"),
            *("of the loss's fall, %", "halvings in all"),
        ],
        rows=table,
        verdict=verdict,
        summary="No training makes even progress. Where it is farthest ahead of an even course, or "
        f"behind it, it is so by this part of its whole progress: {', '.join(said)}.",
        panels=panels,
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows, (*LOSSES, "val_accuracy")),
    )


def at_best(values: Values) -> np.ndarray:
    """Losses at the rate that suits the other splits best: (epochs + 1, splits, seeds)."""
    val = values.measures["val_accuracy"]
    return np.array([tuned(val, values.measures[name]) for name in LOSSES])


def shares(progress: np.ndarray) -> np.ndarray:
    """Each epoch's share of all progress, along the first axis; NaN where there is none in all."""
    total = progress.sum(0)
    return progress / np.where(total > 0, total, np.nan)


def ahead_of_even(progress: np.ndarray) -> np.ndarray:
    """The share of the progress that is made after each epoch, less that of the epochs."""
    return shares(progress).cumsum(0) - PASSED[:, None, None]


def unevenness(progress: np.ndarray) -> np.ndarray:
    """How far a training is at most ahead of an even course, or behind it.

    0 if all epochs make as much progress. The most is what it is if the first epoch makes all of
    it; a training that makes none in all has that, too.

    Args:
        progress: (epochs, splits, seeds).
    """
    most = 1 - PASSED[0]
    gap = np.abs(ahead_of_even(progress)).max(0)
    return np.where(np.isnan(gap), most, np.minimum(gap, most))
