"""A program whose epochs are executed in parts: some steps, then the next.

Between two parts a training can be saved and stopped. The data may stay in the host's memory, from
where the batches of each part are sent to the devices. The variables have the bits of a program
with whole epochs; the metrics are the same to rounding. The order of the examples and the noise of
their labels follow from keys and rows, whoever gathers them.
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
    EpochPart,
    Lanes,
    axes_of_lanes,
    map_over_lanes,
    place_lanes,
    put_lanes,
    spread_batches,
)
from jbn.train.loop import (
    batches_to_evaluate,
    epoch_metrics,
    full_and_last,
    noisy_targets,
    rows_of_epoch,
    run_steps,
    weight_of,
)
from jbn.train.metrics import Metrics
from jbn.train.placement import Devices, Placement, put, put_made, to_host
from jbn.train.state import TrainState
from jbn.train.task import StepMetrics, Task
from jbn.variables._recompute import LayerMoments, even_batches, merge_layer_moments

_BYTES_AT_ONCE = 2**26  # of inputs, for all lanes: enough that a call costs little beside them


class Fed(NamedTuple):
    """What the steps of a part get: examples, with their rows in the training split."""

    x: Any
    y: Any
    rows: Int[Any, "..."]


def compile_in_parts(
    task: Task,
    program: Program,
    dataset: Dataset,
    num_lanes: int,
    devices: Devices,
    *,
    most_steps: int | None = None,
    on_host: bool,
) -> CompiledProgram:
    """As `compile_program`, with epochs in parts.

    Each lane has an order of its own, so each gets its own batches.

    Args:
        task, program, dataset, num_lanes, devices: as there.
        most_steps: in a part. It has fewer where the inputs of so many would be more than 64 MiB.
        on_host: whether the data stay in the host's memory.
    """
    placement = place_lanes(task, num_lanes, devices)
    task = spread_batches(task, placement)
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
    weights = put(task.weights, placement.everywhere)
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

    @functools.cache
    def train() -> Examples:
        return dataset.train if on_host else put(dataset.train, placement.everywhere)

    @functools.cache
    def gather(where: jax.sharding.Sharding) -> Callable[..., Fed]:
        return jax.jit(gathered, out_shardings=where)

    @functools.partial(jax.jit, out_shardings=placement.by_lane)
    def appended(steps: StepMetrics, more: StepMetrics) -> StepMetrics:
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), steps, more)

    def feed(part: tuple[np.ndarray, bool]) -> tuple[Fed, bool]:
        rows, is_full = part
        where = placement.of_lanes_batches(rows.shape[-1])
        if on_host:
            fed = put_made(lambda index: gathered(train(), rows[index]), rows.shape, where)
        else:
            fed = gather(where)(train(), put(rows, where))
        return fed, is_full

    def run_epoch(
        state: TrainState, lanes: Lanes, steps: StepMetrics | None
    ) -> Iterator[EpochPart]:
        lanes = put_lanes(placement, lanes)
        steps = put(steps, placement.by_lane)
        num_done = 0 if steps is None else steps.gradient_norm.shape[1]
        first_step = state.step - num_done
        epoch = int(to_host(first_step)[0]) // task.num_batches
        rows = to_host(lanes_rows(epoch, lanes, dataset.train.y))
        parts = _parts(task, rows[:, num_done:], dataset.train, most_steps)
        for fed, is_full in made_ahead(feed, parts):
            state, of_part = lanes_steps[is_full](state, lanes, fed)
            steps = of_part if steps is None else appended(steps, of_part)
            if steps.gradient_norm.shape[1] < task.num_batches:
                yield EpochPart(state, steps)
        val = evaluate(final(state, lanes), lanes, dataset.val)
        yield EpochPart(state, None, lanes_metrics(first_step, steps, val))

    def final(state: TrainState, lanes: Lanes) -> dict[str, Any]:
        if not task.recomputes:
            return lanes_final(state, None)
        parts = [
            lanes_moments(state, lanes, put(x, placement.of_batch(len(x))))
            for x in _in_order(dataset.train.x, task.config.train.batch_size)
        ]
        return lanes_final(state, _merged(parts))

    def evaluate(variables: dict[str, Any], lanes: Lanes, examples: Examples) -> Metrics:
        batches = batches_to_evaluate(examples, placement.num_shards)
        put_one = functools.partial(_put_one, batches, placement)
        of_each = [
            lanes_evaluate(variables, lanes, batch)
            for batch in made_ahead(put_one, range(len(batches.y)))
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
        release=train.cache_clear,
    )


def gathered(train: Examples, rows: Int[Any, "lanes batches batch"]) -> Fed:
    """The examples of these rows."""
    return Fed(train.x[rows], train.y[rows], rows)


def _parts(
    task: Task,
    rows: Int[np.ndarray, "lanes batches batch"],
    train: Examples,
    most_steps: int | None,
) -> Iterator[tuple[np.ndarray, bool]]:
    """The rows of some batches at a time, and whether these are full; the last may not be."""
    num_lanes, _, batch_size = rows.shape
    at_once = max(1, _BYTES_AT_ONCE // (num_lanes * batch_size * train.x[:1].nbytes))
    at_once = min(at_once, most_steps or at_once)
    for part, is_full in full_and_last(task, rows):
        for first in range(0, part.shape[1], at_once):
            yield part[:, first : first + at_once], is_full


def _put_one(batches: Batch, placement: Placement, number: int) -> Any:
    batch = jax.tree.map(lambda v: v[number], batches)
    return put(batch, placement.of_batch(len(batch.y)))


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
