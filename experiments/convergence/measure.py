"""Steps to an accuracy, with batch norm and without, each at its best rate."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
        doublings, never = {}, {}
        for arm in network.arms:
            at_best = [best_steps(values.at({"arm": arm}), of, network) for of in network.targets]
            doublings[arm] = np.array([np.log2(best.steps).mean(-1) for best in at_best])
            never[arm] = np.array([best.never.all(-1) for best in at_best])
            table.append([f"{title}, {arm}", *padded([_cell(best) for best in at_best])])
        saved = halvings(doublings, never)
        table.append([f"{title}, halvings", *padded([in_words(mean_of(of)) for of in saved])])
        effects = mean_over_targets(saved)
        comparisons.append(Comparison(title, effects, SMALLEST, predicted))
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
    words = ", ".join(f"{2**of.effect.value:.1f} times as many ({of.name})" for of in judged)
    return Finding(
        headings=["network", *(f"steps to {target}%, and the rate" for target in TARGETS)],
        rows=table,
        verdict=verdict,
        summary="To reach the same accuracy a network needs more steps without batch norm than "
        f"with it, in the mean over several accuracies: {words}.",
        panels=panels,
        headline=("batch_norm", "no_norm"),
        judged=judged,
        unit="halvings of the steps (1: half of it)",
        **extent(rows, tuple(MEASURES.values())),
    )


class Best(NamedTuple):
    """Steps to a target at each split's best rate: arrays of the shape (splits, seeds)."""

    steps: np.ndarray
    never: np.ndarray  # whether it was never reached; then steps are those of a probe beyond
    rate: np.ndarray


def best_steps(values: Values, target: int, network: Network) -> Best:
    """Steps to a target at the rate where the other splits need the fewest."""
    found = values.measures[MEASURES[target]]
    steps = np.clip(found, 1, network.num_steps + network.every)
    fewness = -np.log2(steps)
    rates = np.broadcast_to(np.array(network.rates)[:, None, None], steps.shape)
    return Best(*(tuned(fewness, of) for of in (steps, np.isinf(found), rates)))


def halvings(doublings: Mapping[str, np.ndarray], never: Mapping[str, np.ndarray]) -> np.ndarray:
    """How often what it takes without batch norm is halved with it, of each target and split.

    NaN where neither arm reached the target.

    Args:
        doublings: the binary logarithm of what it takes, by arm.
        never: whether the target was never reached.
    """
    saved = doublings["no_norm"] - doublings["batch_norm"]
    return np.where(never["no_norm"] & never["batch_norm"], np.nan, saved)


def mean_over_targets(saved: np.ndarray) -> np.ndarray:
    """The mean over those targets that an arm reached; NaN if there are none."""
    return np.asarray(np.ma.masked_invalid(saved).mean(0).filled(np.nan))


def _cell(best: Best) -> str:
    """Geometric mean of the steps with its interval, the rates, and how often it took more."""
    middle = mean_of(np.log2(best.steps).mean(-1))
    words = in_words(Estimate(*(2**number for number in middle)), ".0f")
    chosen = " or ".join(f"{rate:.2g}" for rate in np.unique(best.rate))
    more = f"; {best.never.sum()} of {best.never.size} never" if best.never.any() else ""
    return f"{words}, rate {chosen}{more}"


def padded(cells: Sequence[str]) -> list[str]:
    """A cell for each of all targets; a network has the first of them."""
    return [*cells, *[""] * (len(TARGETS) - len(cells))]
