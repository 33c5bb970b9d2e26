"""The largest rate at which residual networks learn, and how large the sums in them become."""

from collections.abc import Mapping, Sequence

import numpy as np
from findings import Finding, Panel
from step_size_by_depth.collect import ACCURACIES, SIZES
from values import Row, Values, accuracy, at_best, extent, tuned, values_of
from verdicts import HOLDS, NOT_SHOWN, REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # decades: a factor of ten
LEARNS = 20.0  # percent: twice what guessing has
PREDICTED = {"5": REFUTED, "10": NOT_SHOWN, "20": HOLDS}  # by the number of blocks
ARMS = ("batch_norm", "no_norm")
# Of what a block of infinite width adds, beside what the one before it did, without a norm: the
# root of (g² - 3/2) (g - 1) = 1/π. A ReLU keeps half of the mean square; its mean, which is that
# root over the root of 2π, adds up in the same direction in all blocks.
GROWTH = 1.4737


def measure(rows: Sequence[Row]) -> Finding:
    """Decades that batch norm gains: of the largest rate, and of the growth over the blocks."""
    values = values_of([row for row in rows if row["part"] == "training"], ACCURACIES)
    sizes = sizes_of([row for row in rows if row["part"] == "untrained"])
    rates = np.array([float(rate) for rate in values.labels["learning_rate"]])
    networks = {(n, arm): values.at({"blocks": n, "arm": arm}) for n in PREDICTED for arm in ARMS}
    accuracies = {key: accuracy(of) for key, of in networks.items()}
    largest = {key: largest_rate(rates, of) for key, of in accuracies.items()}
    growth = {arm: np.log10(of["size"][-1] / of["size"][0]) for arm, of in sizes.items()}
    comparisons = [
        Comparison(
            f"largest rate, {n} blocks",
            largest[n, "batch_norm"] - largest[n, "no_norm"],
            SMALLEST,
            predicted,
        )
        for n, predicted in PREDICTED.items()
    ]
    less = growth["no_norm"] - growth["batch_norm"]
    comparisons.append(
        Comparison("growth of what blocks add, before training", less, SMALLEST, HOLDS)
    )
    verdict, judged = judge(comparisons)
    times = ", ".join(
        f"{float(f'{10**of.effect.value:.2g}'):,g} times as large with {n} blocks"
        for n, of in zip(PREDICTED, judged, strict=False)
    )
    num_blocks = len(sizes["no_norm"]["size"])
    x = list(range(1, num_blocks + 1))
    return Finding(
        headings=[
            *("network", "largest rate at which it learns, log10"),
            *("test accuracy, own best rate, %", "at the rate that suits no norm best, %"),
        ],
        rows=[
            [
                f"{n} blocks, {arm}",
                in_words(mean_of(largest[n, arm])) + censored(accuracies[n, arm]),
                in_words(mean_of(at_best(networks[n, arm]))),
                in_words(mean_of(at_rate_of(networks[n, "no_norm"], networks[n, arm]))),
            ]
            for n, arm in networks
        ],
        verdict=verdict,
        summary="The largest learning rate at which a residual network still learns is, with "
        f"batch norm, {times}. Before training the last of {num_blocks} blocks adds numbers "
        f"{10 ** growth['no_norm'].mean():,.0f} times as large as the first without batch norm, "
        f"and {10 ** growth['batch_norm'].mean():.1f} times with it.",
        panels=[
            *(
                Panel(
                    title=f"{n} residual blocks",
                    x="learning rate",
                    y="test accuracy, %",
                    lines={arm: (rates, accuracies[n, arm]) for arm in ARMS},
                    log_x=True,
                )
                for n in PREDICTED
            ),
            Panel(
                title="What a block adds, before training",
                x="block, from the input",
                y="root of the mean square",
                lines={arm: (x, sizes[arm]["size"]) for arm in ARMS}
                | {
                    "no_norm, of the units' means": (x, sizes["no_norm"]["mean"]),
                    "theory": (x, in_theory(sizes["no_norm"]["size"])),
                },
                log_y=True,
            ),
            Panel(
                title="The largest rate at which a network learns",
                x="residual blocks",
                y="learning rate",
                lines={
                    arm: (
                        [int(n) for n in PREDICTED],
                        10 ** np.array([largest[n, arm] for n in PREDICTED]),
                    )
                    for arm in ARMS
                },
                log_y=True,
            ),
        ],
        headline=ARMS,
        judged=judged,
        unit="decades (1: a factor of 10)",
        **extent([row for row in rows if row["part"] == "training"], (*ACCURACIES, *SIZES)),
    )


def sizes_of(rows: Sequence[Row]) -> dict[str, dict[str, np.ndarray]]:
    """What untrained blocks add, by arm and measure: each (blocks, splits)."""
    values = values_of(rows, SIZES)
    found = {}
    for arm in ARMS:
        of: Mapping[str, np.ndarray] = values.at({"arm": arm}).measures
        found[arm] = {
            kind: np.array([of[name].mean(-1) for name in SIZES if name.startswith(kind)])
            for kind in ("size", "mean")
        }
    return found


def largest_rate(rates: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """log10 of the largest rate at which each split's network learns; of the least, if none is.

    >>> largest_rate(np.array([0.1, 1.0, 10.0]), np.array([[90.0, 9], [90, 9], [9, 9]])).tolist()
    [0.0, -1.0]
    """
    learns = accuracies > LEARNS
    last = len(rates) - 1 - learns[::-1].argmax(0)
    return np.log10(rates[np.where(learns.any(0), last, 0)])


def censored(accuracies: np.ndarray) -> str:
    """A mark where some split's network learns at the end of the grid, or nowhere on it."""
    learns = accuracies > LEARNS
    return " or more" if learns[-1].any() else "" if learns.any(0).all() else " or less"


def at_rate_of(suited: Values, values: Values) -> np.ndarray:
    """Test accuracy of each split, in percent, at the rate that suits another arm."""
    chosen = tuned(suited.measures["val_accuracy"], values.measures["test_accuracy"])
    return 100 * chosen.mean(-1)


def in_theory(sizes: np.ndarray) -> np.ndarray:
    """Sizes (blocks, splits) that grow by `GROWTH`, up to what the last block adds."""
    return sizes[-1] * GROWTH ** np.arange(1.0 - len(sizes), 1)[:, None]
