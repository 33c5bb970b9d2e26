"""Programs timed in turn, so that a slow moment of the machine meets all of them."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jbn.environment import describe_environment


def seconds_in_turn(
    programs: dict[str, Callable[[], Any]], num_rounds: int
) -> dict[str, np.ndarray]:
    """How long each program takes until its result is there, in each round; warmed up before.

    In another order in every round, lest one of them always comes after the same other one.
    """
    rng = np.random.default_rng()  # times don't repeat anyway
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for counted in [False] * 2 + [True] * num_rounds:
        for name in rng.permutation(list(programs)).tolist():
            start = time.perf_counter()
            jax.block_until_ready(programs[name]())
            if counted:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.asarray(measured) for name, measured in seconds.items()}


def compared(seconds: dict[str, np.ndarray], *, steps: int = 1) -> dict[str, Any]:
    """Microseconds a step, and quartiles of the ratio to jbn's time in the same round."""
    return {
        "microseconds": {name: float(np.median(s)) / steps * 1e6 for name, s in seconds.items()},
        "over_jbn": {
            name: [float(q) for q in np.quantile(s / seconds["jbn"], [0.25, 0.5, 0.75])]
            for name, s in seconds.items()
        },
    }


def quartiles(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": median, "q1": low, "q3": high}


def environment(**versions: str) -> dict[str, Any]:
    """Where this process runs; versions of peers beside jbn's."""
    return describe_environment(jax.devices()[0]) | versions
