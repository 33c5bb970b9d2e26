"""What input normalization and batch norm add to ten epochs of training."""

import numpy as np
from cost.collect import Seconds
from findings import HOLDS, NOT_HERE, PARTLY, Finding, Panel, in_words
from grids import Estimate, estimate

NUM_EPOCHS = 10


def measure(found: Seconds) -> Finding:
    """The table, and the verdict that the README announces."""
    plain = found.epochs["plain"]
    added = {name: found.epochs[name] - plain for name in ("standardized", "batch norm")}
    inputs = found.fit + NUM_EPOCHS * added["standardized"]
    batch = NUM_EPOCHS * added["batch norm"]
    share = NUM_EPOCHS * plain / 100  # so many percent of the plain training
    of_inputs, of_batch = (estimate(_median, seconds / share) for seconds in (inputs, batch))
    predictions = found.predictions
    more = predictions["batch norm"] - predictions["plain"]
    rows = [
        ["an epoch's training steps, plain", _in_ms(plain), ""],
        ["statistics of all inputs, once", _in_ms(found.fit), _in_percent(found.fit / share)],
        [
            "standardized inputs, an epoch",
            _in_ms(added["standardized"]),
            _in_percent(100 * added["standardized"] / plain),
        ],
        [
            "batch norm in both hidden layers, an epoch",
            _in_ms(added["batch norm"]),
            _in_percent(100 * added["batch norm"] / plain),
        ],
        [f"input normalization, {NUM_EPOCHS} epochs", _in_ms(inputs), in_words(of_inputs)],
        [f"batch norm, {NUM_EPOCHS} epochs", _in_ms(batch), in_words(of_batch)],
        ["classes of all inputs, plain", _in_ms(predictions["plain"]), ""],
        [
            "batch norm there, not folded",
            _in_ms(more),
            _in_percent(100 * more / predictions["plain"]),
        ],
    ]
    cheaper = of_batch.high < of_inputs.low
    epochs = list(range(1, NUM_EPOCHS + 1))
    return Finding(
        headings=["", "ms", "% of the same without"],
        rows=rows,
        verdict=NOT_HERE if not cheaper else HOLDS if of_inputs.low > 10 else PARTLY,
        summary=f"of ten plain epochs' time, input normalization adds {in_words(of_inputs)}%, "
        f"batch norm {in_words(of_batch)}%",
        panels=[
            Panel(
                title="Added time",
                x="epochs of training",
                y="added time, s",
                lines={
                    "batch_norm": (epochs, np.outer(epochs, added["batch norm"])),
                    "input normalization": (
                        epochs,
                        found.fit + np.outer(epochs, added["standardized"]),
                    ),
                },
            )
        ],
        headline=("batch_norm", "input normalization"),
        num_runs=len(plain) * 6,
        num_seeds=len(plain),
        repeats="rounds",
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def _in_ms(seconds: np.ndarray) -> str:
    found = estimate(_median, seconds)
    return in_words(Estimate(*(1e3 * number for number in found)), ".0f")


def _in_percent(share: np.ndarray) -> str:
    return in_words(estimate(_median, share))
