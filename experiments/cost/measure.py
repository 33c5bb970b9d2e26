"""What input normalization and batch norm add to ten epochs of training."""

from collections.abc import Mapping

import numpy as np
from cost.collect import Seconds
from findings import NOT_HERE, Finding, Panel
from grids import median_of
from verdicts import HOLDS, PARTLY, in_words

NUM_EPOCHS = 10


def measure(found: Mapping[int, Seconds]) -> Finding:
    """The table, and the verdict that the README announces."""
    rows, panels, shares = [], [], {}
    for num_pixels, seconds in found.items():
        plain = seconds.epochs["plain"]
        added = {name: seconds.epochs[name] - plain for name in ("standardized", "batch norm")}
        whole = {
            "input normalization": seconds.fit + NUM_EPOCHS * added["standardized"],
            "batch norm": NUM_EPOCHS * added["batch norm"],
        }
        shares[num_pixels] = {
            name: median_of(percent(time, NUM_EPOCHS * plain)) for name, time in whole.items()
        }
        prediction = seconds.predictions["plain"]
        more = seconds.predictions["batch norm"] - prediction
        cells = {
            "an epoch's steps, plain": (plain, None),
            "statistics of all inputs, once": (seconds.fit, plain),
            "standardized inputs, an epoch": (added["standardized"], plain),
            "batch norm of both hidden layers, an epoch": (added["batch norm"], plain),
            **{
                f"{name}, {NUM_EPOCHS} epochs": (time, NUM_EPOCHS * plain)
                for name, time in whole.items()
            },
            "classes of all inputs, plain": (prediction, None),
            "batch norm there, not folded": (more, prediction),
        }
        for name, (time, of) in cells.items():
            share = "" if of is None else in_words(median_of(percent(time, of)))
            rows.append([f"{num_pixels} pixels: {name}", _in_ms(time), share])
        epochs = list(range(1, NUM_EPOCHS + 1))
        panels.append(
            Panel(
                title=f"{num_pixels} pixels",
                x="epochs of training",
                y="added time, % of the plain epochs' (median)",
                of_medians=True,
                lines={
                    "batch_norm": (epochs, [percent(added["batch norm"], plain)] * NUM_EPOCHS),
                    "input normalization": (
                        epochs,
                        [percent(seconds.fit / n + added["standardized"], plain) for n in epochs],
                    ),
                },
            )
        )
    announced = shares[next(iter(found))]
    of_inputs, of_batch = announced["input normalization"], announced["batch norm"]
    cheaper = of_batch.high < of_inputs.low
    return Finding(
        headings=["", "ms", "% of the same without"],
        rows=rows,
        verdict=NOT_HERE if not cheaper else HOLDS if of_inputs.low > 10 else PARTLY,
        summary="percent that batch norm, and input normalization, add to ten epochs: "
        + "; ".join(
            f"{num_pixels} pixels {in_words(share['batch norm'])} and "
            f"{in_words(share['input normalization'])}"
            for num_pixels, share in shares.items()
        ),
        panels=panels,
        headline=("batch_norm", "input normalization"),
        num_runs=plain.size * sum(1 + len(s.epochs) + len(s.predictions) for s in found.values()),
        num_seeds=len(plain),
        repeats="processes",
    )


def percent(seconds: np.ndarray, of: np.ndarray) -> np.ndarray:
    """A time as percent of another in the same round: the median of each process's rounds.

    >>> percent(np.array([[1.0, 2.0, 9.0]]), np.array([[10.0, 10.0, 10.0]])).tolist()
    [20.0]
    """
    return np.median(100 * seconds / of, axis=-1)


def _in_ms(seconds: np.ndarray) -> str:
    return in_words(median_of(1e3 * np.median(seconds, axis=-1)), ".0f")
