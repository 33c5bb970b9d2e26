"""How far batch norm is from affine in evaluation."""

import numpy as np
from findings import Finding, Panel
from non_linear.collect import INPUTS, Layers
from verdicts import REFUTED

TOLERANCE = 1e-12  # in float64, relative to the largest value


def measure(found: Layers) -> Finding:
    """The deviation, and what gamma and beta become.

    Raises:
        ValueError: the layer isn't affine: then it isn't the theorem that is wrong.
    """
    if found.from_affine > TOLERANCE:
        raise ValueError(f"found a deviation from affine of {found.from_affine}, wanted none")
    rows = [["deviation from affine, float64", f"{found.from_affine:.0e}"]]
    for position in found.scale:
        for name, symbol in (("scale", "gamma"), ("bias", "beta")):
            low, middle, high = np.quantile(getattr(found, name)[position], (0.05, 0.5, 0.95))
            words = f"{middle:z.2f}, 90% of them from {low:.2f} to {high:.2f}"
            rows.append([f"{symbol}, norm {position.removesuffix('_activation')} a ReLU", words])
    slopes = np.ptp(found.outputs, axis=0)  # (seeds, units)
    chosen = {"largest gamma": slopes.argmax(-1), "smallest gamma": slopes.argmin(-1)}
    lines = {
        name: (INPUTS, np.take_along_axis(found.outputs, unit[None, :, None], 2)[..., 0])
        for name, unit in chosen.items()
    }
    return Finding(
        headings=["", "found"],
        rows=rows,
        verdict=REFUTED,
        summary="A theorem: y = gamma * x + beta is affine. In evaluation the trained layer is "
        f"affine within {found.from_affine:.0e} in float64.",
        panels=[
            Panel(
                title="What the units with the largest and the smallest gamma put out",
                x="input, standard deviations from the mean",
                y="output",
                lines=lines,
            )
        ],
        headline=("largest gamma", "smallest gamma"),
        num_runs=2 * found.outputs.shape[1],
        num_seeds=found.outputs.shape[1],
    )
