"""What a model without inputs would come to."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jbn.train.compile import Build, compile_together
from jbn.train.metrics import measure
from jbn.train.task import Task


def baseline_metrics(
    task: Task, train_y: Any, y: Any, build: Build = compile_together
) -> dict[str, float] | None:
    """The metrics for the targets y of a model that sees the targets of training, but no inputs.

    None: the loss knows no such model. `build` compiles.
    """
    loss = task.loss
    if loss.baseline is None or loss.output_shape is None:
        return None
    (_, best_output), shape = loss.baseline, loss.output_shape

    def of_targets(train_y: Array, y: Array) -> dict[str, Array]:
        output = jnp.broadcast_to(best_output(train_y), (len(y), *shape))
        return loss.metrics(measure(loss.measured(output, y), None).means)

    lower = functools.partial(jax.jit(of_targets).lower, train_y, y)
    metrics = build({"baseline": lower})["baseline"](train_y, y)
    return {name: float(metric) for name, metric in metrics.items()}
