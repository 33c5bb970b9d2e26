"""What input normalization and batch norm add to ten epochs of training."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row
from verdicts import REFUTED, Comparison, in_words, judge, mean_of

NUM_EPOCHS = 10
HEAVY, LESS = 10.0, 1.0  # percent of the training's time
ADDED = {
    "standardized": "input normalization",
    "batch_norm": "batch norm",
}


def measure(rows: Sequence[Row]) -> Finding:
    """The share of a training's time that each adds, by size; medians of a process's rounds."""
    comparisons, table, panels, words = [], [], [], []
    for pixels in dict.fromkeys(row["pixels"] for row in rows):
        seconds = seconds_of([row for row in rows if row["pixels"] == pixels])
        plain, once = seconds["epoch", "plain"], seconds["statistics", "standardized"]
        added = {arm: seconds["epoch", arm] - plain for arm in ADDED}
        whole = {
            "standardized": once + NUM_EPOCHS * added["standardized"],
            "batch_norm": NUM_EPOCHS * added["batch_norm"],
        }
        shares = {arm: percent(time, NUM_EPOCHS * plain) for arm, time in whole.items()}
        comparisons += [
            Comparison(
                f"{pixels} pixels: input normalization is heavy",
                shares["standardized"],
                HEAVY,
                REFUTED,
            ),
            Comparison(
                f"{pixels} pixels: batch norm takes less",
                shares["standardized"] - shares["batch_norm"],
                LESS,
                REFUTED,
            ),
        ]
        words.append(
            f"{pixels} pixels {shares['standardized'].mean():.1f} and "
            f"{shares['batch_norm'].mean():.1f}"
        )
        prediction = seconds["prediction", "plain"]
        more = seconds["prediction", "batch_norm"] - prediction
        cells = {
            "an epoch's steps, plain": (plain, None),
            "statistics of all inputs, once": (once, plain),
            **{f"{ADDED[arm]}, an epoch": (time, plain) for arm, time in added.items()},
            **{
                f"{ADDED[arm]}, {NUM_EPOCHS} epochs": (time, NUM_EPOCHS * plain)
                for arm, time in whole.items()
            },
            "classes of all inputs, plain": (prediction, None),
            "batch norm there, not folded": (more, prediction),
        }
        for name, (time, of) in cells.items():
            share = "" if of is None else in_words(mean_of(percent(time, of)))
            table.append([f"{pixels} pixels: {name}", in_ms(time), share])
        epochs = list(range(1, NUM_EPOCHS + 1))
        panels.append(
            Panel(
                title=f"{pixels} pixels",
                x="epochs of training",
                y="added time, % of the plain epochs'",
                lines={
                    "batch_norm": (
                        epochs,
                        np.array([percent(added["batch_norm"], plain)] * NUM_EPOCHS),
                    ),
                    "input_normalization": (
                        epochs,
                        np.array(
                            [percent(once / n + added["standardized"], plain) for n in epochs]
                        ),
                    ),
                },
            )
        )
    verdict, judged = judge(comparisons)
    return Finding(
        headings=["", "ms", "% of the same without"],
        rows=table,
        verdict=verdict,
        summary="Percent of the training's time that input normalization and batch norm add to "
        f"ten epochs: {'; '.join(words)}.",
        panels=panels,
        headline=("batch_norm", "input_normalization"),
        num_trainings=0,
        num_repeats=len({row["process"] for row in rows}),
        repeats="processes",
        judged=judged,
        unit="% of the time",
    )


def seconds_of(rows: Sequence[Row]) -> dict[tuple[str, str], np.ndarray]:
    """The seconds of each program, by what it does and the arm: (processes, rounds)."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        of_process = found.setdefault((row["what"], row["arm"]), {})
        of_process.setdefault(row["process"], []).append(float(row["seconds"]))
    return {program: np.array(list(times.values())) for program, times in found.items()}


def percent(seconds: np.ndarray, of: np.ndarray) -> np.ndarray:
    """A time as percent of another in the same round: the median of each process's rounds.

    >>> percent(np.array([[1.0, 2.0, 9.0]]), np.array([[10.0, 10.0, 10.0]])).tolist()
    [20.0]
    """
    return np.median(100 * seconds / of, axis=-1)


def in_ms(seconds: np.ndarray) -> str:
    """The mean over the processes of the median of the rounds, in milliseconds."""
    return in_words(mean_of(1e3 * np.median(seconds, axis=-1)), ".0f")
