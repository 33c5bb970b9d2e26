"""Groups of trials trained, as events. What the shell knows of `jbn.train` is in this file."""

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jbn.config import (
    ArmConfig,
    DataConfig,
    Group,
    Program,
    Trial,
    UserError,
    split_evenly,
)
from jbn.data import Dataset
from jbn.run.events import (
    EpochEnded,
    Event,
    LanesCompiled,
    LanesTooMany,
    TrialsEnded,
    TurnBegan,
)
from jbn.store import INPUTS, read_weights
from jbn.train import (
    CompiledProgram,
    Task,
    check_task,
    compile_host_fed,
    compile_program,
    default_num_lanes,
    make_lanes,
    make_task,
)

Datasets = Mapping[DataConfig, Dataset]


class Compiler:
    """Compiles programs for some devices; it keeps the last one, for the next group of its lanes.

    Raises:
        UserError: a program's model and data don't fit together.
    """

    def __init__(
        self, programs: Sequence[Program], datasets: Datasets, devices: Sequence[jax.Device]
    ):
        self.compiled: CompiledProgram | None = None
        self._key: Any = None
        self._datasets = datasets
        self._devices = devices
        self._tasks = {_key_of(program): self._make_task(program) for program in programs}

    def compile(self, program: Program, num_lanes: int) -> float:
        """Makes `compiled` the program for so many lanes; returns the seconds, 0 if it is there."""
        key = (*_key_of(program), num_lanes)
        if self.compiled is not None and key == self._key:
            return 0.0
        clock = time.perf_counter()
        self.compiled = None  # first, for its data are on the device
        dataset = self.dataset_of(program)
        compile_lanes = compile_program if _fits(dataset, self._devices[0]) else compile_host_fed
        self.compiled = compile_lanes(
            self.task_of(program), program, dataset, num_lanes, self._devices
        )
        self._key = key
        return time.perf_counter() - clock

    def task_of(self, program: Program) -> Task:
        """The program's task."""
        return self._tasks[_key_of(program)]

    def dataset_of(self, program: Program) -> Dataset:
        """The program's data."""
        return self._datasets[program.config.data]

    def _make_task(self, program: Program) -> Task:
        spec = self.dataset_of(program).spec
        path = program.config.model.init_from
        weights = None if path is None else read_weights(path)
        platform = self._devices[0].platform
        task = make_task(program.config, spec, weights=weights, platform=platform)
        if program.config.own_functions:  # jbn's own models train with all data that they take
            check_task(task)
        if INPUTS in task.first.collections:
            raise UserError(
                f"model: found a collection named {INPUTS!r}, as jbn calls what it keeps beside "
                "the variables; wanted another name"
            )
        return task


def _fits(dataset: Dataset, device: jax.Device) -> bool:
    """Whether the data can stay on a device: in half of its memory, where it has one of its own."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(dataset[:3]))
    return limit is None or num_bytes <= limit / 2


def _key_of(program: Program) -> tuple[str, ArmConfig]:
    return program.arm, program.config


def train_group(
    group: Group,
    compiler: Compiler,
    lanes: Sequence[tuple[int, int]] = (),
    done: Collection[int] = frozenset(),
    *,
    max_lanes: int | None = None,
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

    Yields:
        What happens.

    Raises:
        UserError: not even one trial fits the memory.
    """
    program, trials = group.program, group.trials
    most = max_lanes or default_num_lanes(compiler.task_of(program))
    default = split_evenly(group.size, most)
    sizes = [(trials[0].number, default), *lanes]
    told = None
    start = 0
    while start < len(trials):
        num_lanes = [size for first, size in sizes if first <= trials[start].number][-1]
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
            yield from _train_turn(group, turn, compiler.compiled, num_lanes)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if num_lanes == 1:
                raise UserError(
                    f"{program.label}: not even one trial fits the device's memory; choose a "
                    "smaller model or train.batch_size"
                ) from None
            sizes.append((turn[0].number, math.ceil(num_lanes / 2)))
            yield LanesTooMany(group, turn, num_lanes, sizes[-1][1])
            continue
        start += num_lanes


def _train_turn(
    group: Group, turn: Sequence[Trial], compiled: Any, num_lanes: int
) -> Iterator[Event]:
    clock = time.perf_counter()
    # A turn that is smaller is filled up with its last trial.
    lanes = make_lanes(group.program, [*turn, *[turn[-1]] * (num_lanes - len(turn))])
    state = compiled.init(lanes)
    num_epochs = group.program.config.train.num_epochs
    diverged = np.full(len(turn), -1)
    metrics: dict[str, np.ndarray] = {}
    for epoch in range(1, num_epochs + 1):
        state, of_epoch = compiled.run_epoch(state, lanes)
        metrics = _of(turn, jax.device_get(of_epoch).by_name)
        diverged = np.where(diverged >= 0, diverged, metrics["diverged_step"])
        yield EpochEnded(group, turn, epoch, num_epochs, metrics)
    variables, test = compiled.finish(state, lanes)
    results = {
        "num_parameters": np.full(len(turn), _size(variables["params"]) // num_lanes),
        "diverged_step": diverged,
        **{name: values for name, values in metrics.items() if name.startswith("val_")},
        **_of(turn, {f"test_{name}": metric for name, metric in jax.device_get(test).items()}),
    }
    yield TrialsEnded(group, turn, results, variables, time.perf_counter() - clock)


def _of(trials: Sequence[Trial], by_name: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The numbers of the trials, without those of lanes that only fill up."""
    return {name: np.asarray(values)[: len(trials)] for name, values in by_name.items()}


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "Out of memory" in text
