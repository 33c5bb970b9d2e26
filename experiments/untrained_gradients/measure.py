"""How large the first layer's gradient is in an untrained network, and how it grows on its way."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from untrained_gradients.collect import ARMS, DEPTH, NETWORKS
from values import Row, extent, values_of
from verdicts import HOLDS, REFUTED, Comparison, in_words, judge, mean_of

# Yang et al., 2019: what the squared gradient of a ReLU network grows by in each layer, towards the
# input, with batch normalization over a large batch.
THEORY = np.pi / (np.pi - 1)
SMALLEST = 1.0  # decades
LAYERS = tuple(f"layer_{n + 1}" for n in range(DEPTH))
WIDTHS = {"width 64": 64, "width 256": 256, "width 1024": 1024}
PREDICTED = dict.fromkeys(WIDTHS, REFUTED) | {
    "width 64, weights twice as large": HOLDS,
    "width 64, shortcuts": HOLDS,
}


def measure(rows: Sequence[Row]) -> Finding:
    """Decades by which the first layer's gradient is smaller with batch norm than without."""
    values = values_of(rows, ("error", *LAYERS))
    norms = {}  # of each layer's gradient, over the error: (splits, layers)
    for name in NETWORKS:
        for arm in ARMS:
            found = values.at({"network": name, "arm": arm}).measures
            layers = np.array([found[layer] for layer in LAYERS])
            norms[name, arm] = (layers / found["error"]).mean(-1).T
    first = {key: np.log10(of[:, 0]) for key, of in norms.items()}
    verdict, judged = judge(
        [
            Comparison(name, first[name, "no_norm"] - first[name, "batch_norm"], SMALLEST, of)
            for name, of in PREDICTED.items()
        ]
    )
    effects = {of.name: of.effect.value for of in judged}
    well = sorted(float(f"{10 ** -effects[name]:.2g}") for name in WIDTHS)
    growths = {key: growth_of_squares(of) for key, of in norms.items()}
    return Finding(
        headings=[
            *("50 layers", "factor of the squared gradient, a layer"),
            *("decades, first layer over the last", "decades, first layer over the error"),
        ],
        rows=[
            [
                f"{name}, {arm}",
                in_words(mean_of(growths[name, arm]), ".3f"),
                in_words(mean_of(np.log10(of[:, 0] / of[:, -1]))),
                in_words(mean_of(first[name, arm])),
            ]
            for (name, arm), of in norms.items()
        ]
        + [["theory for infinite width, batch_norm", f"{THEORY:.3f}", "", ""]],
        verdict=verdict,
        summary="Before training, batch norm makes the gradient of the first of 50 layers of ReLU "
        f"{well[0]:,.0f} to {well[-1]:,.0f} times as large, by width, where the weights are of the "
        "right size. Where they are twice as large it makes it smaller by "
        f"{effects['width 64, weights twice as large']:.0f} factors of ten, and with shortcuts by "
        f"{effects['width 64, shortcuts']:.0f}.",
        panels=[
            Panel(
                title=name,
                x="hidden layer, from the input",
                y="norm of its gradient, over the error at the logits",
                lines={arm: (list(range(1, DEPTH + 1)), norms[name, arm].T) for arm in ARMS},
                log_y=True,
            )
            for name in PREDICTED
        ]
        + [
            Panel(
                title="How the squared gradient grows, a layer",
                x="width of the hidden layers",
                y="factor of the squared gradient",
                lines={
                    arm: (list(WIDTHS.values()), np.array([growths[name, arm] for name in WIDTHS]))
                    for arm in ARMS
                }
                | {"theory": (list(WIDTHS.values()), np.full((len(WIDTHS), 2), THEORY))},
                log_x=True,
            )
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        unit="decades (1: a factor of 10)",
        **extent(rows) | {"num_trainings": 0},  # none before the first step
    )


def growth_of_squares(norms: np.ndarray) -> np.ndarray:
    """By what factor squared norms (splits, layers) grow from a layer to the one before it.

    The slope of a line through their logarithms, without the first and the last tenth.

    >>> growth_of_squares(np.array([2.0 ** -np.arange(20)])).round(6).tolist()
    [4.0]
    """
    layers = np.arange(norms.shape[-1])
    inner = slice(len(layers) // 10, len(layers) - len(layers) // 10)
    slopes = np.polyfit(layers[inner], np.log(norms[:, inner].T ** 2), 1)[0]
    return np.exp(-slopes)
