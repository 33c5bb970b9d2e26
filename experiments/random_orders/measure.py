"""How differently networks class images that differ in the order of the samples alone."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, extent, tuned, values_of
from verdicts import REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 0.5  # points of disagreement
MEASURES = ("val_accuracy", "test_accuracy", "disagreement")
NETWORKS = {
    ("adam", "2"): "2 layers, Adam",
    ("adam", "10"): "10 layers, Adam",
    ("sgd", "2"): "2 layers, gradient descent",
}


def measure(rows: Sequence[Row]) -> Finding:
    """The points of disagreement that batch norm takes away, each arm at its best rate."""
    found = {
        (network, arm): at_best_rate(rows, *network, arm)
        for network in NETWORKS
        for arm in ("batch_norm", "no_norm")
    }
    less = {
        network: found[network, "no_norm"]["disagreement"]
        - found[network, "batch_norm"]["disagreement"]
        for network in NETWORKS
    }
    comparisons = [
        Comparison(name, less[network], SMALLEST, REFUTED) for network, name in NETWORKS.items()
    ]
    verdict, judged = judge(comparisons)
    shares = "; ".join(
        f"{found[network, 'batch_norm']['disagreement'].mean():.1f}% with batch norm and "
        f"{found[network, 'no_norm']['disagreement'].mean():.1f}% without ({name})"
        for network, name in NETWORKS.items()
    )
    return Finding(
        headings=[
            "network",
            "images that two orders class otherwise, %",
            "test accuracy, %",
            "its standard deviation over orders, points",
        ],
        rows=[
            [
                f"{NETWORKS[network]}, {arm}",
                in_words(mean_of(of["disagreement"]), ".2f"),
                in_words(mean_of(of["test_accuracy"])),
                in_words(mean_of(of["spread"]), ".2f"),
            ]
            for (network, arm), of in found.items()
        ],
        verdict=verdict,
        summary="Two trainings that differ in the random order of the samples alone disagree on "
        f"some of the test images: {shares}.",
        panels=[
            Panel(
                title="Two random orders, all else alike",
                x="network",
                y="images classed otherwise, %",
                lines={
                    arm: (
                        list(NETWORKS.values()),
                        np.array([found[network, arm]["disagreement"] for network in NETWORKS]),
                    )
                    for arm in ("batch_norm", "no_norm")
                },
            )
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows, MEASURES),
    )


def at_best_rate(
    rows: Sequence[Row], optimizer: str, depth: str, arm: str
) -> dict[str, np.ndarray]:
    """Each measure of each split, in percent, at the rate that suits the other splits."""
    mine = [row for row in rows if (row["optimizer"], row["depth"]) == (optimizer, depth)]
    values = values_of(mine, MEASURES).at({"arm": arm})
    val = values.measures["val_accuracy"]
    best = {name: 100 * tuned(val, of) for name, of in values.measures.items()}
    spread = best["test_accuracy"].std(-1, ddof=1)
    return {name: of.mean(-1) for name, of in best.items()} | {"spread": spread}
