"""Groups of trials trained, as events. What the shell knows of `jbn.train` is in this file."""

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jbn.config import DataConfig, Group, Program, Trial, UserError, split_evenly
from jbn.data import Dataset
from jbn.run.events import (
    EpochEnded,
    Event,
    LanesCompiled,
    LanesTooMany,
    TrialsEnded,
    TurnBegan,
)
from jbn.train import (
    Metrics,
    Sweep,
    compile_sweep,
    count_parameters,
    default_num_lanes,
    make_lanes,
)

Datasets = Mapping[DataConfig, Dataset]


class Compiler:
    """Compiles programs; the one that it compiled last is kept, for the next group of its lanes."""

    def __init__(self, datasets: Datasets, max_lanes: int | None = None):
        self.sweep: Sweep | None = None
        self._key: Any = None
        self._datasets = datasets
        self._max_lanes = max_lanes

    def compile(self, program: Program, num_lanes: int) -> float:
        """Makes `sweep` the program for so many lanes; returns the seconds, 0 where it was that."""
        key = (program.arm, program.config, num_lanes)
        if self.sweep is not None and key == self._key:
            return 0.0
        clock = time.perf_counter()
        self.sweep = None  # first, for its data are on the device
        self.sweep = compile_sweep(program, self._datasets[program.config.data], num_lanes)
        self._key = key
        return time.perf_counter() - clock

    def most_lanes(self, program: Program) -> int:
        """How many trials a program has at once: as many as allowed, or as the device likes."""
        dataset = self._datasets[program.config.data]
        return self._max_lanes or default_num_lanes(program, dataset)


def check_programs(programs: Sequence[Program], datasets: Datasets) -> None:
    """Raises UserError where a program's model and data don't fit together; trains nothing."""
    for program in programs:
        count_parameters(program.config, datasets[program.config.data])


def train_group(
    group: Group,
    compiler: Compiler,
    lanes: Sequence[tuple[int, int]] = (),
    done: Collection[int] = frozenset(),
) -> Iterator[Event]:
    """Trains the group's trials in turns: some lanes, then the next.

    Where the device's memory isn't enough for so many lanes, half as many go on.

    Args:
        group: its trials end in their order.
        compiler: of the programs.
        lanes: how an earlier part of the run executed the group: from a trial's number on, so many
            lanes at a time. A turn is executed so again, and comes to the same bits.
        done: numbers of trials; a turn that has no others is left out.

    Yields:
        What happens.

    Raises:
        UserError: not even one trial fits the memory.
    """
    program, trials = group.program, group.trials
    default = split_evenly(group.size, compiler.most_lanes(program))
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
            yield from _train_turn(group, turn, compiler.sweep, num_lanes)
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


def _train_turn(group: Group, turn: Sequence[Trial], sweep: Any, num_lanes: int) -> Iterator[Event]:
    clock = time.perf_counter()
    # A turn that is smaller is filled up with its last trial.
    lanes = make_lanes(group.program, [*turn, *[turn[-1]] * (num_lanes - len(turn))])
    state = sweep.init(lanes)
    num_epochs = group.program.config.train.num_epochs
    diverged = np.full(len(turn), -1)
    metrics: dict[str, np.ndarray] = {}
    for epoch in range(1, num_epochs + 1):
        state, of_epoch = sweep.train_chunk(state, lanes)
        metrics = _by_name(jax.device_get(of_epoch), len(turn))
        diverged = np.where(diverged >= 0, diverged, metrics["diverged_step"])
        yield EpochEnded(group, turn, epoch, num_epochs, metrics)
    variables, test = sweep.finish(state, lanes)
    results = {
        "num_parameters": np.full(len(turn), _size(variables["params"]) // num_lanes),
        "diverged_step": diverged,
        **{name: values for name, values in metrics.items() if name.startswith("val_")},
        **_by_name(jax.device_get(test), len(turn), "test"),
    }
    yield TrialsEnded(group, turn, results, variables, time.perf_counter() - clock)


def _by_name(metrics: Any, num_trials: int, prefix: str = "") -> dict[str, np.ndarray]:
    """All that was measured, a number for each trial: `metrics.val.loss` as "val_loss".

    Fields and properties of `jbn.train`'s tuples have the names: a new one needs no word here.
    """
    if isinstance(metrics, Metrics):
        names = [name for name, value in vars(Metrics).items() if isinstance(value, property)]
        return {f"{prefix}_{name}": getattr(metrics, name)[:num_trials] for name in names}
    named: dict[str, np.ndarray] = {}
    for name, value in metrics._asdict().items():
        if isinstance(value, Metrics):
            named |= _by_name(value, num_trials, name)
        else:
            named[name] = np.asarray(value)[:num_trials]
    return named


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "Out of memory" in text
