"""How far the distribution of a layer's inputs moves, and whether that is what matters."""

import numpy as np
from findings import Finding, Panel, in_percent, in_words, verdict_of
from grids import mean_of
from layer_inputs.collect import ARMS, RATES, Traces


def measure(found: Traces) -> Finding:
    """The table, and the verdict that the README announces."""
    final = found.accuracy[..., -1]  # (arms, rates, seeds)
    best = final.mean(-1).argmax(-1)
    traces = [type(found)(*(field[a, rate] for field in found)) for a, rate in enumerate(best)]
    drifts = [drift(trace.quantiles) for trace in traces]  # each (seeds, sections)
    measures = {
        "drift an epoch": [d.mean(-1) for d in drifts],
        "accuracy": [trace.accuracy[:, -1] for trace in traces],
        "loss": [trace.loss_change.mean(-1) for trace in traces],
        "gradient": [trace.gradient_change.mean(-1) for trace in traces],
    }
    of = {
        name: dict(zip(ARMS, [mean_of(v) for v in values], strict=True))
        for name, values in measures.items()
    }
    rows = [
        [
            arm,
            f"{RATES[best[a]]:g}",
            in_words(of["drift an epoch"][arm], ".2f"),
            in_percent(of["accuracy"][arm]),
            in_words(of["loss"][arm], ".2f"),
            in_words(of["gradient"][arm], ".2f"),
        ]
        for a, arm in enumerate(ARMS)
    ]
    batch, noisy, none = (of["drift an epoch"][arm] for arm in ARMS)
    stabler = batch.high < none.low
    accuracy = dict(zip(ARMS, measures["accuracy"], strict=True))
    costs = mean_of(accuracy["batch_norm"] - accuracy["noisy_batch_norm"])
    matters = noisy.low > none.high and costs.low > 0.01
    epochs = list(range(1, found.accuracy.shape[-1] + 1))

    def panel(title: str, y: str, values: list[np.ndarray], log_y: bool = False) -> Panel:
        lines = {arm: (epochs[-v.shape[-1] :], v.T) for arm, v in zip(ARMS, values, strict=True)}
        return Panel(title, "epoch", y, lines, log_y=log_y)

    return Finding(
        headings=[
            *("arm", "best rate", "drift an epoch, in spreads", "validation accuracy, %"),
            *("change of the loss along a step", "of the gradient"),
        ],
        rows=rows,
        verdict=verdict_of(stabler and matters, stabler),
        summary=f"drift of the last hidden layer's inputs in an epoch, in spreads: "
        f"{in_words(batch, '.2f')} with batch norm, {in_words(none, '.2f')} without, "
        f"{in_words(noisy, '.2f')} with noise after batch norm, which costs "
        f"{in_percent(costs)} points of accuracy",
        panels=[
            panel("What the last hidden layer takes", "drift an epoch, in spreads", drifts, True),
            panel("Accuracy", "validation accuracy, %", [100 * t.accuracy for t in traces]),
            panel(
                "The loss along a step",
                "change over the loss",
                [t.loss_change for t in traces],
                True,
            ),
            panel(
                "The gradient along a step",
                "change over its norm",
                [t.gradient_change for t in traces],
                True,
            ),
        ],
        headline=("batch_norm", "no_norm"),
        num_runs=final.size,
        num_seeds=final.shape[-1],
    )


def drift(quantiles: np.ndarray) -> np.ndarray:
    """How far quantiles (..., probes, 3, units) move between probes, over their spread.

    The mean over the units and the quantiles of the distance, over the mean over the units of what
    lies between the outer two.

    >>> drift(np.array([[[-1.0], [0.0], [1.0]], [[0.0], [1.0], [2.0]]])).tolist()
    [0.5]
    """
    moved = np.abs(np.diff(quantiles, axis=-3)).mean((-1, -2))
    spread = (quantiles[..., 2, :] - quantiles[..., 0, :]).mean(-1)
    return moved / spread[..., 1:]
