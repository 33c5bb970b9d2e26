"""Groups of trials trained, as events."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jbn.config import Group, Trial, UserError, split_evenly
from jbn.run.compiler import Compiler
from jbn.run.events import (
    Best,
    EpochEnded,
    Event,
    LanesCompiled,
    LanesTooMany,
    PartEnded,
    TrainingBegan,
    TrialsEnded,
    TurnBegan,
    TurnState,
)
from jbn.train import (
    CompiledProgram,
    TrainState,
    default_num_lanes,
    make_lanes,
    take_lanes,
    to_host,
)

Judge = Callable[[Mapping[str, np.ndarray]], np.ndarray]
Restore = Callable[[Sequence[Trial], TurnState], TurnState | None]


def first_num_lanes(
    group: Group,
    compiler: Compiler,
    lanes: Sequence[tuple[int, int]] = (),
    done: Collection[int] = frozenset(),
    *,
    max_lanes: int | None = None,
) -> int:
    """How many lanes `train_group`, of the same arguments, is going to train first."""
    first = next(trial for trial in group.trials if trial.number not in done)
    sizes = _sizes(group, compiler, lanes, max_lanes)
    return _num_lanes(sizes, first, compiler.lanes_divisor)


def train_group(
    group: Group,
    compiler: Compiler,
    lanes: Sequence[tuple[int, int]] = (),
    done: Collection[int] = frozenset(),
    *,
    max_lanes: int | None = None,
    restore: Restore = lambda turn, first: None,
    judge: Judge | None = None,
) -> Iterator[Event]:
    """Trains the group's trials in turns: some lanes, then the next.

    Where the device's memory isn't enough for so many lanes, half as many go on.

    Args:
        group: its trials end in their order.
        compiler: of the programs.
        lanes: how an earlier part of the run executed the group: from a trial's number on, so many
            lanes at a time. A turn is executed so again, and comes to the same bits.
        done: numbers of trials; a turn that has no others is left out.
        max_lanes: at most so many train at once; None is as many as the device likes.
        restore: of a turn's trials, and its state before the first step, the state from which it
            goes on; None if it begins.
        judge: what is best of an epoch's metrics, of which more is better: then each trial is kept
            as it was after its best epoch, too. None: it isn't.

    Yields:
        What happens.

    Raises:
        UserError: not even one trial fits the memory.
    """
    program, trials = group.program, group.trials
    sizes = _sizes(group, compiler, lanes, max_lanes)
    told = None
    start = 0
    while start < len(trials):
        num_lanes = _num_lanes(sizes, trials[start], compiler.lanes_divisor)
        turn = trials[start : start + num_lanes]
        if all(trial.number in done for trial in turn):
            start += num_lanes
            continue
        yield TurnBegan(group, turn)
        try:
            seconds = compiler.compile(program, num_lanes)
            if num_lanes != told:
                yield LanesCompiled(group, turn[0], num_lanes, seconds)
                told = num_lanes
            compiled = compiler.compiled
            assert compiled is not None  # by `compile`
            num_batches = compiler.task_of(program).num_batches
            yield from _train_turn(group, turn, compiled, num_lanes, num_batches, restore, judge)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if num_lanes <= compiler.lanes_divisor:
                raise UserError(
                    f"{program.label}: not even one trial fits the device's memory; choose a "
                    "smaller model or train.batch_size"
                ) from None
            sizes.append((turn[0].number, math.ceil(num_lanes / 2)))
            yield LanesTooMany(group, turn, num_lanes, sizes[-1][1])
            continue
        start += num_lanes


def _sizes(
    group: Group, compiler: Compiler, lanes: Sequence[tuple[int, int]], max_lanes: int | None
) -> list[tuple[int, int]]:
    """How the group is executed: from a trial's number on, so many lanes at a time."""
    most = max_lanes or default_num_lanes(compiler.task_of(group.program))
    return [(group.trials[0].number, split_evenly(group.size, most)), *lanes]


def _num_lanes(sizes: Sequence[tuple[int, int]], trial: Trial, divisor: int) -> int:
    wanted = [size for first, size in sizes if first <= trial.number][-1]
    return math.ceil(wanted / divisor) * divisor


def _train_turn(
    group: Group,
    turn: Sequence[Trial],
    compiled: CompiledProgram,
    num_lanes: int,
    num_batches: int,
    restore: Restore,
    judge: Judge | None,
) -> Iterator[Event]:
    clock = time.perf_counter()
    # A turn that is smaller is filled up with its last trial.
    lanes = make_lanes(group.program, [*turn, *[turn[-1]] * (num_lanes - len(turn))])
    first = TurnState(compiled.init(lanes), 0, 0.0, np.full(len(turn), -1), {})
    if judge is not None:
        nothing = np.zeros(len(turn), int), np.full(len(turn), np.nan)
        first = first._replace(best=Best(compiled.init(lanes), *nothing))
    state, epoch, seconds, diverged, metrics, steps, best = restore(turn, first) or first
    num_epochs = group.program.config.train.num_epochs
    yield TrainingBegan(group, turn, epoch)
    while epoch < num_epochs:
        for part in compiled.run_epoch(state, lanes, steps):
            state, steps = part.state, part.steps
            if part.metrics is not None:
                epoch += 1
                metrics = _of(turn, to_host(part.metrics).by_name)
                diverged = np.where(diverged >= 0, diverged, metrics["diverged_step"])
                if judge is not None and best is not None:
                    best = _better(best, state, epoch, judge(metrics))
            seconds += time.perf_counter() - clock
            if part.metrics is not None:
                yield EpochEnded(group, turn, epoch, num_epochs, metrics)
            num_steps = epoch * num_batches + (0 if steps is None else steps.gradient_norm.shape[1])
            reached = TurnState(state, epoch, seconds, diverged, metrics, steps, best)
            yield PartEnded(group, turn, num_steps, reached)
            clock = time.perf_counter()  # what a sink does is no training
    variables, test = compiled.finish(state, lanes)
    best_variables, of_best = None, {}
    if best is not None:
        best_variables, best_test = compiled.finish(best.state, lanes)
        tested = {f"best_test_{name}": metric for name, metric in to_host(best_test).items()}
        of_best = {"best_epoch": best.epoch, **_of(turn, tested)}
    results = {
        "num_parameters": np.full(len(turn), _size(variables["params"]) // num_lanes),
        "diverged_step": diverged,
        **{name: values for name, values in metrics.items() if name.startswith("val_")},
        **_of(turn, {f"test_{name}": metric for name, metric in to_host(test).items()}),
        **of_best,
    }
    seconds += time.perf_counter() - clock
    yield TrialsEnded(group, turn, results, variables, best_variables, seconds)


def _better(best: Best, state: TrainState, epoch: int, metric: np.ndarray) -> Best:
    """The best of each trial, after one more epoch; more is better."""
    is_better = np.isfinite(metric) & ~(metric <= best.metric)
    num_lanes = len(jax.tree.leaves(state)[0])
    lanes = np.pad(is_better, (0, num_lanes - len(is_better)), mode="edge")
    return Best(
        jax.device_put(
            take_lanes(best.state, state, lanes), jax.tree.map(lambda leaf: leaf.sharding, state)
        ),
        np.where(is_better, epoch, best.epoch),
        np.where(is_better, metric, best.metric),
    )


def _of(trials: Sequence[Trial], by_name: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The numbers of the trials, without those of lanes that only fill up."""
    return {name: np.asarray(values)[: len(trials)] for name, values in by_name.items()}


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "Out of memory" in text
