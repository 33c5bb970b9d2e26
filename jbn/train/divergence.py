"""Where a training stops being finite: at which step, and in which arrays."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jbn.data import Batch, Examples
from jbn.train.loop import full_and_last, noisy_targets, rows_of_epoch, weight_of
from jbn.train.state import Hypers, TrainKeys, TrainState
from jbn.train.task import Task


class Divergence(NamedTuple):
    """The first step with a number that isn't finite."""

    step: int  # from 0
    arrays: list[str]  # what isn't finite then: "loss", "gradient of Dense_0/kernel", …


def find_divergence(
    task: Task,
    state: TrainState,
    train: Examples,
    keys: TrainKeys,
    hypers: Hypers,
    *,
    last_step: int,
) -> Divergence | None:
    """Trains on, a step at a time, until a number isn't finite; None if all are up to `last_step`.

    It takes longer than training, for it looks at every step.

    Args:
        task: of the training.
        state: from where, whose numbers are finite.
        train: the training split, raw.
        keys, hypers: of the training.
        last_step: where to end.
    """

    @jax.jit
    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Bool[Array, ""]]]:
        gradient, _, metrics = task.gradient(state, batch, keys, hypers)
        state, _ = task.step(state, batch, keys, hypers)
        return state, {
            "loss": jnp.isfinite(metrics.sums["loss"]),
            **_are_finite(state.collections, ""),
            **_are_finite(gradient, "gradient of "),
            **_are_finite(state.params, "new "),
        }

    first = int(state.step)
    for number, batch in enumerate(_batches(task, train, keys, hypers, first), first):
        if number > last_step:
            return None
        state, are_finite = step(state, batch)
        not_finite = [
            name for name, is_finite in jax.device_get(are_finite).items() if not is_finite
        ]
        if not_finite:
            return Divergence(number, not_finite)
    return None


def _batches(
    task: Task, train: Examples, keys: TrainKeys, hypers: Hypers, step: int
) -> Iterator[Batch]:
    """The batches of a training from a step on."""
    while True:
        epoch, num_done = divmod(step, task.num_batches)
        rows = np.asarray(rows_of_epoch(task, train.y, keys, epoch))[num_done:]
        for part, is_full in full_and_last(task, rows):
            for of_batch in part:
                y = noisy_targets(task, train.y[of_batch], of_batch, keys, hypers)
                yield Batch(train.x[of_batch], y, weight_of(of_batch, is_full))
                step += 1


def _are_finite(tree: Any, prefix: str) -> dict[str, Bool[Array, ""]]:
    """Whether all of each array is finite, by its path."""
    return {
        prefix + "/".join(str(getattr(key, "key", key)) for key in path): jnp.isfinite(leaf).all()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    }
