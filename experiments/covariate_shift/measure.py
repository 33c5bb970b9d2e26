"""What accuracy is lost where the distribution of layer inputs isn't stable."""

from collections.abc import Sequence

import numpy as np
from covariate_shift.collect import ACCURACIES, EARLY, MEASURES
from findings import Finding, Panel
from sigmoids import BEST, of_splits
from values import Row, extent, values_of
from verdicts import NOT_SHOWN, REFUTED, Comparison, in_words, judge, mean_of

EPOCHS = [int(name.split("_")[1]) for name in ACCURACIES]
# Of the noise and the epoch: the points that count, and what was expected.
EXPECTED = {
    ("noisy_batch_norm", EARLY): (10.0, REFUTED),
    ("noisy_batch_norm", EPOCHS[-1]): (1.0, REFUTED),
    ("very_noisy_batch_norm", EARLY): (10.0, REFUTED),
    ("very_noisy_batch_norm", EPOCHS[-1]): (1.0, NOT_SHOWN),
}
NOISES = {"noisy_batch_norm": "the paper's noise", "very_noisy_batch_norm": "strong noise"}


def measure(rows: Sequence[Row]) -> Finding:
    """The points that noise after batch norm costs, each arm at its best rate."""
    values = values_of(rows, MEASURES)
    arms = values.labels["arm"]
    found = {arm: of_splits(values, arm, BEST) for arm in arms}
    accuracy = {arm: np.array([100 * of[name] for name in ACCURACIES]) for arm, of in found.items()}

    def lost(arm: str, epoch: int) -> np.ndarray:
        at = EPOCHS.index(epoch)
        return accuracy["batch_norm"][at] - accuracy[arm][at]

    comparisons = [
        Comparison(f"{NOISES[arm]}, after {epoch} epochs", lost(arm, epoch), smallest, predicted)
        for (arm, epoch), (smallest, predicted) in EXPECTED.items()
    ]
    verdict, judged = judge(comparisons)
    strong, none = (
        found[arm]["first_five_drift"].mean() for arm in ("very_noisy_batch_norm", "no_norm")
    )
    early, late = (of.effect.value for of in judged[2:])
    without = (lost("no_norm", epoch).mean() for epoch in (EARLY, EPOCHS[-1]))
    return Finding(
        headings=[
            *("arm", "drift in the first five epochs, in spreads", "in all"),
            *(f"test accuracy after {epoch} epochs, %" for epoch in (EARLY, EPOCHS[-1])),
            *(f"points lost after {epoch} epochs" for epoch in (EARLY, EPOCHS[-1])),
        ],
        rows=[
            [
                arm,
                *(in_words(mean_of(of[name]), ".2f") for name in ("first_five_drift", "drift")),
                *(
                    in_words(mean_of(accuracy[arm][EPOCHS.index(epoch)]))
                    for epoch in (EARLY, EPOCHS[-1])
                ),
                *(in_words(mean_of(lost(arm, epoch))) for epoch in (EARLY, EPOCHS[-1])),
            ]
            for arm, of in found.items()
        ],
        verdict=verdict,
        summary="With strong noise after batch norm, what the last hidden layer takes moves "
        f"{strong / none:.2g} times as far in the first five epochs as without a norm. It costs "
        f"{early:.1f} points of accuracy after {EARLY} epochs and {late:.1f} after {EPOCHS[-1]}; "
        "to leave batch norm out costs {:.1f} and {:.1f}.".format(*without),
        panels=[
            Panel(
                title="Accuracy, each at its best rate",
                x="epochs",
                y="test accuracy, %",
                lines={arm: (EPOCHS, of) for arm, of in accuracy.items()},
                log_x=True,
            ),
            Panel(
                title="What the last hidden layer takes",
                x="epochs",
                y="drift in an epoch, in spreads",
                lines={
                    arm: (
                        ["the first five", "all"],
                        np.array([of["first_five_drift"], of["drift"]]),
                    )
                    for arm, of in found.items()
                },
                log_y=True,
            ),
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        **extent(rows, MEASURES),
    )
