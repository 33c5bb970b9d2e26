"""How unequal the updates of a layer's inputs are."""

from collections.abc import Sequence

import numpy as np
from findings import Finding, Panel
from values import Row, extent, tuned, values_of
from verdicts import HOLDS, NOT_SHOWN, REFUTED, Comparison, in_words, judge, mean_of
from weight_updates.collect import ARMS, INPUTS, MEASURES, RATES, SPREADS

EQUAL = 10.0  # percent of the mean update: a spread that would still be "equal"
SMALLEST = 5.0  # percent of the mean update
OPTIMIZERS = {"sgd": "gradient descent", "adam": "Adam"}
WORDS = {"standardize": "standardized inputs", "min_max": "inputs from 0 to 1"}
PREDICTED = {
    "equal": {"sgd": REFUTED, "adam": REFUTED},
    "more even than no norm": {"sgd": HOLDS, "adam": HOLDS},
    "more even than layer norm": {"sgd": HOLDS, "adam": NOT_SHOWN},
}


def measure(rows: Sequence[Row]) -> Finding:
    """The spread of the updates with batch norm, below what is equal and below that of others."""
    # The rates have other values for each optimizer, and numbers in common.
    values = values_of(rows, (*MEASURES, "learning_rate"))
    found = {
        (optimizer, inputs, arm): {
            name: tuned(chosen["val_accuracy"], of).mean(-1) for name, of in chosen.items()
        }
        for optimizer in RATES
        for inputs in INPUTS
        for arm in ARMS
        for chosen in [values.at({"optimizer": optimizer, "inputs": inputs, "arm": arm}).measures]
    }
    spreads = {
        key: 100 * np.array([of[name] for name in SPREADS]) for key, of in found.items()
    }  # each (layers, splits)

    def mean_spread(optimizer: str, arm: str) -> np.ndarray:
        return np.mean([spreads[optimizer, inputs, arm].mean(0) for inputs in INPUTS], axis=0)

    comparisons = []
    for name, predicted in PREDICTED.items():
        for optimizer, expected in predicted.items():
            ours = mean_spread(optimizer, "batch_norm")
            if name == "equal":
                effects, smallest = EQUAL - ours, 0.0
            else:
                other = name.removeprefix("more even than ").replace(" ", "_")
                effects, smallest = mean_spread(optimizer, other) - ours, SMALLEST
            comparisons.append(
                Comparison(f"{name}, {OPTIMIZERS[optimizer]}", effects, smallest, expected)
            )
    verdict, judged = judge(comparisons)
    means = [
        " and ".join(f"{mean_spread(optimizer, arm).mean():.0f}%" for optimizer in RATES)
        for arm in ARMS
    ]
    layers = [f"layer {n}" for n in range(1, len(SPREADS) + 1)]
    return Finding(
        headings=[
            "network",
            *(f"spread in {layer}, %" for layer in layers),
            *("steps", "test accuracy, %"),
        ],
        rows=[
            [
                f"{OPTIMIZERS[optimizer]}, {WORDS[inputs]}, {arm}",
                *(in_words(mean_of(of_layer)) for of_layer in spreads[optimizer, inputs, arm]),
                in_words(mean_of(of["steps"]), ".0f"),
                in_words(mean_of(100 * of["test_accuracy"])),
            ]
            for (optimizer, inputs, arm), of in found.items()
        ],
        verdict=verdict,
        summary="While the training loss falls to 0.1, the updates of a layer's inputs differ "
        f"by {means[0]} of their mean with batch norm (gradient descent and Adam), by {means[1]} "
        f"with layer norm, and by {means[2]} without a norm, in the mean over layers and inputs.",
        panels=[
            Panel(
                title=f"{OPTIMIZERS[optimizer]}, {WORDS[inputs]}",
                x="layer whose inputs' updates are compared",
                y="spread of the updates, % of their mean",
                lines={arm: (layers, spreads[optimizer, inputs, arm]) for arm in ARMS},
            )
            for optimizer in RATES
            for inputs in INPUTS
        ],
        headline=("batch_norm", "no_norm"),
        judged=judged,
        unit="% of the mean update",
        **extent(rows, MEASURES),
    )
