"""How much smaller the gradient is in the first hidden layer than in the last."""

import numpy as np
from findings import Finding, Panel, in_percent, verdict_of
from grids import mean_of
from vanishing_gradients.collect import ARMS, Gradients
from verdicts import in_words


def measure(found: dict[tuple[str, int], Gradients]) -> Finding:
    """Decades lost on the way down, and the verdict that the README announces."""
    rows, mitigated, lost_at_depth = [], [], {}
    for (case, depth), gradients in found.items():
        lost = decades_lost(gradients.norms)  # (arms, seeds, probes)
        start = {}
        for a, arm in enumerate(ARMS):
            start[arm], trained = (mean_of(lost[a, :, probe]) for probe in (0, -1))
            accuracy = mean_of(gradients.accuracy[a])
            cells = in_words(start[arm]), in_words(trained), in_percent(accuracy)
            rows.append([f"{case}, {depth} layers, {arm}", *cells])
        if start["no_norm"].low > 1:
            mitigated.append(start["batch_norm"].low > -1 and start["batch_norm"].high < 1)
        lost_at_depth[case, depth] = start
    deepest = max(depth for _, depth in found)
    cases = list(dict.fromkeys(case for case, _ in found))
    return Finding(
        headings=[
            *("network", "decades lost, at the start", "after 5 epochs"),
            "validation accuracy then, %",
        ],
        rows=rows,
        verdict=verdict_of(bool(mitigated) and all(mitigated), any(mitigated)),
        summary=f"{deepest} layers, decades lost with batch norm and without: "
        + "; ".join(
            f"{case} {' and '.join(in_words(lost_at_depth[case, deepest][arm]) for arm in ARMS)}"
            for case in cases
        ),
        panels=[
            Panel(
                title=f"{case}, {deepest} layers, at the start",
                x="hidden layer, from the input",
                y="norm of its gradient",
                lines={
                    arm: (list(range(1, deepest + 1)), found[case, deepest].norms[a, :, 0].T)
                    for a, arm in enumerate(ARMS)
                },
                log_y=True,
            )
            for case in cases
        ],
        headline=("batch_norm", "no_norm"),
        num_runs=sum(gradients.norms[..., 0, 0].size for gradients in found.values()),
        num_seeds=gradients.norms.shape[1],
    )


def decades_lost(norms: np.ndarray) -> np.ndarray:
    """log10 of the last over the first of the norms along the last axis.

    >>> decades_lost(np.array([[1e-3, 1e-2, 1.0], [10.0, 1.0, 1.0]])).tolist()
    [3.0, -1.0]
    """
    return np.log10(norms[..., -1]) - np.log10(norms[..., 0])
