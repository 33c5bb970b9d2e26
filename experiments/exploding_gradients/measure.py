"""Which runs diverge and which learn, over the scale of the initial weights."""

import itertools
from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, Values, accuracy, at_best, extent, values_of
from verdicts import HOLDS, Comparison, in_words, judge, mean_of

LEARNS = 50.0  # percent
SMALLEST = 40.0  # points: from guessing to where a run counts as learning
PREDICTED = {"10": HOLDS, "100": HOLDS, "1000": HOLDS}  # gains at which weights are far too large


def measure(rows: Sequence[Row]) -> Finding:
    """Accuracy at each gain's best rate, and the shares of runs that diverge and that learn."""
    values = values_of(rows)
    arms, gains, rates = (values.labels[key] for key in ("arm", "gain", "learning_rate"))
    best = {
        arm: np.array([at_best(values.at({"arm": arm, "gain": gain})) for gain in gains])
        for arm in arms
    }  # (gains, splits)
    by_gain = {arm: dict(zip(gains, of, strict=True)) for arm, of in best.items()}
    verdict, judged = judge(
        [
            Comparison(
                f"weights {gain} times as large",
                by_gain["batch_norm"][gain] - by_gain["no_norm"][gain],
                SMALLEST,
                predicted,
            )
            for gain, predicted in PREDICTED.items()
        ]
    )
    diverging = {arm: shares(values.at({"arm": arm}))[0] for arm in arms}
    words = ", ".join(
        f"{by_gain['batch_norm'][gain].mean():.0f}% instead of "
        f"{by_gain['no_norm'][gain].mean():.0f}% ({gain} times)"
        for gain in PREDICTED
    )
    return Finding(
        headings=[
            "arm: at the best rate, or at one rate",
            "runs that diverge, %",
            f"runs with at least {LEARNS:.0f}%, %",
        ]
        + ["largest gain with that on average"]
        + [f"accuracy at gain {gain}, %" for gain in ("1", *PREDICTED)],
        rows=[
            cells(arm, values.at({"arm": arm}), threshold(gains, best[arm]))
            + [in_words(mean_of(by_gain[arm][gain])) for gain in ("1", *PREDICTED)]
            for arm in arms
        ]
        + [
            cells(f"{arm}, rate {rate}", at_rate, threshold(gains, accuracy(at_rate)))
            + [
                in_words(mean_of(accuracy(at_rate.at({"gain": gain}))))
                for gain in ("1", *PREDICTED)
            ]
            for arm, rate in itertools.product(arms, rates)
            for at_rate in [values.at({"arm": arm, "learning_rate": rate})]
        ],
        verdict=verdict,
        summary="Ten layers whose initial weights are far too large come to a test accuracy, with "
        f"batch norm instead of without, of {words}. Of all runs "
        f"{diverging['batch_norm'].mean():.0f}% diverge with it, and "
        f"{diverging['no_norm'].mean():.0f}% without.",
        panels=[
            Panel(
                title=f"Weights {gain} times as large",
                x="learning rate of gradient descent",
                y="test accuracy, %",
                lines={
                    arm: (
                        [float(rate) for rate in rates],
                        accuracy(values.at({"arm": arm, "gain": gain})),
                    )
                    for arm in arms
                },
                log_x=True,
            )
            for gain in PREDICTED
        ]
        + [
            Panel(
                title="At the best rate",
                x="gain of the hidden layers' initial kernels",
                y="test accuracy, %",
                lines={arm: ([float(gain) for gain in gains], of) for arm, of in best.items()},
                log_x=True,
            )
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows),
    )


def cells(name: str, values: Values, largest_gain: str) -> list[str]:
    """The first cells of a row of the table."""
    return [name, *(in_words(mean_of(share)) for share in shares(values)), largest_gain]


def shares(values: Values) -> tuple[np.ndarray, np.ndarray]:
    """Percent of the runs that diverge, and that learn: of each split."""
    over = tuple(range(len(values.labels)))
    diverged = 100.0 * (values.measures["diverged_step"] >= 0).mean(-1)
    return diverged.mean(over), 100.0 * (accuracy(values) >= LEARNS).mean(over)


def threshold(gains: Sequence[str], found: np.ndarray) -> str:
    """The largest gain whose mean accuracy, of (gains, splits), says that it learns.

    At the grid's end it may be larger.

    >>> [threshold(["1", "10"], np.array(of)) for of in ([[90], [90]], [[90], [9]], [[9], [9]])]
    ['≥ 10', '1', 'none']
    """
    learns = [gain for gain, mean in zip(gains, found.mean(-1), strict=True) if mean >= LEARNS]
    if not learns:
        return "none"
    largest = f"{float(learns[-1]):.2g}"
    return f"≥ {gains[-1]}" if learns[-1] == gains[-1] else largest
