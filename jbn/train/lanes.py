"""Many trials of one program as its lanes, compiled before they run."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jbn.config import ArmConfig, Program, Trial, UserError
from jbn.data import Batch, Dataset, Examples
from jbn.train.compile import Build, compile_together
from jbn.train.loop import (
    EpochMetrics,
    batches_to_evaluate,
    evaluate_batches,
    final_variables,
    run_epoch,
)
from jbn.train.placement import LANES, Devices, Placement, place, put
from jbn.train.state import Hypers, TrainKeys, TrainState
from jbn.train.task import StepMetrics, Task


class Lanes(NamedTuple):
    """What the lanes of a program differ in: each array has an axis of them, or all share it."""

    keys: TrainKeys
    hypers: Hypers


class EpochPart(NamedTuple):
    """What a training has come to after some steps of an epoch."""

    state: TrainState
    steps: StepMetrics | None  # of the epoch so far; None: it has ended
    metrics: EpochMetrics | None = None  # of the epoch, if it has ended


class CompiledProgram(NamedTuple):
    """Compiled functions; every array of the state, and of the metrics, has an axis of lanes."""

    init: Callable[[Lanes], TrainState]
    # An epoch, part by part; the steps are those of the epoch so far, None where it begins. The
    # next part may reuse the memory of a part's state.
    run_epoch: Callable[[TrainState, Lanes, StepMetrics | None], Iterator[EpochPart]]
    # The final variables, and their metrics on the test split.
    finish: Callable[[TrainState, Lanes], tuple[dict[str, Any], dict[str, Any]]]
    release: Callable[[], None] = lambda: None  # the data's memory, until they are needed again


def make_lanes(program: Program, trials: Sequence[Trial]) -> Lanes:
    """The lanes of some of a program's trials.

    What all trials of the program share has no axis of lanes, so that what follows from it, such as
    the normalized validation inputs, is computed once.
    """
    seeds = np.array([trial.seed for trial in trials])
    columns = _numbers([trial.config for trial in trials]).T
    numbers = [
        jnp.asarray(column[0] if axis is None else column)
        for column, axis in zip(columns, _axes(program), strict=True)
    ]
    return Lanes(_keys_of(seeds), Hypers(*numbers))


def compile_program(
    task: Task,
    program: Program,
    dataset: Dataset,
    num_lanes: int,
    devices: Devices,
    build: Build = compile_together,
) -> CompiledProgram:
    """The program for so many of its trials at once, and for this data; its task is that of both.

    The lanes are shared out among the devices as evenly as can be: the most devices of which each
    has as many. The data are put on each of them when a lane is to be trained.

    Args:
        task, program, dataset: what is trained.
        num_lanes: how many trials at once.
        devices: where. In rows of several, a row shares each batch of its lanes: their statistics
            and gradients are those of the whole batch. Only a batch that the row doesn't divide is
            computed by each.
        build: compiles the parts; or brings them from where they are.
    """
    placement = place_lanes(task, num_lanes, devices)
    by_lane, everywhere = placement.by_lane, placement.everywhere
    task = spread_batches(task, placement)
    val_and_test = (
        batches_to_evaluate(split, placement.num_shards) for split in (dataset.val, dataset.test)
    )
    on_host = dataset.train, *val_and_test
    train, val, test = jax.tree.map(
        lambda leaf: leaf.update(sharding=everywhere), jax.eval_shape(lambda *data: data, *on_host)
    )
    on_devices = functools.cache(lambda: put(on_host, everywhere))
    weights, normalization = put((task.weights, task.normalization), everywhere)

    def init(lane: Lanes, weights: Any) -> TrainState:
        return task.init(*lane, weights)

    def epoch(
        state: TrainState, lane: Lanes, train: Examples, val: Batch, normalization: Any
    ) -> tuple[TrainState, EpochMetrics]:
        return run_epoch(task.with_normalization(normalization), state, train, val, *lane)

    def finish(
        state: TrainState, lane: Lanes, train: Examples, test: Batch, normalization: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        normalizing = task.with_normalization(normalization)
        variables = final_variables(normalizing, state, train.x, *lane)
        measured = evaluate_batches(normalizing, variables, test, lane.hypers)
        return variables, task.loss.metrics(measured.means)

    over_lanes, axes = map_over_lanes(task, num_lanes), axes_of_lanes(program)
    placed = functools.partial(put_lanes, placement)
    lanes = jax.tree.map(
        lambda leaf: leaf.update(sharding=by_lane if leaf.ndim else everywhere),
        jax.eval_shape(lambda: make_lanes(program, program.trials[:1] * num_lanes)),
    )
    # It runs once: to optimize it takes longer than to run it as it is.
    options = {"xla_backend_optimization_level": 1} if task.platform == "cpu" else None
    lanes_init = jax.jit(
        over_lanes(init, (axes, None)), out_shardings=by_lane, compiler_options=options
    )
    lanes_epoch = jax.jit(
        over_lanes(epoch, (0, axes, None, None, None)), out_shardings=by_lane, donate_argnums=0
    )
    lanes_finish = jax.jit(over_lanes(finish, (0, axes, None, None, None)), out_shardings=by_lane)

    def state() -> TrainState:  # it takes a trace to know
        return jax.tree.map(
            lambda leaf: leaf.update(shape=(num_lanes, *leaf.shape), sharding=by_lane), task.first
        )

    compiled = build(
        {
            # The one that takes XLA longest comes first.
            "epoch": lambda: lanes_epoch.lower(state(), lanes, train, val, normalization),
            "init": lambda: lanes_init.lower(lanes, weights),
            "finish": lambda: lanes_finish.lower(state(), lanes, train, test, normalization),
        }
    )

    def whole_epoch(
        state: TrainState, lanes: Lanes, steps: StepMetrics | None
    ) -> Iterator[EpochPart]:
        if steps is not None:
            raise UserError(
                "found a checkpoint in the middle of an epoch, which this device executes as a "
                "whole; wanted a device like the one that saved it, whose memory the data don't fit"
            )
        train, val, _ = on_devices()
        state, metrics = compiled["epoch"](state, placed(lanes), train, val, normalization)
        yield EpochPart(state, None, metrics)

    def test_all(state: TrainState, lanes: Lanes) -> tuple[dict[str, Any], dict[str, Any]]:
        train, _, test = on_devices()
        return compiled["finish"](state, placed(lanes), train, test, normalization)

    return CompiledProgram(
        init=lambda lanes: compiled["init"](placed(lanes), weights),
        run_epoch=whole_epoch,
        finish=test_all,
        release=on_devices.cache_clear,
    )


@functools.partial(jax.jit, donate_argnums=0)
def take_lanes(states: Any, others: Any, is_other: Bool[Array, " lanes"]) -> Any:
    """The states, but those of `others` in some lanes. Every array has an axis of lanes."""

    def take(state: Array, other: Array) -> Array:
        return jnp.where(is_other.reshape(-1, *[1] * (state.ndim - 1)), other, state)

    return jax.tree.map(take, states, others)


def default_num_lanes(task: Task) -> int:
    """How many trials a program trains at once, where the config doesn't say."""
    if task.is_slow_together:
        return 4  # they gain nothing from each other
    return 64 if task.platform == "cpu" else 1024


def place_lanes(task: Task, num_lanes: int, devices: Devices) -> Placement:
    """The placement of a program's lanes. What trains one after another has one device, or row."""
    return place(devices, num_lanes=1 if task.is_slow_together else num_lanes)


def spread_batches(task: Task, placement: Placement) -> Task:
    """The task with batches that the placement's devices share."""
    return task if placement.num_shards == 1 else task.spread_by(placement.by_example)


def put_lanes(placement: Placement, lanes: Lanes) -> Lanes:
    """The lanes on their devices; what they share is on each."""

    return jax.tree.map(
        lambda leaf: put(leaf, placement.by_lane if leaf.ndim else placement.everywhere), lanes
    )


def map_over_lanes(task: Task, num_lanes: int) -> Callable[..., Any]:
    """What makes a function of lanes of a function of one: `jax.vmap`, or one like it."""
    # A single lane costs less without an axis for it.
    if task.is_slow_together or num_lanes == 1:
        return _one_by_one
    return functools.partial(jax.vmap, spmd_axis_name=LANES)


def axes_of_lanes(program: Program) -> Any:
    """Lanes of axes: None where all trials of the program share a number."""
    axis_of_keys: Any = 0
    return Lanes(axis_of_keys, _axes(program))


@jax.jit
def _keys_of(seeds: Int[Array, " lanes"]) -> TrainKeys:
    return jax.vmap(lambda seed: TrainKeys.of(jax.random.key(seed)))(seeds)


def _axes(program: Program) -> Any:
    """Hypers of axes: 0, or None where all trials of the program have the same number."""
    numbers = _numbers([trial.config for trial in program.trials])
    axes: list[Any] = [0 if varies else None for varies in (numbers != numbers[0]).any(0)]
    return Hypers(*axes)


def _numbers(configs: Sequence[ArmConfig]) -> Float[np.ndarray, "lanes numbers"]:
    """Each config's numbers; the seeds of a point share its config, and are many."""
    of_each = {id(config): Hypers.numbers_of(config) for config in configs}
    return np.stack([of_each[id(config)] for config in configs])


def _one_by_one(function: Callable[..., Any], in_axes: Sequence[Any]) -> Callable[..., Any]:
    """`jax.vmap(function, in_axes)`, a lane at a time."""

    def mapped(*arguments: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        # Not the axes themselves: to a tree None is nothing, and the state may have one, too.
        is_mapped = jax.tree.map(
            lambda axis: axis is not None, tuple(in_axes), is_leaf=lambda axis: axis is None
        )
        has_axis = jax.tree.leaves(jax.tree.broadcast(is_mapped, arguments))

        def lane(mine: dict[int, Any]) -> Any:
            own = [mine.get(number, leaf) for number, leaf in enumerate(leaves)]
            return function(*jax.tree.unflatten(tree, own))

        return jax.lax.map(lane, {n: leaf for n, leaf in enumerate(leaves) if has_axis[n]})

    return mapped
