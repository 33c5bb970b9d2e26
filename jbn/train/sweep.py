"""Many runs of one program as its lanes, compiled before it runs."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError
from jax.extend import core
from jaxtyping import Array, Float, Int

from jbn.config import ArmConfig, Program, Trial, UserError
from jbn.data import Dataset, Examples
from jbn.models.platform import default_platform
from jbn.train.loop import EpochMetrics, RunKeys, make_prepare, make_train_chunk, make_train_run
from jbn.train.metrics import Metrics
from jbn.train.state import Hypers, TrainState
from jbn.train.step import make_evaluate, make_init, make_settle


class Lanes(NamedTuple):
    """What the lanes of a program differ in: each array has an axis of them, or all share it."""

    keys: RunKeys
    hypers: Hypers


class Sweep(NamedTuple):
    """Compiled functions; every array of the state, and of the metrics, has an axis of lanes."""

    init: Callable[[Lanes], TrainState]
    train_chunk: Callable[[TrainState, Lanes], tuple[TrainState, EpochMetrics]]
    # The variables that were settled on, and what they do on the test split.
    finish: Callable[[TrainState, Lanes], tuple[dict[str, Any], Metrics]]


def count_parameters(config: ArmConfig, dataset: Dataset) -> int:
    """The number of trained numbers; nothing is computed for it but shapes.

    Raises:
        UserError: model and data don't fit together.
    """
    train_run = make_train_run(config, dataset.num_classes, dataset.input_stats)
    arguments = (jax.random.key(0), dataset.train, dataset.val, Hypers.of(config))
    try:
        state, _ = jax.eval_shape(train_run, *arguments)
    except (FlaxError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"model: {error}".splitlines()[0]) from None
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))


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


def compile_sweep(program: Program, dataset: Dataset, num_lanes: int) -> Sweep:
    """The program for so many of its trials at once, and for this data.

    The lanes are shared out among the devices of the kind that JAX computes on, as evenly as can
    be: the most devices of which each has as many. The data are put on each of them.
    """
    config, num_classes = program.config, dataset.num_classes
    is_slow_together = _is_slow_together(program, dataset)
    by_lane, everywhere = _placements(1 if is_slow_together else num_lanes)
    train, val, test = jax.device_put((dataset.train, dataset.val, dataset.test), everywhere)
    prepare = make_prepare(config, dataset.input_stats)
    settle = make_settle(config, num_classes, prepare)
    evaluate = make_evaluate(config, num_classes, prepare)

    def init(lane: Lanes, train: Examples) -> TrainState:
        first = train._replace(x=prepare(train.x[:2], lane.hypers))
        return make_init(config, num_classes)(lane.keys.init, first, lane.hypers)

    chunk = make_train_chunk(config, num_classes, dataset.input_stats)

    def train_chunk(
        state: TrainState, lane: Lanes, train: Examples, val: Examples
    ) -> tuple[TrainState, EpochMetrics]:
        return chunk(state, train, val, lane.keys, lane.hypers)

    def finish(
        state: TrainState, lane: Lanes, train: Examples, test: Examples
    ) -> tuple[dict[str, Any], Metrics]:
        variables = settle(state, train.x, lane.hypers)
        return variables, evaluate(variables, test, lane.hypers)

    # A single lane costs less without an axis for it.
    over_lanes = _one_by_one if is_slow_together or num_lanes == 1 else jax.vmap
    axis_of_keys: Any = 0
    axes = Lanes(axis_of_keys, _axes(program))

    def placed(lanes: Lanes) -> Lanes:
        def put(leaf: Array) -> Array:
            return jax.device_put(leaf, by_lane if leaf.ndim else everywhere)

        return jax.tree.map(put, lanes)

    lanes = placed(make_lanes(program, program.trials[:1] * num_lanes))  # their shapes matter
    lanes_init = jax.jit(over_lanes(init, (axes, None)), out_shardings=by_lane)
    lanes_chunk = jax.jit(
        over_lanes(train_chunk, (0, axes, None, None)), out_shardings=by_lane, donate_argnums=0
    )
    lanes_finish = jax.jit(over_lanes(finish, (0, axes, None, None)), out_shardings=by_lane)

    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=by_lane),
        jax.eval_shape(lanes_init, lanes, train),
    )
    compiled_init = lanes_init.lower(lanes, train).compile()
    compiled_chunk = lanes_chunk.lower(state, lanes, train, val).compile()
    compiled_finish = lanes_finish.lower(state, lanes, train, test).compile()
    return Sweep(
        init=lambda lanes: compiled_init(placed(lanes), train),
        train_chunk=lambda state, lanes: compiled_chunk(state, placed(lanes), train, val),
        finish=lambda state, lanes: compiled_finish(state, placed(lanes), train, test),
    )


def default_num_lanes(program: Program, dataset: Dataset) -> int:
    """How many runs a program has at once, where the config doesn't say."""
    if _is_slow_together(program, dataset):
        return 4  # they gain nothing from each other
    return 64 if default_platform() == "cpu" else 1024


def _placements(num_lanes: int) -> tuple[jax.NamedSharding, jax.NamedSharding]:
    """What has an axis of lanes, shared out among the devices; and what is on each of them."""
    devices = jax.devices(default_platform())
    number = max(n for n in range(1, len(devices) + 1) if num_lanes % n == 0)
    mesh = jax.make_mesh(
        (number,), ("lanes",), (jax.sharding.AxisType.Auto,), devices=devices[:number]
    )
    return jax.NamedSharding(mesh, jax.P("lanes")), jax.NamedSharding(mesh, jax.P())


@jax.jit
def _keys_of(seeds: Int[Array, " lanes"]) -> RunKeys:
    return jax.vmap(lambda seed: RunKeys.of(jax.random.key(seed)))(seeds)


def _axes(program: Program) -> Any:
    """Hypers of axes: 0, or None where all trials of the program have the same number."""
    numbers = _numbers([trial.config for trial in program.trials])
    axes: list[Any] = [0 if varies else None for varies in (numbers != numbers[0]).any(0)]
    return Hypers(*axes)


def _numbers(configs: Sequence[ArmConfig]) -> Float[np.ndarray, "lanes numbers"]:
    """Each config's numbers; the seeds of a point share its config, and are many."""
    of_each = {id(config): Hypers.numbers_of(config) for config in configs}
    return np.stack([of_each[id(config)] for config in configs])


def _is_slow_together(program: Program, dataset: Dataset) -> bool:
    """Whether its lanes are run one after the other, inside of the program.

    Many images convolved with as many kernels are a grouped convolution. XLA's CPU compiler has no
    fast kernel for it. A program that calls the model shows whether the model convolves.
    """
    if default_platform() != "cpu":
        return False
    return _convolves(program.config, dataset.num_classes, dataset.train.x.shape[1:])


@functools.lru_cache(maxsize=16)  # a large model takes a second to trace
def _convolves(config: ArmConfig, num_classes: int, features: tuple[int, ...]) -> bool:
    """Whether a call of the model convolves: only traced."""
    first = Examples(jnp.zeros((2, *features)), jnp.zeros(2, jnp.int32))
    init = make_init(config, num_classes)
    traced = jax.make_jaxpr(init)(jax.random.key(0), first, Hypers.of(config))
    return "conv_general_dilated" in _primitives(traced.jaxpr)


def _primitives(jaxpr: core.Jaxpr) -> Iterator[str]:
    """The names of what a program calls, in its loops and branches too."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for part in core.jaxprs_in_params(equation.params):
            yield from _primitives(part)


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
