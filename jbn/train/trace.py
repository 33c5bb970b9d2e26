"""What a task's traces say of it: whether it fits, what it reports, how large it is."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jbn.config import UserError
from jbn.data import Batch
from jbn.train.metrics import measure
from jbn.train.state import Hypers, TrainState
from jbn.train.task import Task, abstract_arguments, named_errors, widened


def check_task(task: Task) -> None:
    """Traces what a training does, and computes nothing.

    Raises:
        UserError: model, loss and data don't fit together.
    """
    state = task.first
    config, features = task.config, task.spec.features
    x = jnp.zeros((config.train.batch_size, *features))
    batch = Batch(x, jnp.zeros((len(x), *task.spec.target.shape), task.spec.target.dtype))
    keys, hypers = abstract_arguments(config)
    with named_errors():
        after, _ = jax.eval_shape(task.step, state, batch, keys, hypers)
        jax.eval_shape(task.evaluate, state.variables, batch, hypers)
        if config.train.recompute_stats and "batch_stats" in state.collections:
            has_moments = task.recomputes
        else:
            has_moments = True
    for name, old in state.collections.items():
        structure: Any = jax.tree.structure(old)
        if jax.tree.structure(after.collections[name]) != structure:
            raise UserError(
                f"model: found the collection {name!r}, in which a step leaves other arrays than "
                "it found; wanted the same ones, or to sow into 'intermediates'"
            )
    if not has_moments:
        raise UserError(
            "train.recompute_stats: found no batch normalization in the model whose statistics "
            "could be recomputed"
        )


def metric_names(task: Task) -> list[str]:
    """What the task's loss reports.

    Raises:
        UserError: the loss gives something else than it should.
    """
    spec, loss = task.spec, task.loss
    x = jax.ShapeDtypeStruct((2, *spec.features), jnp.float32)
    y = jax.ShapeDtypeStruct((2, *spec.target.shape), spec.target.dtype)

    def reported(output: Any, y: Array) -> tuple[Any, Any, Any]:
        measured = loss.measured(output, y)
        return loss.trained(output, y), measured, loss.metrics(measure(measured, None).means)

    def of_model(state: TrainState, x: Array, y: Array) -> tuple[Any, Any, Any]:
        hypers = Hypers.of(task.config)
        model = task.build(task.config.norm, hypers)
        output = model.apply(state.variables, task.prepare(x, hypers), train=False)
        return reported(jax.tree.map(widened, output), y)

    if loss.output_shape is not None:  # then the model needs no trace
        output = jax.ShapeDtypeStruct((2, *loss.output_shape), jnp.float32)
        trained, measured, metrics = jax.eval_shape(reported, output, y)
    else:
        trained, measured, metrics = jax.eval_shape(of_model, task.first, x, y)
    if trained.shape != (2,):
        raise UserError(
            f"loss: found trained of shape {trained.shape} for 2 examples, wanted a number for each"
        )
    for found, what in ((measured, "measured"), (metrics, "metrics")):
        if "loss" not in found:
            raise UserError(f"loss: {what} lack 'loss', found {', '.join(found) or 'nothing'}")
    for name, metric in metrics.items():
        if metric.shape:
            raise UserError(f"loss: the metric {name!r} has the shape {metric.shape}, wanted ()")
    return list(metrics)


def count_parameters(task: Task) -> int:
    """The number of trained numbers."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(task.first.params))
