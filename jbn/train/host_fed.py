"""A program whose data stay in the host's memory, from where batches are sent to the devices.

Its variables have the bits of a program that has the data on its devices; its metrics are the same
to rounding. The order of the examples and the noise of their labels follow from keys and rows,
whoever gathers them.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jbn.config import Program
from jbn.data import Batch, Dataset, Examples
from jbn.data.feed import made_ahead
from jbn.train.lanes import (
    CompiledProgram,
    Lanes,
    axes_of_lanes,
    map_over_lanes,
    place_lanes,
    put_lanes,
)
from jbn.train.loop import (
    EpochMetrics,
    batches_to_evaluate,
    epoch_metrics,
    full_and_last,
    noisy_targets,
    rows_of_epoch,
    run_steps,
    weight_of,
)
from jbn.train.metrics import Metrics
from jbn.train.state import TrainState
from jbn.train.task import StepMetrics, Task
from jbn.variables._recompute import LayerMoments, even_batches, merge_layer_moments

_BYTES_AT_ONCE = 2**26  # of inputs, for all lanes: enough that a call costs little beside them


class Fed(NamedTuple):
    """What the host sends: examples, with the rows that they have in the training split."""

    x: Any
    y: Any
    rows: Int[Any, "..."]


def compile_host_fed(
    task: Task,
    program: Program,
    dataset: Dataset,
    num_lanes: int,
    devices: Sequence[jax.Device],
) -> CompiledProgram:
    """As `compile_program`, for data that don't fit the device's memory.

    Each lane has an order of its own, so each is sent its own batches.
    """
    placement = place_lanes(task, num_lanes, devices)
    over_lanes, axes = map_over_lanes(task, num_lanes), axes_of_lanes(program)

    def of_lanes(function: Callable[..., Any], in_axes: tuple[Any, ...], **options: Any) -> Any:
        return jax.jit(over_lanes(function, in_axes), out_shardings=placement.by_lane, **options)

    def steps(
        state: TrainState, lane: Lanes, fed: Fed, *, is_full: bool
    ) -> tuple[TrainState, StepMetrics]:
        def get(fed: Fed) -> Batch:
            targets = noisy_targets(task, fed.y, fed.rows, *lane)
            return Batch(fed.x, targets, weight_of(fed.rows, is_full))

        return run_steps(task, state, fed, *lane, get)

    lanes_init = of_lanes(
        lambda lane, weights: task.init(lane.keys, lane.hypers, weights), (axes, None)
    )
    lanes_test = of_lanes(lambda test: task.loss.metrics(test.means), (0,))
    weights = jax.device_put(task.weights, placement.everywhere)
    lanes_rows = of_lanes(
        lambda epoch, lane, y: rows_of_epoch(task, y, lane.keys, epoch), (None, axes, None)
    )
    lanes_steps = {
        is_full: of_lanes(functools.partial(steps, is_full=is_full), (0, axes, 0), donate_argnums=0)
        for is_full in (True, False)
    }
    lanes_metrics = of_lanes(functools.partial(epoch_metrics, task), (0, 0, 0))
    lanes_evaluate = of_lanes(
        lambda variables, lane, batch: task.evaluate(variables, batch, lane.hypers),
        (0, axes, None),
    )
    lanes_moments = of_lanes(lambda state, lane, x: task.moments(state, x, *lane), (0, axes, None))
    lanes_final = of_lanes(task.final_variables, (0, 0))

    def run_epoch(state: TrainState, lanes: Lanes) -> tuple[TrainState, EpochMetrics]:
        lanes = put_lanes(placement, lanes)
        first_step = jnp.array(state.step)  # the state is donated
        epoch = int(first_step[0]) // task.num_batches
        rows = np.asarray(lanes_rows(epoch, lanes, dataset.train.y))
        found = []
        put = functools.partial(_put, dataset.train, placement.by_lane)
        for fed, is_full in made_ahead(put, _parts(task, rows, dataset.train)):
            state, of_part = lanes_steps[is_full](state, lanes, fed)
            found.append(of_part)
        steps = jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *found)
        val = evaluate(final(state, lanes), lanes, dataset.val)
        return state, lanes_metrics(first_step, steps, val)

    def final(state: TrainState, lanes: Lanes) -> dict[str, Any]:
        if not task.recomputes:
            return lanes_final(state, None)
        parts = [
            lanes_moments(state, lanes, jax.device_put(x, placement.everywhere))
            for x in _in_order(dataset.train.x, task.config.train.batch_size)
        ]
        return lanes_final(state, _merged(parts))

    def evaluate(variables: dict[str, Any], lanes: Lanes, examples: Examples) -> Metrics:
        batches = batches_to_evaluate(examples)
        put = functools.partial(_put_one, batches, placement.everywhere)
        of_each = [
            lanes_evaluate(variables, lanes, batch)
            for batch in made_ahead(put, range(len(batches.y)))
        ]
        return jax.tree.map(lambda *parts: jnp.stack(parts).sum(0), *of_each)

    def finish(state: TrainState, lanes: Lanes) -> tuple[dict[str, Any], dict[str, Any]]:
        lanes = put_lanes(placement, lanes)
        variables = final(state, lanes)
        return variables, lanes_test(evaluate(variables, lanes, dataset.test))

    return CompiledProgram(
        init=lambda lanes: lanes_init(put_lanes(placement, lanes), weights),
        run_epoch=run_epoch,
        finish=finish,
    )


def _parts(
    task: Task, rows: Int[np.ndarray, "lanes batches batch"], train: Examples
) -> Iterator[tuple[np.ndarray, bool]]:
    """The rows of some batches at a time, and whether these are full; the last may not be."""
    num_lanes, _, batch_size = rows.shape
    at_once = max(1, _BYTES_AT_ONCE // (num_lanes * batch_size * train.x[:1].nbytes))
    for part, is_full in full_and_last(task, rows):
        for first in range(0, part.shape[1], at_once):
            yield part[:, first : first + at_once], is_full


def _put(
    train: Examples, by_lane: jax.sharding.Sharding, part: tuple[np.ndarray, bool]
) -> tuple[Fed, bool]:
    rows, is_full = part
    return jax.device_put(Fed(train.x[rows], train.y[rows], rows), by_lane), is_full


def _put_one(batches: Batch, everywhere: jax.sharding.Sharding, number: int) -> Any:
    return jax.device_put(jax.tree.map(lambda v: v[number], batches), everywhere)


def _in_order(x: Any, batch_size: int) -> Iterator[Any]:
    """Batches of nearly one size, in the order of the data."""
    start = 0
    for number, size in even_batches(len(x), batch_size):
        for _ in range(number):
            yield x[start : start + size]
            start += size


@jax.jit
def _merged(parts: Sequence[LayerMoments]) -> LayerMoments:
    return merge_layer_moments(jax.tree.map(lambda *moments: jnp.stack(moments), *parts))
