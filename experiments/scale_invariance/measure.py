"""At which rates of the hidden layers a network learns, and what becomes of the sizes of steps."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from scale_invariance.collect import ACCURACIES, HIDDEN, NORMS, STEPS, THEOREM
from values import Row, Values, accuracy, extent, values_of
from verdicts import HOLDS, REFUTED, Comparison, in_words, judge, mean_of

SMALLEST = 1.0  # decades: a factor of ten
LEARNS = 90.0  # percent
PARTS = dict(
    zip(
        THEOREM,
        (
            "kernels × 10: change of the loss",
            "cosine of the angle between kernel and gradient",
            "kernels × 10: change of the gradient × 10",
            "error of Pythagoras for the length after a step",
            "kernels × 10, rate × 100: change of 20 losses",
            "weight decay or a rising rate: change of 20 losses",
        ),
        strict=True,
    )
)
SHOWN_RATES = ("0.01", "1", "100", "10000")


def measure(rows: Sequence[Row]) -> Finding:
    """How many decades of rates are good, and by how many the steps' sizes came together."""
    trained = [row for row in rows if row["part"] == "training"]
    values = values_of(trained, (*ACCURACIES, *NORMS))
    arms, rates = values.labels["arm"], values.labels["hidden_rate"]
    x = np.array([float(rate) for rate in rates])
    of_arm = {arm: values.at({"arm": arm, "gain": "1"}) for arm in arms}
    of_gain = {arm: values.at({"arm": arm, "gain": "10"}) for arm in arms}
    accuracies = {arm: accuracy(of) for arm, of in of_arm.items()}
    widths = {arm: width(x, of) for arm, of in accuracies.items()}
    sizes = {arm: [step_sizes(x, of, name) for name in HIDDEN] for arm, of in of_arm.items()}
    small = x <= 1
    gained = widths["batch_norm"] - widths["no_norm"]
    comparisons = [Comparison("rates at which the network learns", gained, SMALLEST, HOLDS)]
    for which, kept, predicted in (
        ("all rates", x > 0, HOLDS),
        ("rates up to 1", small, REFUTED),
    ):
        for number, of_layer in enumerate(sizes["batch_norm"], 1):
            effects = narrowed(of_layer[:, kept])
            comparisons.append(
                Comparison(f"sizes of steps, {which}, layer {number}", effects, SMALLEST, predicted)
            )
    verdict, judged = judge(comparisons)
    first, last = (decades_apart(sizes["batch_norm"][0][n]).mean() for n in (0, -1))
    return Finding(
        headings=["", *arms],
        rows=[
            *theorem_table(rows, arms),
            [
                f"decades of rates with more than {LEARNS:.0f}%",
                *(in_words(mean_of(widths[arm])) + censored(accuracies[arm]) for arm in arms),
            ],
            *(
                [
                    f"decades by which sizes of steps came together, layer {number + 1}",
                    *(in_words(mean_of(narrowed(sizes[arm][number]))) for arm in arms[:-1]),
                    "has no meaning",
                ]
                for number in range(len(HIDDEN))
            ),
            [
                "kernels × 10, rate × 100: change of test accuracy, points",
                *(f"{moved_by_gain(of_arm[arm], of_gain[arm]):.1f}" for arm in arms),
            ],
        ],
        verdict=verdict,
        summary="The network learns at learning rates of its hidden layers from "
        f"{range_of(x, accuracies['batch_norm'])} with batch norm, and from "
        f"{range_of(x, accuracies['no_norm'])} without. Measured against the weights, the "
        f"largest and the smallest of its steps are {10**first:,.0f} times apart before training, "
        f"and {10**last:,.0f} times after it.",
        panels=[
            Panel(
                title="Where the network learns",
                x="learning rate of the hidden layers",
                y="test accuracy, %",
                lines={arm: (x, of) for arm, of in accuracies.items()},
                log_x=True,
            ),
            *(
                Panel(
                    title=f"Layer {number}: the size of a step, with batch norm",
                    x="learning rate of the hidden layers",
                    y="rate / length² of the kernel",
                    lines={
                        "before training": (x, of_layer[0]),
                        f"after {STEPS[-1]} steps": (x, of_layer[-1]),
                    },
                    log_x=True,
                    log_y=True,
                )
                for number, of_layer in enumerate(sizes["batch_norm"], 1)
            ),
            *over_steps(of_arm["batch_norm"], x, sizes["batch_norm"][0]),
            Panel(
                title="A gain of 10 is a rate 100 times smaller, with batch norm",
                x="learning rate of the hidden layers / gain²",
                y="test accuracy, %",
                lines={
                    "gain 1": (x, accuracies["batch_norm"]),
                    "gain 10": (x / 100, accuracy(of_gain["batch_norm"])),
                },
                log_x=True,
            ),
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        unit="decades (1: a factor of 10)",
        **extent(trained, (*ACCURACIES, *NORMS)),
    )


def width(rates: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """The decades of rates at which each split's network learns: (splits,)."""
    return (accuracies > LEARNS).sum(0) * np.diff(np.log10(rates)).mean()


def censored(accuracies: np.ndarray) -> str:
    """A mark where the rates at an end of the grid are good, so that the width may be more."""
    return " or more" if (accuracies.mean(-1)[[0, -1]] > LEARNS).any() else ""


def range_of(rates: np.ndarray, accuracies: np.ndarray) -> str:
    """From which to which rate the network learns, in words."""
    good = rates[accuracies.mean(-1) > LEARNS]
    if not len(good):
        return "none to none"
    return " to ".join(f"{float(f'{rate:.2g}'):,g}" for rate in good[[0, -1]])


def step_sizes(rates: np.ndarray, values: Values, layer: str) -> np.ndarray:
    """The rate over the kernel's squared length, before these steps: (steps, rates, splits)."""
    lengths = [values.measures[f"norm_{layer}_{step}"].mean(-1) for step in STEPS]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return rates[:, None] / np.array(lengths) ** 2


def decades_apart(sizes: np.ndarray) -> np.ndarray:
    """How far the largest is from the smallest, of each split; NaN where one isn't finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.ptp(np.log10(sizes), axis=0)


def narrowed(sizes: np.ndarray) -> np.ndarray:
    """The decades by which sizes came together in training; 0 where a training failed."""
    return np.nan_to_num(
        decades_apart(sizes[0]) - decades_apart(sizes[-1]), nan=0, posinf=0, neginf=0
    )


def moved_by_gain(plain: Values, of_gain: Values) -> float:
    """By how many points test accuracy differs, where rates have grown by the gain's square."""
    steps = round(2 / np.diff(np.log10([float(r) for r in plain.labels["hidden_rate"]])).mean())
    return float(np.abs(accuracy(plain)[:-steps] - accuracy(of_gain)[steps:]).mean())


def over_steps(values: Values, rates: np.ndarray, sizes: np.ndarray) -> list[Panel]:
    """The sizes of steps and the kernel's length, over the steps, for some of the rates."""
    x = 1 + np.array(STEPS)
    places = [values.labels["hidden_rate"].index(rate) for rate in SHOWN_RATES]
    lengths = np.sqrt(rates[:, None] / sizes)
    return [
        Panel(
            title=f"Layer 1: {what}, with batch norm",
            x="steps taken, plus 1",
            y=y,
            lines={
                f"rate {rate}": (x, of[:, n]) for rate, n in zip(SHOWN_RATES, places, strict=True)
            },
            log_x=True,
            log_y=True,
        )
        for what, y, of in (
            ("the size of a step over training", "rate / length² of the kernel", sizes),
            ("the kernel's length over training", "length of the kernel", lengths),
        )
    ]


def theorem_table(rows: Sequence[Row], arms: Sequence[str]) -> list[list[str]]:
    """The largest error over the splits of each part of the theorem."""
    found = {
        arm: [row for row in rows if row["part"] == "theorem" and row["arm"] == arm] for arm in arms
    }
    return [
        [words, *(in_powers(max_of([float(row[part]) for row in found[arm]])) for arm in arms)]
        for part, words in PARTS.items()
    ]


def max_of(errors: Sequence[float]) -> float:
    """The largest; infinite where one isn't a number."""
    return float(np.nan_to_num(np.array(errors), nan=np.inf).max())


def in_powers(error: float) -> str:
    """An error as it is read: small ones by their power of ten.

    >>> in_powers(3.2e-16), in_powers(0.0264), in_powers(1e9)
    ('3e-16', '0.03', 'above 1000')
    """
    if error > 1000:
        return "above 1000"
    return f"{error:.0e}" if error < 1e-3 else f"{error:.1g}" if error < 1 else f"{error:.0f}"
