"""Steps and seconds to an accuracy, at each arm's own best rate and at a common one."""

import numpy as np
from convergence.collect import Curves
from findings import Finding, Panel, verdict_of
from grids import estimate, median_of
from verdicts import Estimate, in_words


def measure(found: dict[str, Curves]) -> Finding:
    """The table, and the verdict that the README announces."""
    rows, panels, faster, summaries = [], [], [], []
    for title, curves in found.items():
        network, arms = curves.network, list(curves.network.arms)
        steps = steps_to(curves.accuracy, curves.target, network.every)
        medians = np.median(steps, -1)
        best = {arm: int(medians[a].argmin()) for a, arm in enumerate(arms)}
        common = list(network.rates).index(network.common_rate)
        seconds = np.median(curves.seconds, -1)  # (arms, processes)
        ratios = np.median(curves.seconds / curves.seconds[arms.index("no_norm")], -1)
        own, said = {}, {}
        for a, arm in enumerate(arms):
            cost = median_of(1e6 * seconds[a])
            needed = [median_of(steps[a, rate]) for rate in (best[arm], common)]
            # As many processes as seeds, drawn together: which goes with which is chance anyway.
            time = estimate(_milliseconds, steps[a, best[arm]], seconds[a])
            own[arm] = needed[0], time
            said[arm] = [
                f"{network.rates[best[arm]]:.2g}",
                *(_in_words(number, network.num_steps) for number in needed),
                in_words(cost, ".0f"),
                in_words(median_of(ratios[a]), ".2f"),
                _in_words(time, 1e-3 * cost.value * network.num_steps, ".1f"),
            ]
            rows.append([f"{title}, {arm}", *said[arm]])
        batch, none = (own[arm] for arm in ("batch_norm", "no_norm"))
        faster += [b.high < n.low for b, n in zip(batch, none, strict=True)]
        summaries.append(
            f"{title} {said['batch_norm'][1]} ({said['batch_norm'][-1]} ms) and "
            f"{said['no_norm'][1]} ({said['no_norm'][-1]} ms)"
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
            *("at the common rate", "µs a step", "over no_norm's"),
            "ms to the target, at the best rate",
        ],
        rows=rows,
        verdict=verdict_of(all(faster), any(faster)),
        summary="steps to the target, with batch norm and without: " + "; ".join(summaries),
        panels=panels[::-1],
        headline=("batch_norm", "no_norm"),
        num_runs=sum(curves.accuracy[..., 0].size for curves in found.values()),
        num_seeds=curves.accuracy.shape[2],
    )


def steps_to(accuracy: np.ndarray, target: float, every: int) -> np.ndarray:
    """The step of the first probe, along the last axis, that reaches the target.

    That of the one after the last, if none does.

    >>> steps_to(np.array([[0.1, 0.8, 0.9], [0.1, 0.2, 0.3]]), 0.8, every=5).tolist()
    [5, 15]
    """
    reached = accuracy >= target
    return every * np.where(reached.any(-1), reached.argmax(-1), accuracy.shape[-1])


def _milliseconds(steps: np.ndarray, seconds: np.ndarray) -> float:
    return float(1e3 * np.median(steps) * np.median(seconds))


def _in_words(found: Estimate, most: float, spec: str = ".0f") -> str:
    """A number and its interval; beyond the last step all that is known is that it is more."""
    value, low, high = (f"{n:{spec}}" if n <= most else f"> {most:.0f}" for n in found)
    return f"{value} [{low}, {high}]"
