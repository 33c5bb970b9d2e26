"""How far the first layer's gradient is from the error at the logits, and who learns from it."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, Values, at_best, extent, values_of
from vanishing_gradients.collect import STEPS
from verdicts import HOLDS, REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # decades
LEARNS_BETTER = 10.0  # points of accuracy, or what came back counts as nothing
LOOKED_AT = 1  # the place of the rate at which gradients are looked at among a program's rates
TINY = float(np.finfo(np.float32).tiny)  # in the place of a gradient of 0
SIZES = tuple(f"{name}_{step}" for name in ("first", "last", "error") for step in STEPS)
MEASURES = (*SIZES, "val_accuracy", "test_accuracy")
# Without batch norm the gradient vanishes in them: it is over two decades smaller than the error.
PREDICTED = {
    ("sigmoid", "5"): HOLDS,
    ("sigmoid", "20"): HOLDS,
    ("sigmoid", "50"): HOLDS,
    ("ReLU", "20"): HOLDS,
    ("ReLU", "50"): REFUTED,
}
BESIDE = (("ReLU, shortcuts", "50"), ("ReLU, gradient descent", "50"))  # shown, not judged
ARMS = ("batch_norm", "no_norm")


def measure(rows: Sequence[Row]) -> Finding:
    """Decades that batch norm brings the gradient nearer to the error, where it is learned from."""
    names = list(dict.fromkeys((row["case"], row["depth"]) for row in rows))
    networks = {
        (case, depth): values_of(
            [row for row in rows if (row["case"], row["depth"]) == (case, depth)], MEASURES
        )
        for case, depth in names
    }
    verdict, judged = judge(
        [
            Comparison(in_short(network), nearer(networks[network]), SMALLEST, predicted)
            for network, predicted in PREDICTED.items()
        ]
    )
    accuracy = {
        (network, arm): at_best(values.at({"arm": arm}))
        for network, values in networks.items()
        for arm in ARMS
    }
    words = "; ".join(
        f"{in_short(network)} "
        + " instead of ".join(f"{accuracy[network, arm].mean():.0f}%" for arm in ARMS)
        for network in PREDICTED
    )
    return Finding(
        headings=[
            *("network", "norm of the first layer's gradient, at the start"),
            *("decades above the error at the logits, at the start", "after 1 step"),
            *(f"after {step}" for step in STEPS[2:]),
            *("decades above the last layer's, at the start", "after 1 step", "accuracy, %"),
        ],
        rows=[
            [f"{in_short(network)}, {arm}", *cells(values.at({"arm": arm}))]
            for network, values in networks.items()
            for arm in ARMS
        ],
        verdict=verdict,
        summary="Where the first layer's gradient vanishes without batch norm, with it it is as "
        "large as the error at the output, or larger. Not every network learns from it. Test "
        f"accuracy with batch norm instead of without: {words}.",
        panels=[panel_of(network, networks[network]) for network in (*PREDICTED, *BESIDE)]
        + [
            Panel(
                title="What they learn in five epochs, at the best rate",
                x="network, and its hidden layers",
                y="test accuracy, %",
                lines={
                    arm: (
                        [f"{case}, {depth}" for case, depth in PREDICTED],
                        np.array([accuracy[network, arm] for network in PREDICTED]),
                    )
                    for arm in ARMS
                },
            )
        ],
        headline=ARMS,
        judged=judged,
        unit="decades (1: a factor of 10)",
        **extent(rows, MEASURES),
    )


def nearer(values: Values) -> np.ndarray:
    """Decades by which batch norm brings a network's gradient nearer to the error, at the start.

    0 where the network doesn't learn better by `LEARNS_BETTER`. Of each split.
    """
    batch, none = (values.at({"arm": arm}) for arm in ARMS)
    gained = np.abs(at_start(none)) - np.abs(at_start(batch))
    return np.where(at_best(batch) - at_best(none) >= LEARNS_BETTER, gained, 0.0)


def at_start(values: Values) -> np.ndarray:
    """Decades from the error at the logits to the first layer's gradient, of each split."""
    return decades(values, "error", 0)


def decades(values: Values, below: str, step: int) -> np.ndarray:
    """log10 of the first layer's gradient over another size, of each split."""
    first, other = (
        np.log10(np.maximum(values.measures[f"{name}_{step}"][LOOKED_AT], TINY))
        for name in ("first", below)
    )
    return (first - other).mean(-1)


def cells(values: Values) -> list[str]:
    """A network's row of the table, in an arm."""
    size = 10 ** np.log10(np.maximum(values.measures["first_0"][0], TINY)).mean()
    return [
        f"{size:.1e}",
        in_words(mean_of(at_start(values))),
        *(f"{decades(values, 'error', step).mean():z.1f}" for step in STEPS[1:]),
        *(f"{decades(values, 'last', step).mean():z.1f}" for step in STEPS[:2]),
        in_words(mean_of(at_best(values))),
    ]


def panel_of(network: tuple[str, str], values: Values) -> Panel:
    """A network's gradient as it is trained."""
    return Panel(
        title=in_short(network),
        x="steps of training, at a rate of 0.001 (gradient descent: 0.1)",
        y="gradient of the first layer, over the error at the logits",
        lines={
            arm: (
                [str(step) for step in STEPS],
                10 ** np.array([decades(values.at({"arm": arm}), "error", s) for s in STEPS]),
            )
            for arm in ARMS
        },
        log_y=True,
    )


def in_short(network: tuple[str, str]) -> str:
    """A network in words."""
    case, depth = network
    return f"{case}, {depth} layers"
