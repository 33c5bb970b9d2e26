"""Steps to an accuracy, with batch norm and without, each at its best rate."""

from collections.abc import Sequence

import numpy as np
from convergence.collect import MEASURES, NETWORKS, TARGETS, Network
from findings import Finding, Panel
from values import Row, Values, extent, tuned, values_of
from verdicts import HOLDS, NOT_SHOWN, Comparison, Estimate, in_words, judge, mean_of

SMALLEST = 0.3  # halvings of the steps: about a fifth fewer
PREDICTED = {
    "article's network, digits": NOT_SHOWN,
    "convolutions, digits": NOT_SHOWN,
    "sigmoids, digits": HOLDS,
    "sigmoids, MNIST": HOLDS,
}


def measure(rows: Sequence[Row]) -> Finding:
    """Each network's steps to its targets; their halvings in the mean over the targets."""
    comparisons, table, panels = [], [], []
    for title, predicted in PREDICTED.items():
        network = NETWORKS[title]
        of_network = [row for row in rows if row["network"] == title]
        values = values_of(of_network, tuple(MEASURES.values()))
        doublings, reached = {}, {}
        for arm in network.arms:
            at_best = [best_steps(values.at({"arm": arm}), of, network) for of in network.targets]
            doublings[arm] = np.array([np.log2(steps).mean(-1) for steps, _, _ in at_best])
            reached[arm] = np.array([~never.all(-1) for _, never, _ in at_best])
            cells = [_cell(*best) for best in at_best]
            table.append([f"{title}, {arm}", *_padded(cells)])
        by_one = reached["no_norm"] | reached["batch_norm"]
        saved = np.ma.array(doublings["no_norm"] - doublings["batch_norm"], mask=~by_one)
        table.append(
            [
                f"{title}, halvings",
                *_padded([in_words(mean_of(of.filled(np.nan))) for of in saved]),
            ],
        )
        comparisons.append(Comparison(title, saved.mean(0).filled(np.nan), SMALLEST, predicted))
        panels.append(
            Panel(
                title=title,
                x="accuracy to reach, %",
                y=f"steps to it ({network.num_steps + network.every} if never)",
                lines={arm: (list(network.targets), 2**of) for arm, of in doublings.items()},
                log_y=True,
            )
        )
    verdict, judged = judge(comparisons)
    words = ", ".join(f"{2**of.effect.value:.1f} times ({of.name})" for of in judged)
    return Finding(
        headings=["network", *(f"steps to {target}%, and the rate" for target in TARGETS)],
        rows=table,
        verdict=verdict,
        summary="To reach the same accuracy without batch norm takes so many times the steps that "
        f"it takes with it, in the mean over the accuracies: {words}.",
        panels=panels,
        headline=("batch_norm", "no_norm"),
        judged=judged,
        unit="halvings of the steps",
        **extent(rows, tuple(MEASURES.values())),
    )


def best_steps(
    values: Values, target: int, network: Network
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps to a target at the rate where the other splits need the fewest.

    Who never reached it counts with the step of a probe after the last one.

    Returns:
        The steps, whether the target was never reached, and the rates: each (splits, seeds).
    """
    found = values.measures[MEASURES[target]]
    steps = np.minimum(found, network.num_steps + network.every)
    of_arm = -np.log2(np.maximum(steps, 1))
    rates = np.broadcast_to(np.array(network.rates)[:, None, None], steps.shape)
    best, never, rate = (tuned(of_arm, of) for of in (of_arm, np.isinf(found), rates))
    return 2**-best, never, rate


def _cell(steps: np.ndarray, never: np.ndarray, rates: np.ndarray) -> str:
    """Geometric mean of the steps with its interval, the rates, and how often it took more."""
    middle = mean_of(np.log2(steps).mean(-1))
    words = in_words(Estimate(*(2**number for number in middle)), ".0f")
    chosen = " or ".join(f"{rate:.2g}" for rate in np.unique(rates))
    more = f"; {never.sum()} of {never.size} never" if never.any() else ""
    return f"{words}, rate {chosen}{more}"


def _padded(cells: Sequence[str]) -> list[str]:
    """A cell for each of all targets; a network has the first of them."""
    return [*cells, *[""] * (len(TARGETS) - len(cells))]
