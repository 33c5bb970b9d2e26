"""Time to an accuracy, with batch norm and without: steps times what a step takes."""

from collections.abc import Sequence

import numpy as np
from convergence.collect import MEASURES, NETWORKS, TARGETS
from convergence.measure import halvings, mean_over_targets, padded
from findings import Finding, Panel
from training_time.collect import SECONDS
from values import Row, extent, values_of
from verdicts import HOLDS, NOT_SHOWN, Comparison, Estimate, in_words, judge, mean_of

SMALLEST = 0.3  # halvings of the time: about a fifth less
PREDICTED = {
    "article's network, digits": NOT_SHOWN,
    "convolutions, digits": NOT_SHOWN,
    "sigmoids, digits": HOLDS,
    "sigmoids, MNIST": HOLDS,
}


def measure(rows: Sequence[Row]) -> Finding:
    """Each network's time to its targets; its halvings in the mean over the targets."""
    values = values_of(rows, (*MEASURES.values(), SECONDS))
    comparisons, table, panels = [], [], []
    for title, predicted in PREDICTED.items():
        network = NETWORKS[title]
        doublings, never = {}, {}
        for arm in values.labels["arm"]:
            found = values.at({"network": title, "arm": arm}).measures
            steps = np.array([found[MEASURES[of]].mean(-1) for of in network.targets])
            a_step = found[SECONDS].mean(-1)
            never[arm] = np.isinf(steps)
            seconds = np.minimum(steps, network.num_steps + network.every) * a_step
            doublings[arm] = np.log2(1e3 * seconds)
            times = padded([_cell(of) for of in doublings[arm]])
            table.append([f"{title}, {arm}", _cell(np.log2(1e6 * a_step)), *times])
        saved = halvings(doublings, never)
        comparisons.append(Comparison(title, mean_over_targets(saved), SMALLEST, predicted))
        panels.append(
            Panel(
                title=title,
                x="accuracy to reach, %",
                y="milliseconds to it",
                lines={arm: (list(network.targets), 2**of) for arm, of in doublings.items()},
                log_y=True,
            )
        )
    verdict, judged = judge(comparisons)
    words = ", ".join(f"{2**of.effect.value:.1f} times as much ({of.name})" for of in judged)
    return Finding(
        headings=["network", "µs a step", *(f"ms to {target}%" for target in TARGETS)],
        rows=table,
        verdict=verdict,
        summary="To reach the same accuracy a network needs more time without batch norm than with "
        f"it, in the mean over several accuracies: {words}.",
        panels=panels,
        headline=("batch_norm", "no_norm"),
        judged=judged,
        unit="halvings of the time (1: half of it)",
        **extent(rows) | {"num_trainings": 0},  # nothing is trained
    )


def _cell(doublings: np.ndarray) -> str:
    """The geometric mean of what has these binary logarithms, with its interval."""
    found = Estimate(*(2**number for number in mean_of(doublings)))
    return in_words(found, ".3g" if found.value < 100 else ".0f")
