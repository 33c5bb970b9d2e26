"""How unequal the updates of a layer's inputs are."""

from collections.abc import Mapping, Sequence

import numpy as np
from findings import Finding, Panel, verdict_of
from grids import mean_of
from verdicts import in_words
from weight_updates.collect import ARMS


def measure(found: Mapping[tuple[str, str, str], Sequence[np.ndarray]]) -> Finding:
    """The table, and the verdict that the README announces."""
    rows, evener, summaries, panels = [], [], [], []
    cases = list(dict.fromkeys((optimizer, inputs) for optimizer, inputs, _ in found))
    for optimizer, inputs in cases:
        spreads = {arm: [spread(d) for d in found[optimizer, inputs, arm]] for arm in ARMS}
        case = f"{optimizer}, {'standardized' if inputs == 'standardize' else 'from 0 to 1'}"
        for layer in range(len(spreads["no_norm"])):
            of = {arm: mean_of(spreads[arm][layer].mean(-1)) for arm in ARMS}
            evener.append(of["batch_norm"].high < of["no_norm"].low)
            cells = (in_words(mean, ".2f") for mean in of.values())
            rows.append([f"{case}, layer {layer + 1}", *cells])
        summaries.append(f"{case}: {_all_layers(spreads)}")
        panels.append(
            Panel(
                title=f"{case}, second layer",
                x="epoch",
                y="spread of the updates over inputs",
                lines={
                    arm: (list(range(1, spreads[arm][1].shape[-1] + 1)), spreads[arm][1].T)
                    for arm in ARMS
                },
            )
        )
    distances = next(iter(found.values()))[0]
    return Finding(
        headings=["optimizer, inputs, layer", *(f"spread, {arm}" for arm in ARMS)],
        rows=rows,
        verdict=verdict_of(all(evener), any(evener)),
        summary="spread of the updates, mean of the layers, with batch norm and without: "
        + "; ".join(summaries),
        panels=panels,
        headline=("batch_norm", "no_norm"),
        num_runs=len(found) * len(distances),
        num_seeds=len(distances),
    )


def spread(distances: np.ndarray) -> np.ndarray:
    """The standard deviation over the last axis, in units of the mean: 0 is equal for all.

    >>> spread(np.array([[1.0, 1.0], [0.0, 2.0]])).tolist()
    [0.0, 1.0]
    """
    return distances.std(-1) / distances.mean(-1)


def _all_layers(spreads: Mapping[str, Sequence[np.ndarray]]) -> str:
    means = [
        mean_of(np.mean([s.mean(-1) for s in spreads[arm]], axis=0))
        for arm in ("batch_norm", "no_norm")
    ]
    return " and ".join(in_words(mean, ".2f") for mean in means)
