"""Steps and seconds to an accuracy, at each arm's own best rate and at a common one."""

import numpy as np
from convergence.collect import Curves
from findings import Finding, Panel, in_words, verdict_of
from grids import Estimate, estimate


def measure(found: dict[str, Curves]) -> Finding:
    """The table, and the verdict that the README announces."""
    rows, panels, faster, summaries = [], [], [], []
    for title, curves in found.items():
        network, arms = curves.network, list(curves.network.arms)
        steps = steps_to(curves.accuracy, curves.target, network.every)
        medians = np.median(steps, -1)
        best = {arm: int(medians[a].argmin()) for a, arm in enumerate(arms)}
        common = list(network.rates).index(network.common_rate)
        own = {}
        for a, arm in enumerate(arms):
            cost = float(np.median(curves.seconds[a]))
            needed = [estimate(_median, steps[a, rate]) for rate in (best[arm], common)]
            own[arm] = needed[0], Estimate(*(1e3 * cost * number for number in needed[0]))
            rows.append(
                [
                    f"{title}, {arm}",
                    f"{network.rates[best[arm]]:.2g}",
                    _in_steps(needed[0], network.num_steps),
                    _in_steps(needed[1], network.num_steps),
                    f"{1e6 * cost:.0f}",
                    _in_steps(own[arm][1], 1e3 * cost * network.num_steps),
                ]
            )
        batch, none = own["batch_norm"], own["no_norm"]
        faster += [b.high < n.low for b, n in zip(batch, none, strict=True)]
        summaries.append(
            f"{title}: {_in_steps(batch[0], network.num_steps)} steps with batch norm, "
            f"{_in_steps(none[0], network.num_steps)} without, "
            f"{_in_steps(batch[1], np.inf)} against {_in_steps(none[1], np.inf)} ms"
        )
        at = network.every * np.arange(curves.accuracy.shape[-1])
        panels.append(
            Panel(
                title=f"{title}, each at its own best rate",
                x="steps",
                y="validation accuracy, %",
                lines={
                    arm: (at[1:].tolist(), 100 * curves.accuracy[a, best[arm]].T[1:])
                    for a, arm in enumerate(arms)
                },
                log_x=True,
            )
        )
    return Finding(
        headings=[
            *("network", "best rate", "steps to the target, at the best rate"),
            *("at the common rate", "µs a step", "ms to the target, at the best rate"),
        ],
        rows=rows,
        verdict=verdict_of(all(faster), any(faster)),
        summary="; ".join(summaries),
        panels=panels[::-1],
        headline=("batch_norm", "no_norm"),
        num_runs=sum(curves.accuracy[..., 0].size for curves in found.values()),
        num_seeds=curves.accuracy.shape[2],
    )


def steps_to(accuracy: np.ndarray, target: float, every: int) -> np.ndarray:
    """The step of the first probe, along the last axis, that reaches the target; inf if none does.

    >>> steps_to(np.array([[0.1, 0.8, 0.9], [0.1, 0.2, 0.3]]), 0.8, every=5).tolist()
    [5.0, inf]
    """
    reached = accuracy >= target
    return np.where(reached.any(-1), every * reached.argmax(-1), np.inf)


def _median(steps: np.ndarray) -> float:
    """The lower of the two middle ones, where their number is even: inf stays out of means."""
    return float(np.quantile(steps, 0.5, method="lower"))


def _in_steps(found: Estimate, most: float) -> str:
    """A number and its interval; beyond the last step it is only known to be more."""
    if np.isfinite(found.high):
        return in_words(found, ".0f")
    value, low, _ = (f"{n:.0f}" if np.isfinite(n) else f"> {most:.0f}" for n in found)
    return f"{value} [{low}, > {most:.0f}]" if np.isfinite(most) else f"{value} [{low}, …]"
