"""What the batch statistics of a trained model say, for a run's folder."""

import functools
from typing import Any

import jax
import numpy as np

from jbn.diagnose import norm_metrics, norm_report, norm_table, norm_warnings
from jbn.models import norm_of_batch
from jbn.summary import finite
from jbn.train import Hypers, Task


def describe_norms(task: Task, variables: dict[str, Any], x: Any) -> dict[str, Any]:
    """The norm report over raw training inputs: as numbers, as a table, and in words."""
    config, hypers = task.config, Hypers.of(task.config)
    options: dict[str, Any] = {
        "mutable": [name for name in variables if name != "params"],
        "rngs": {"dropout": jax.random.key(0)},
    }

    def apply(variables: Any, x: Any, train: bool) -> Any:
        model = task.build(norm_of_batch(config.norm, len(x)), hypers)
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
