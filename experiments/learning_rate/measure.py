"""How accurate a network is over all learning rates, by depth and optimizer."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, accuracy, extent, values_of
from verdicts import HOLDS, Comparison, in_words, judge, mean_of

SMALLEST = 5.0  # points of accuracy, in the mean over the rates
OPTIMIZERS = {"sgd": "gradient descent", "adam": "Adam"}
TOLERANCES = (1, 2, 5, 10)  # points below the best
LEARNS = 50.0  # percent


def measure(rows: Sequence[Row]) -> Finding:
    """Each network's mean accuracy over the rates, and how much of them is near the best."""
    comparisons, table, panels = [], [], []
    for optimizer, words in OPTIMIZERS.items():
        values = values_of(row for row in rows if row["config"] == optimizer)
        rates = np.array([float(rate) for rate in values.labels["optimizer.learning_rate"]])
        for sizes in values.labels["model.hidden_sizes"]:
            network = f"{sizes.count(',') + 1} layers, {words}"
            lines = {}
            for arm in values.labels["arm"]:
                lines[arm] = accuracy(values.at({"arm": arm, "model.hidden_sizes": sizes}))
                means = lines[arm].mean(-1)  # of each rate
                table.append(
                    [
                        f"{network}, {arm}",
                        in_words(mean_of(lines[arm].mean(0))),
                        *(f"{decades(means, rates, tolerance):.1f}" for tolerance in TOLERANCES),
                        _rate(rates[means.argmax()]),
                        largest_that_learns(means, rates),
                    ]
                )
            gain = lines["batch_norm"].mean(0) - lines["no_norm"].mean(0)
            comparisons.append(Comparison(network, gain, SMALLEST, HOLDS))
            panels.append(
                Panel(
                    title=network,
                    x="learning rate",
                    y="test accuracy, %",
                    lines={arm: (rates, of) for arm, of in lines.items()},
                    log_x=True,
                )
            )
    verdict, judged = judge(comparisons)
    gains = [of.effect.value for of in judged]
    return Finding(
        headings=[
            *("network", "mean accuracy over all rates, %"),
            *(f"decades within {t} of the best" for t in TOLERANCES),
            *("best rate", "largest that learns"),
        ],
        rows=table,
        verdict=verdict,
        summary="A network with batch norm goes on learning at rates that are far too high without "
        f"it. In the mean over all rates it gains from {min(gains):.0f} to {max(gains):.0f} points "
        "of test accuracy, by depth and optimizer.",
        panels=panels,
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows),
    )


def decades(accuracy: np.ndarray, rates: np.ndarray, tolerance: float) -> float:
    """How many decades of rates are within a tolerance of the best; each stands for its step.

    >>> decades(np.array([10.0, 97, 99, 98, 10]), np.logspace(0, 2, 5), 1)
    1.0
    """
    near = (accuracy >= accuracy.max() - tolerance).sum()
    return float(near * np.log10(rates[1] / rates[0]))


def largest_that_learns(accuracy: np.ndarray, rates: np.ndarray) -> str:
    """The largest rate of at least this accuracy; where that is the last, more may learn.

    >>> rates = np.array([0.1, 1.0, 10.0])
    >>> [largest_that_learns(np.array(a), rates) for a in ([90, 60, 10], [90, 60, 60])]
    ['1', '≥ 10']
    """
    learns = np.flatnonzero(accuracy >= LEARNS)
    if not len(learns):
        return "none"
    return ("≥ " if learns[-1] == len(rates) - 1 else "") + _rate(rates[learns[-1]])


def _rate(rate: float) -> str:
    return f"{float(f'{rate:.2g}'):g}"
