"""What the batch statistics of a trained model say, for a run's folder."""

import functools
from typing import Any

import jax
import numpy as np

from jbn.config import ArmConfig
from jbn.data import Dataset, normalize_inputs
from jbn.diagnose import norm_metrics, norm_report, norm_table, norm_warnings
from jbn.models import build_model, norm_of_batch
from jbn.summary import finite


def describe_norms(
    config: ArmConfig, dataset: Dataset, variables: dict[str, Any]
) -> dict[str, Any]:
    """The norm report over the training examples: as numbers, as a table, and in words."""

    def apply(variables: Any, x: Any, train: bool) -> Any:
        x = normalize_inputs(config.data, dataset.input_stats, x)
        norm = norm_of_batch(config.norm, len(x))
        model = build_model(config.model, norm, dataset.num_classes)
        return model.apply(variables, x, train=train, mutable=["batch_stats"])

    describe = functools.partial(norm_report, apply, batch_size=config.train.batch_size)
    report = jax.device_get(jax.jit(describe)(variables, dataset.train.x))
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
