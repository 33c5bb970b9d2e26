"""What the batch statistics of a trained model say, for a run's folder."""

import functools
from typing import Any

import jax
import numpy as np

from jbn.diagnose import norm_metrics, norm_report, norm_table, norm_warnings
from jbn.models import norm_of_batch, recording
from jbn.summary import finite
from jbn.train import Hypers, Task, TrainKeys

_MOST_BYTES = 2**28  # of inputs, for they are put on the device


def describe_norms(
    task: Task, hypers: Hypers, variables: dict[str, Any], x: Any
) -> dict[str, Any] | None:
    """The norm report over raw training inputs: as numbers, as a table, and in words.

    If the inputs are more than 256 MB, it is over the first of them. None: the model has no batch
    normalization.
    """
    config, keys = task.config, TrainKeys.of(jax.random.key(0))
    if not jax.eval_shape(task.moments, task.first, x[: config.train.batch_size], keys, hypers):
        return None
    x = x[: max(1, _MOST_BYTES // x[:1].nbytes)]
    options: dict[str, Any] = {
        "mutable": [name for name in variables if name != "params"],
        "rngs": {"dropout": keys.dropout},
    }

    def apply(variables: Any, x: Any, train: bool) -> Any:
        model = recording(task.build(norm_of_batch(config.norm, len(x)), hypers))
        return model.apply(variables, task.prepare(x, hypers), train=train, **options)

    describe = functools.partial(norm_report, apply, batch_size=config.train.batch_size)
    report = jax.device_get(jax.jit(describe)(variables, x))
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
