"""The width of the range of good gains of the initial weights."""

import numpy as np
from findings import NOT_HERE, Finding, Panel, compare_widths, in_percent
from grids import Grid, at_best, mean_of
from verdicts import HOLDS, PARTLY

NUM_RATES = 4  # that the prediction is about


def measure(grid: Grid) -> Finding:
    """Each arm's width, and the verdict that the README announces."""
    gains = grid.axes["model.init_gain"]
    announced, more = (_at_best(grid, num_rates) for num_rates in (NUM_RATES, None))
    widths, wider = compare_widths(announced, gains)
    of_more, _ = compare_widths(more, gains)
    verdicts = {"clearly": HOLDS, "barely": PARTLY, "no": NOT_HERE}
    highest = f"{max(grid.axes['optimizer.learning_rate']):g}"
    titles = {"Each gain at the best of four rates": announced, f"Rates up to {highest}": more}
    return Finding(
        headings=[
            *("arm", "width, decades of the gain", f"with rates up to {highest}"),
            *(f"accuracy at a gain of {max(gains):g}, %", f"with rates up to {highest}"),
        ],
        rows=[
            [
                arm,
                width,
                of_more[arm],
                *(_at_the_largest(found[arm]) for found in (announced, more)),
            ]
            for arm, width in widths.items()
        ],
        verdict=verdicts[wider],
        summary=f"{widths['batch_norm']} decades of the gain near the best with batch norm, "
        f"{widths['no_norm']} without; with rates up to {highest}, {of_more['batch_norm']} and "
        f"{of_more['no_norm']}",
        panels=[
            Panel(
                title=title,
                x="gain of the initial kernels",
                y="validation accuracy, %",
                lines={arm: (gains, 100 * values) for arm, values in arms.items()},
                log_x=True,
            )
            for title, arms in titles.items()
        ],
        headline=("batch_norm", "no_norm"),
        num_runs=grid.val.size,
        num_seeds=grid.val.shape[-1],
    )


def _at_the_largest(values: np.ndarray) -> str:
    """The accuracy, of the shape (gains, seeds), at the last gain."""
    return in_percent(mean_of(values[-1]))


def _at_best(grid: Grid, num_rates: int | None) -> dict[str, np.ndarray]:
    """Each arm's validation accuracies (gains, seeds), at each gain's best of the first rates."""
    val = grid.val[:, :, :num_rates]
    return dict(zip(grid.arms, at_best(val, val, 2), strict=True))
