"""How much less the gradient changes with batch norm, along a step and from batch to batch."""

from collections.abc import Sequence

from findings import Finding
from gradients import EQUAL, compare
from sigmoids import BEST, COMMON
from values import Row
from verdicts import NOT_SHOWN, REFUTED

MEASURES = {
    "along_step": ("the gradient's change along a step", "share of its size"),
    "over_batches": ("the gradient's variance over batches", "over the squared mean"),
    "loss_range": ("the loss's range along a step", "nats"),
}
PREDICTED = {
    ("along_step", BEST): REFUTED,
    ("along_step", COMMON): REFUTED,
    ("along_step", EQUAL): NOT_SHOWN,
    ("over_batches", BEST): REFUTED,
    ("over_batches", COMMON): REFUTED,
    ("over_batches", EQUAL): REFUTED,
}


def measure(rows: Sequence[Row]) -> Finding:
    """The halvings of the gradient's fluctuation that batch norm makes."""
    parts = compare(rows, MEASURES, PREDICTED)
    shares = [f"{2**-of.effect.value:.2g}" for of in parts["judged"]]
    return Finding(
        **parts,
        summary="Along a step, the gradient changes with batch norm "
        f"{shares[0]} times as much as without, each at its best rate, and {shares[2]} times where "
        "the loss is from 1 to 0.03; from batch to batch, its variance relative to its mean is "
        f"{shares[3]} and {shares[5]} times as large.",
    )
