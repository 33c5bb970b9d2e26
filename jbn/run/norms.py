"""What the batch statistics of a trained model say, for a run's folder."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jbn.diagnose import NormReport, norm_metrics, norm_report, norm_table, norm_warnings
from jbn.models import norm_of_batch, recording
from jbn.summary import finite
from jbn.train import Build, Hypers, Task, TrainKeys

_MOST_BYTES = 2**28  # of inputs, for they are put on the device


def inputs_to_describe(x: Any) -> Any:
    """The raw training inputs; if they are more than 256 MB, the first of them."""
    return x[: max(1, _MOST_BYTES // x[:1].nbytes)]


def compile_norms(task: Task, x: Any, build: Build) -> Callable[..., NormReport] | None:
    """The norm report as a compiled function of variables, inputs such as x, and hypers.

    None: the model has no batch normalization.
    """
    config, first = task.config, task.first
    hypers = jax.eval_shape(lambda: Hypers.of(config))
    if "batch_stats" not in first.collections:
        return None
    if config.own_functions or config.train.freeze:  # then no statistics may be those of a batch
        batch = x[: config.train.batch_size]
        keys = TrainKeys.of(jax.random.key(0))
        if not jax.eval_shape(task.moments, first, batch, keys, hypers):
            return None

    def describe(variables: Any, x: Any, hypers: Hypers, normalization: Any) -> NormReport:
        prepare = task.with_normalization(normalization).prepare
        options: dict[str, Any] = {
            "mutable": list(first.collections),
            "rngs": {"dropout": TrainKeys.of(jax.random.key(0)).dropout},
        }

        def apply(variables: Any, x: Any, train: bool) -> Any:
            model = recording(task.build(norm_of_batch(config.norm, len(x)), hypers))
            return model.apply(variables, prepare(x, hypers), train=train, **options)

        return norm_report(apply, variables, x, batch_size=config.train.batch_size)

    normalization = task.normalization
    wanted = task.final_variables(first, None)
    lower = functools.partial(jax.jit(describe).lower, wanted, x, hypers, normalization)
    compiled = build({"norms": lower})["norms"]

    def as_wanted(variables: dict[str, Any]) -> dict[str, Any]:  # a file has no bfloat16
        return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), variables, wanted)

    return lambda variables, x, hypers: compiled(as_wanted(variables), x, hypers, normalization)


def describe_norms(report: NormReport) -> dict[str, Any]:
    """The norm report as numbers, as a table, and in words."""
    report = jax.device_get(report)
    headings, rows = norm_table(report)
    return {
        "warnings": norm_warnings(report),
        "table": {"headings": headings, "rows": rows},
        "metrics": {name: finite(value) for name, value in norm_metrics(report).items()},
        "layers": {
            path: {
                "mean_gap": [finite(value) for value in np.ravel(layer.mean_gap)],
                "std_ratio": [finite(value) for value in np.ravel(layer.std_ratio)],
            }
            for path, layer in report.layers.items()
        },
    }
