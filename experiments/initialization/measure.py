"""How accurate a network is over the scales of its initial weights, by depth and optimizer."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, at_best, extent, values_of
from verdicts import HOLDS, REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 5.0  # points of accuracy, in the mean over the gains
LEARNS = 90.0  # percent
OPTIMIZERS = {"sgd": "gradient descent", "adam": "Adam"}
PREDICTED = {
    ("sgd", "2"): HOLDS,
    ("sgd", "10"): HOLDS,
    ("adam", "2"): REFUTED,
    ("adam", "10"): HOLDS,
}


def measure(rows: Sequence[Row]) -> Finding:
    """Each network's mean accuracy over the gains, at each gain's best rate."""
    values = values_of(rows)
    gains = values.labels["gain"]
    x = [float(gain) for gain in gains]
    comparisons, table, panels = [], [], []
    for (optimizer, depth), predicted in PREDICTED.items():
        network = f"{depth} layers, {OPTIMIZERS[optimizer]}"
        lines = {}
        for arm in values.labels["arm"]:
            chosen = values.at({"arm": arm, "optimizer": optimizer, "depth": depth})
            lines[arm] = np.array([at_best(chosen.at({"gain": gain})) for gain in gains])
            means = lines[arm].mean(-1)
            learns = [gain for gain, mean in zip(gains, means, strict=True) if mean > LEARNS]
            table.append(
                [
                    f"{network}, {arm}",
                    in_words(mean_of(lines[arm].mean(0))),
                    f"{float(learns[0]):g} to {float(learns[-1]):g}" if learns else "none",
                ]
            )
        gain_of_norm = lines["batch_norm"].mean(0) - lines["no_norm"].mean(0)
        comparisons.append(Comparison(network, gain_of_norm, SMALLEST, predicted))
        panels.append(
            Panel(
                title=network,
                x="factor of the hidden layers' initial kernels",
                y="test accuracy, %",
                lines={arm: (x, of) for arm, of in lines.items()},
                log_x=True,
            )
        )
    verdict, judged = judge(comparisons)
    words = ", ".join(f"{of.effect.value:.1f} ({of.name})" for of in judged)
    return Finding(
        headings=[
            *("network", "mean accuracy over all factors, %"),
            f"factors with more than {LEARNS:.0f}%",
        ],
        rows=table,
        verdict=verdict,
        summary="In the mean over initial weights from a thousandth to a thousand times as large, "
        f"batch norm gains so many points of test accuracy: {words}.",
        panels=panels,
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows),
    )
