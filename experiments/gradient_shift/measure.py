"""How much less a layer's gradient shifts with batch norm when layers before it are updated."""

from collections.abc import Sequence

from findings import Finding
from gradients import EQUAL, compare
from sigmoids import BEST, COMMON
from values import Row
from verdicts import REFUTED

MEASURES = {
    "distance": ("the gradient's shift", "in its own units"),
    "angle": ("the gradient's turn", "degrees"),
    "relative_distance": ("the gradient's shift", "share of its size"),
}
PREDICTED = {(name, at): REFUTED for name in ("distance", "angle") for at in (BEST, COMMON, EQUAL)}


def measure(rows: Sequence[Row]) -> Finding:
    """The halvings of the gradient's shift and turn that batch norm makes."""
    parts = compare(rows, MEASURES, PREDICTED)
    factors = [f"{2**-of.effect.value:.2g}" for of in parts["judged"]]
    return Finding(
        **parts,
        summary="When the layers before it take their step, a layer's gradient moves "
        f"{factors[0]} times as far with batch norm as without, and turns by {factors[3]} times "
        "the angle, each at its best rate; where the loss is from 1 to 0.03 it is "
        f"{factors[2]} and {factors[5]} times.",
    )
