"""The share of runs that diverge, and the growth of gradients from layer to layer."""

import numpy as np
from exploding_gradients.collect import ARMS, Explosions
from findings import NOT_HERE, Finding, Panel, in_percent
from grids import mean_of
from verdicts import HOLDS, PARTLY, in_words

# Yang et al., 2019: what the squared gradient of a ReLU network grows by in each layer, towards the
# input, with batch normalization over a large batch.
THEORY = np.pi / (np.pi - 1)


def measure(found: Explosions) -> Finding:
    """The table, and the verdict that the README announces."""
    grid, (batch, none) = found.grid, (found.grid.arms.index(arm) for arm in ARMS)
    rates = grid.axes["optimizer.learning_rate"]
    shares = [
        [mean_of(grid.diverged[arm, :, r]) for arm in (batch, none)] for r in range(len(rates))
    ]
    rows = [
        [f"10 layers trained at rate {rate:g}: runs that diverge, %", *map(in_percent, row)]
        for rate, row in zip(rates, shares, strict=True)
    ]
    growths = [mean_of(growth_of_squares(norms)) for norms in found.norms]
    lost = [mean_of(decades_lost(norms)) for norms in found.norms]
    rows.append(
        [
            "50 untrained layers: factor of the squared gradient, a layer",
            *(in_words(growth, ".2f") for growth in growths),
        ]
    )
    rows.append(["the same in theory: π / (π - 1), or none", f"{THEORY:.2f}", "1.00"])
    rows.append(
        [
            "50 untrained layers: decades of growth from the last to the first",
            *(in_words(type(e)(-e.value, -e.high, -e.low)) for e in lost),
        ]
    )
    fewer = all(b.high < n.low for b, n in shares if n.low > 0) and any(
        n.low > 0 for _, n in shares
    )
    explodes = lost[0].high < -1
    gains, middle = grid.axes["model.init_gain"], len(rates) // 2
    return Finding(
        headings=["", *ARMS],
        rows=rows,
        verdict=(PARTLY if explodes else HOLDS) if fewer else NOT_HERE,
        summary=f"at rate {rates[middle]:g}, {in_percent(shares[middle][0])}% of the runs diverge "
        f"with batch norm, {in_percent(shares[middle][1])}% without; but 50 untrained layers "
        f"multiply the squared gradient by {in_words(growths[0], '.2f')} each with batch norm "
        f"(theory: {THEORY:.2f})",
        panels=[
            Panel(
                title=f"10 layers, rate {rates[middle]:g}",
                x="gain of the initial kernels",
                y="runs that diverge, %",
                lines={
                    arm: (gains, 100 * grid.diverged[a, :, middle])
                    for arm, a in zip(ARMS, (batch, none), strict=True)
                },
                log_x=True,
            ),
            Panel(
                title="50 layers, before training",
                x="hidden layer, from the input",
                y="norm of its gradient",
                lines={
                    arm: (list(range(1, norms.shape[-1] + 1)), norms.T)
                    for arm, norms in zip(ARMS, found.norms, strict=True)
                },
                log_y=True,
            ),
        ],
        headline=("batch_norm", "no_norm"),
        num_runs=grid.val.size,
        num_seeds=grid.val.shape[-1],
    )


def growth_of_squares(norms: np.ndarray) -> np.ndarray:
    """By what factor squared norms (seeds, layers) grow from a layer to the one before it.

    The slope of a line through their logarithms, without the first and the last tenth.

    >>> growth_of_squares(np.array([2.0 ** -np.arange(20)])).round(6).tolist()
    [4.0]
    """
    layers = np.arange(norms.shape[-1])
    inner = slice(len(layers) // 10, len(layers) - len(layers) // 10)
    slopes = np.polyfit(layers[inner], np.log(norms[:, inner].T ** 2), 1)[0]
    return np.exp(-slopes)


def decades_lost(norms: np.ndarray) -> np.ndarray:
    """log10 of the last over the first of the norms along the last axis.

    >>> decades_lost(np.array([[1e-3, 1e-2, 1.0], [10.0, 1.0, 1.0]])).tolist()
    [3.0, -1.0]
    """
    return np.log10(norms[..., -1]) - np.log10(norms[..., 0])
