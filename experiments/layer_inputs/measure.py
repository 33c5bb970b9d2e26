"""How far the distribution of a layer's inputs moves, and whether that is what matters."""

import numpy as np
from findings import Finding, Panel, in_percent, verdict_of
from grids import mean_of
from layer_inputs.collect import ARMS, RATES, Traces
from verdicts import in_words


def measure(found: Traces) -> Finding:
    """The table, and the verdict that the README announces."""
    final = found.val[..., -1]  # (arms, rates, seeds)
    best = final.mean(-1).argmax(-1)
    traces = [type(found)(*(field[a, rate] for field in found)) for a, rate in enumerate(best)]
    drifts = [drift(trace.quantiles) for trace in traces]  # each (seeds, sections)
    rows = [
        [
            arm,
            f"{RATES[rate]:g}",
            in_words(mean_of(moved.mean(-1)), ".3f"),
            in_words(mean_of(moved[:, :5].mean(-1)), ".3f"),
            in_words(mean_of(moved[:, -1]), ".3f"),
            in_percent(mean_of(trace.test[:, -1])),
            in_percent(mean_of(trace.val[:, 1])),
            in_words(mean_of(trace.loss_change.mean(-1)), ".2f"),
            in_words(mean_of(trace.gradient_change.mean(-1)), ".2f"),
        ]
        for arm, rate, trace, moved in zip(ARMS, best, traces, drifts, strict=True)
    ]
    batch, noisy, none = (mean_of(moved.mean(-1)) for moved in drifts)
    stabler = batch.high < none.low
    tests = {arm: trace.test[:, -1] for arm, trace in zip(ARMS, traces, strict=True)}
    gain = mean_of(tests["noisy_batch_norm"] - tests["batch_norm"])
    matters = noisy.low > none.high and gain.high < -0.01
    epochs = list(range(1, found.val.shape[-1] + 1))

    def panel(title: str, y: str, values: list[np.ndarray], log_y: bool = False) -> Panel:
        lines = {arm: (epochs[-v.shape[-1] :], v.T) for arm, v in zip(ARMS, values, strict=True)}
        return Panel(title, "epoch", y, lines, log_y=log_y)

    return Finding(
        headings=[
            *("arm", "best rate", "drift an epoch, in spreads", "in the first five", "in the last"),
            *("test accuracy, %", "validation accuracy after 2 epochs, %"),
            *("change of the loss along a step", "of the gradient"),
        ],
        rows=rows,
        verdict=verdict_of(stabler and matters, stabler),
        summary=f"drift of the last hidden layer's inputs in an epoch, in spreads: "
        f"{in_words(batch, '.3f')} with batch norm, {in_words(none, '.3f')} without, "
        f"{in_words(noisy, '.3f')} with noise after batch norm, which changes "
        f"test accuracy by {in_percent(gain)} points",
        panels=[
            panel("What the last hidden layer takes", "drift an epoch, in spreads", drifts, True),
            panel("Accuracy", "validation accuracy, %", [100 * t.val for t in traces]),
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
