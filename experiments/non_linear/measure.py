"""How far batch norm is from affine in evaluation."""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from findings import Finding, Panel
from values import SEED, SPLIT, Row, values_of
from verdicts import REFUTED

import jbn

TOLERANCE = 1e-12  # in float64, relative to the largest value
INPUTS = np.linspace(-3, 3, 13)  # in standard deviations from the mean


def measure(rows: Sequence[Row]) -> Finding:
    """The deviation, and what gamma and beta become.

    Raises:
        ValueError: the layer isn't affine: then it isn't the theorem that is wrong.
    """
    values = values_of(rows, ("gamma", "beta", "deviation"))
    largest = values.measures["deviation"].max()
    if largest > TOLERANCE:
        raise ValueError(f"found a deviation from affine of {largest}, wanted none")
    table = [["deviation from affine, float64", f"{largest:.0e}"]]
    for place, position in enumerate(values.labels["position"]):
        for name in ("gamma", "beta"):
            low, middle, high = np.quantile(values.measures[name][place], (0.05, 0.5, 0.95))
            words = f"{middle:z.2f}, 90% of them from {low:z.2f} to {high:z.2f}"
            table.append([f"{name}, norm {position.removesuffix('_activation')} a ReLU", words])
    gamma, beta = (values.measures[name][0, :, :, 0] for name in ("gamma", "beta"))
    chosen = {"largest gamma": gamma.argmax(0), "smallest gamma": gamma.argmin(0)}
    splits = np.arange(gamma.shape[1])
    lines = {
        name: (INPUTS, outputs(gamma[units, splits], beta[units, splits]))
        for name, units in chosen.items()
    }
    num_networks = len({(row["position"], row[SPLIT], row[SEED]) for row in rows})
    return Finding(
        headings=["", "found"],
        rows=table,
        verdict=REFUTED,
        summary="A theorem: y = gamma * x + beta is affine. In evaluation the trained layer is "
        f"affine within {largest:.0e} in float64.",
        panels=[
            Panel(
                title="What the units with the largest and the smallest gamma put out",
                x="input, standard deviations from the mean",
                y="output",
                lines=lines,
            )
        ],
        headline=("largest gamma", "smallest gamma"),
        num_trainings=num_networks,
        num_repeats=len(splits),
        repeats="splits",
    )


def outputs(gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """What units make of inputs around their mean, in evaluation: (inputs, units)."""
    stats = jbn.BatchStats(jnp.zeros(len(gamma)), jnp.ones(len(gamma)))
    x = jnp.broadcast_to(jnp.asarray(INPUTS)[:, None], (len(INPUTS), len(gamma)))
    norm = functools.partial(jbn.batch_norm, use_running_average=True)
    return np.asarray(norm(x, stats, jnp.asarray(gamma), jnp.asarray(beta))[0])
