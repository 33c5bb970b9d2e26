"""Problems that the batch statistics of a network show, with advice."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Bool, Float

from jbn.variables import recompute_batch_stats
from jbn.variables._recompute import batches_of, output_and_epsilons

# Beyond these limits a number becomes a warning.
_MEAN_GAP = 0.5  # standard deviations
_STD_RATIO = 1.5
_OUTPUT_GAP = 0.5  # batches of 32 alone make 0.2
_SMALL_SCALE = 0.01


class LayerReport(NamedTuple):
    """One batch normalization; each array has a value per channel."""

    mean_gap: Float[Array, "..."]  # |mean of the data - running mean|, in deviations of the data
    std_ratio: Float[Array, "..."]  # deviation of the data / running deviation
    is_constant: Bool[Array, "..."]  # the same value for all data; gap 0 and ratio 1 then
    is_dead: Bool[Array, "..."]  # constant at 0, as after a ReLU that never fires
    is_saturated: Bool[Array, "..."]  # variance below epsilon, so epsilon sets the output's size
    has_small_scale: Bool[Array, "..."]  # |scale| < 0.01: hardly any output but the bias


_FLAGS = ("is_constant", "is_dead", "is_saturated", "has_small_scale")


class NormReport(NamedTuple):
    """The layers by path, and the gap between the outputs in training and in evaluation."""

    layers: dict[str, LayerReport]
    output_gap: Float[Array, ""]  # RMS of the difference / deviation of the outputs


def norm_report(
    apply: Callable[[Any, Any, bool], tuple[Any, Any]],
    variables: Mapping[str, Any],
    x: Any,
    *,
    batch_size: int,
) -> NormReport:
    """How well the running statistics of a Linen model fit the data, and which channels do nothing.

    For each batch normalization, with x its input:

        mean_gap = |mean of x - running mean| / sqrt(variance of x + epsilon)
        std_ratio = sqrt((variance of x + epsilon) / (running variance + epsilon))

    Mean and variance of x are over all the data, in batches, for the current parameters, by
    `jbn.variables.recompute_batch_stats`. The call may be compiled, and mapped over seeds.

    Args:
        apply: `apply(variables, batch, train)` returns `(y, updates)`: `model.apply` with
            `mutable=["batch_stats"]`. It must not be a compiled function.
        variables: `params` and `batch_stats`.
        x: an array with a leading axis of examples, or a tree of such arrays.
        batch_size: as in training.

    Returns:
        `NormReport(layers, output_gap)`; the gap is the first batch's. `norm_metrics` turns the
        report into numbers to log, `norm_table` into a table, `norm_warnings` into sentences.

    Raises:
        ValueError: as `jbn.variables.recompute_batch_stats`.

    Example:
        >>> import jax, jax.numpy as jnp, jbn.linen
        >>> from jbn.diagnose import norm_report, norm_warnings
        >>> model = jbn.linen.BatchNorm()
        >>> def apply(variables, x, train):
        ...     return model.apply(
        ...         variables, x, use_running_average=not train, mutable=["batch_stats"]
        ...     )
        >>> x = 3 + jax.random.normal(jax.random.key(0), (64, 2))
        >>> variables = model.init(jax.random.key(0), x, use_running_average=False)
        >>> report = norm_report(apply, variables, x, batch_size=32)
        >>> for line in norm_warnings(report)[:1]:
        ...     print(line.partition(":")[0])
        the model

    References:
        Wu and Johnson, 2021, Rethinking "Batch" in BatchNorm, arXiv:2105.07576.
    """
    population = recompute_batch_stats(
        lambda variables, batch: apply(variables, batch, True),
        variables,
        x,
        batch_size=batch_size,
    )
    num_first = min(batch_size, len(jax.tree.leaves(x)[0]))
    first = jax.tree.map(lambda leaf: batches_of(leaf, 0, num_first, num_first)[0], x)
    trained, epsilons = output_and_epsilons(
        lambda variables, batch: apply(variables, batch, True), variables, first
    )
    evaluated, _ = apply(variables, first, False)

    old, new, params = (
        flatten_dict(tree, sep="/")
        for tree in (variables["batch_stats"], population, variables["params"])
    )
    layers = {}
    for layer, epsilon in epsilons.items():
        path = "/".join(layer)
        mean, var = (new[_below(path, name)] for name in ("mean", "var"))
        old_mean, old_var = (old[_below(path, name)] for name in ("mean", "var"))
        scale = params.get(_below(path, "scale"), jnp.ones_like(var))
        std = jnp.sqrt(var + epsilon)
        is_constant = var <= 1e-12 * jnp.abs(mean) ** 2
        layers[path] = LayerReport(
            mean_gap=jnp.where(is_constant, 0, jnp.abs(mean - old_mean) / std),
            std_ratio=jnp.where(is_constant, 1, std / jnp.sqrt(old_var + epsilon)),
            is_constant=is_constant,
            is_dead=is_constant & (mean == 0),
            is_saturated=~is_constant & (var < epsilon),
            has_small_scale=jnp.abs(scale) < _SMALL_SCALE,
        )
    difference = jnp.sqrt(jnp.mean(jnp.abs(trained - evaluated) ** 2))
    return NormReport(layers, difference / jnp.maximum(jnp.std(evaluated), 1e-30))


def norm_metrics(report: NormReport) -> dict[str, Float[Array, ""]]:
    """Numbers to log: the output gap, and for each layer the largest gap and ratio, and counts.

    Args:
        report: the result of `norm_report`.

    Returns:
        Scalars by names such as "BatchNorm_0/mean_gap". A ratio below 1 counts as its inverse.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbn.diagnose import LayerReport, NormReport, norm_metrics
        >>> no = jnp.array([False, False])
        >>> layer = LayerReport(jnp.array([0.1, 0.3]), jnp.array([1.0, 0.5]), no, no, no, no)
        >>> metrics = norm_metrics(NormReport({"norm": layer}, jnp.array(0.2)))
        >>> print(metrics["norm/mean_gap"], metrics["norm/std_ratio"], metrics["output_gap"])
        0.3 2.0 0.2
    """
    metrics = {"output_gap": report.output_gap}
    for path, layer in report.layers.items():
        largest = {"mean_gap": layer.mean_gap.max(), "std_ratio": _factor(layer).max()}
        counts = {name: getattr(layer, name).sum() for name in _FLAGS}
        metrics |= {_below(path, name): value for name, value in (largest | counts).items()}
    return metrics


def norm_table(report: NormReport) -> tuple[list[str], list[list[str]]]:
    """The report as a table of text: the headings, and a row for each layer.

    Args:
        report: the result of `norm_report`, with arrays that aren't traced.

    Returns:
        Headings and rows.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbn.diagnose import LayerReport, NormReport, norm_table
        >>> no = jnp.array([False, False])
        >>> layer = LayerReport(jnp.array([0.1, 0.3]), jnp.array([1.0, 0.5]), no, no, no, no)
        >>> headings, rows = norm_table(NormReport({"norm": layer}, jnp.array(0.2)))
        >>> print(*headings, sep=", ")
        layer, channels, mean gap, std ratio, constant, dead, saturated, small scale
        >>> print(*rows[0], sep=", ")
        norm, 2, 0.3, 2, 0, 0, 0, 0
    """
    metrics = norm_metrics(report)
    rows = []
    for path, layer in report.layers.items():
        gaps = [f"{float(metrics[_below(path, name)]):.3g}" for name in ("mean_gap", "std_ratio")]
        counts = [str(int(metrics[_below(path, name)])) for name in _FLAGS]
        rows.append([path, str(layer.mean_gap.size), *gaps, *counts])
    headings = ["layer", "channels", "mean gap", "std ratio"]
    return [*headings, "constant", "dead", "saturated", "small scale"], rows


def norm_warnings(report: NormReport) -> list[str]:
    """A sentence for each problem, with advice; an empty list if all is well.

    Args:
        report: the result of `norm_report`, with arrays that aren't traced.

    Returns:
        Lines of text.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbn.diagnose import LayerReport, NormReport, norm_warnings
        >>> no = jnp.array([False, False])
        >>> layer = LayerReport(jnp.array([0.1, 0.3]), jnp.array([1.0, 1.1]), no, no, no, no)
        >>> norm_warnings(NormReport({"norm": layer}, jnp.array(0.05)))
        []
    """
    lines = []
    gap = float(report.output_gap)
    if not gap <= _OUTPUT_GAP:
        lines.append(
            f"the model: outputs in evaluation are off from those in training by {gap:.0%} of "
            "their deviation; recompute the running statistics, lower the momentum, or use larger "
            "batches"
        )
    for path, layer in report.layers.items():
        name, n = path or "the norm", layer.mean_gap.size

        def say(flags: Array, text: str, name: str = name, n: int = n) -> None:
            if count := int(flags.sum()):
                lines.append(f"{name}: {count} of {n} channels {text}")

        ratio = _factor(layer)
        say(
            ~layer.is_constant & ~((layer.mean_gap <= _MEAN_GAP) & (ratio <= _STD_RATIO)),
            f"have running statistics that are not the data's (the mean up to "
            f"{float(layer.mean_gap.max()):.3g} deviations off, the deviation up to "
            f"{float(ratio.max()):.3g} times); recompute them, or lower the momentum",
        )
        say(
            layer.is_dead,
            "are always 0: units that never fire; lower the learning rate, or put the norm before "
            "the activation",
        )
        say(layer.is_constant & ~layer.is_dead, "never change: their inputs carry nothing")
        say(
            layer.is_saturated,
            "have a variance below epsilon, which then decides their size; lower epsilon, or scale "
            "the inputs up",
        )
        say(
            layer.has_small_scale,
            "have a scale below 0.01 and give hardly more than their bias; leave scale out of "
            "weight decay (jbn.variables.decay_mask), or make the layer narrower",
        )
    return lines


def _below(path: str, name: str) -> str:
    """The path of a layer's array or number; the model itself has the path ""."""
    return f"{path}/{name}" if path else name


def _factor(layer: LayerReport) -> Float[Array, "..."]:
    """The larger of the two deviations over the smaller."""
    # NumPy's arrays stay NumPy's, for which nothing is compiled.
    xp = layer.std_ratio.__array_namespace__()
    return xp.maximum(layer.std_ratio, 1 / layer.std_ratio)
