"""Compiles the programs of a run: ahead, side by side, and each kind once."""

import concurrent.futures
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from jbn.config import ArmConfig, DataConfig, Program, UserError
from jbn.config.errors import for_each, named
from jbn.data import Dataset, DataSpec, input_stats_of
from jbn.diagnose import NormReport
from jbn.functional._input_stats import InputStats
from jbn.run.kept import KeptPrograms
from jbn.run.norms import compile_norms, inputs_to_describe
from jbn.store import INPUTS, read_weights
from jbn.train import (
    Build,
    CompiledProgram,
    Devices,
    Lower,
    Task,
    axes_of_lanes,
    check_taken,
    check_task,
    compile_in_parts,
    compile_program,
    compile_together,
    make_task,
)

Datasets = Mapping[DataConfig, Dataset]
_AT_ONCE = 2  # programs that are traced or compiled; XLA shares each of them out among the cores


class Compiler:
    """Compiles programs for some devices.

    Arms that differ in numbers alone share a program.

    Args:
        programs: of the run.
        datasets: of the programs.
        devices: where to train; in rows, each of which shares the batches of its lanes.
        kept: has programs of earlier runs, and keeps those of this one; None compiles them anew.
        most_steps: at once, of an epoch that has more; None: all of them.

    Raises:
        UserError: a program's model and data don't fit together, or its batches and the devices.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        datasets: Datasets,
        devices: Devices,
        kept: KeptPrograms | None = None,
        *,
        most_steps: int | None = None,
    ):
        self.compiled: CompiledProgram | None = None
        self._datasets = datasets
        self._devices = devices
        rows = np.array(devices).reshape(len(devices), -1)
        mine = jax.process_index()
        self._device = next(of for of in rows.ravel() if of.process_index == mine)
        self._num_shards = rows.shape[1]
        self._kept = kept
        self._most_steps = most_steps
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._found: dict[Any, Future[tuple[CompiledProgram, float]]] = {}
        self._norms: dict[ArmConfig, Future[Callable[..., NormReport] | None]] = {}
        self._built: dict[tuple[str, ...], Future[dict[str, Any]]] = {}
        self._asked: set[tuple[str, ...]] = set()  # for these of them, since `prepare`
        self._lock = threading.Lock()
        self._told: set[Any] = set()  # of these, whose seconds were told
        paths = {program.config.model.init_from for program in programs}
        self._weights = {path: read_weights(path) for path in paths if path is not None}
        tasks = for_each(self._make_task, [(program.label, program) for program in programs])
        configs = [program.config for program in programs]
        self._tasks: dict[ArmConfig, Task] = dict(zip(configs, tasks, strict=True))

    @property
    def lanes_divisor(self) -> int:
        """What divides a number of lanes: 1, or so many that each of several processes has some."""
        return 1 if jax.process_count() == 1 else len(self._devices)

    def close(self) -> None:
        """Compiles no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def prepare(self, wanted: Sequence[tuple[Program, int]], *, norms: bool) -> None:
        """Compiles programs for so many lanes side by side, so that `compile` finds them.

        It ends when all are compiled: beside them no training would go on at its pace. Those that
        aren't wanted are forgotten.

        Args:
            wanted: programs, and for how many lanes.
            norms: whether `norms_of` is going to be asked for them, too.
        """
        keys = [_key_of(*of) for of in wanted]
        # What was asked for the last time may be asked for again: by the next split.
        self._built = {key: of for key, of in self._built.items() if key in self._asked}
        self._asked = set()
        self._found = {key: future for key, future in self._found.items() if key in keys}
        self._told &= self._found.keys()
        futures: list[Future[Any]] = [self._future_of(*of) for of in wanted]
        futures += [self._norms_future_of(program) for program, _ in wanted if norms]
        concurrent.futures.wait(futures)  # what went wrong is raised where it is used

    def compile(self, program: Program, num_lanes: int) -> float:
        """Makes `compiled` the program for so many lanes; returns the seconds, 0 if it is there."""
        compiled, seconds = self._future_of(program, num_lanes).result()
        if self.compiled is not None and compiled is not self.compiled:
            self.compiled.release()
        self.compiled = compiled
        key = _key_of(program, num_lanes)
        was_there = key in self._told
        self._told.add(key)
        return 0.0 if was_there else seconds

    def norms_of(self, program: Program) -> Callable[..., NormReport] | None:
        """As `compile_norms`."""
        return self._norms_future_of(program).result()

    def task_of(self, program: Program) -> Task:
        """The program's task."""
        return self._tasks[program.config]

    def build_of(self, program: Program, *more: Any) -> Build:
        """What compiles parts of a program, or brings them from an earlier run.

        Args:
            program: of the run.
            more: what the parts depend on beside the config and the data's shapes.
        """
        if program.config.loss.factory is not None:  # it may use all that the spec has
            return compile_together
        dataset = self.dataset_of(program)
        shapes = jax.eval_shape(lambda *splits: splits, *dataset[:3])
        weights, normalization = jax.eval_shape(
            lambda: (self.task_of(program).weights, self.task_of(program).normalization)
        )
        spec = _shared_spec(program.config, dataset.spec)
        key = _shared_config(program.config), spec, shapes, weights, normalization, *more
        return functools.partial(self._build, repr(key))

    def _build(self, key: str, parts: Mapping[str, Lower]) -> dict[str, Any]:
        """The parts of a program, which are made once for who asks at the same time."""
        with self._lock:
            is_mine = (key, *parts) not in self._built
            future = self._built.setdefault((key, *parts), Future())
            self._asked.add((key, *parts))
        if is_mine:
            try:
                if self._kept is None:
                    future.set_result(compile_together(parts))
                else:
                    future.set_result(self._kept.build(key, parts))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def _future_of(self, program: Program, num_lanes: int) -> Future[tuple[CompiledProgram, float]]:
        key = _key_of(program, num_lanes)
        if key not in self._found:
            self._found[key] = self._pool.submit(self._compile, program, num_lanes)
        return self._found[key]

    def _norms_future_of(self, program: Program) -> Future[Callable[..., NormReport] | None]:
        if program.config not in self._norms:
            self._norms[program.config] = self._pool.submit(self._compile_norms, program)
        return self._norms[program.config]

    def _compile(self, program: Program, num_lanes: int) -> tuple[CompiledProgram, float]:
        clock = time.perf_counter()
        dataset = self.dataset_of(program)
        task = self.task_of(program)
        wanted = task, program, dataset, num_lanes, self._devices
        on_host = not _fits(dataset, self._device)
        is_cut = self._most_steps is not None and self._most_steps < task.num_batches
        with jax.default_device(self._device):  # a thread of its own knows nothing of it
            if on_host or is_cut:
                compiled = compile_in_parts(*wanted, most_steps=self._most_steps, on_host=on_host)
            else:
                shape = num_lanes, self._num_shards
                build = self.build_of(program, axes_of_lanes(program), *shape)
                compiled = compile_program(*wanted, build)
        return compiled, time.perf_counter() - clock

    def _compile_norms(self, program: Program) -> Callable[..., NormReport] | None:
        x = inputs_to_describe(self.dataset_of(program).train.x)
        with jax.default_device(self._device):
            return compile_norms(self.task_of(program), x, self.build_of(program))

    def dataset_of(self, program: Program) -> Dataset:
        """The program's data."""
        return self._datasets[program.config.data]

    def _make_task(self, program: Program) -> Task:
        batch_size = program.config.train.batch_size
        if batch_size % self._num_shards:
            raise UserError(
                f"train.batch_size: found {batch_size}, wanted a multiple of {self._num_shards}: "
                "so many devices share a batch (devices.batch)"
            )
        dataset, path = self.dataset_of(program), program.config.model.init_from
        read = {} if path is None else self._weights[path]
        weights = {name: of for name, of in read.items() if name != INPUTS}
        with named(f"model.init_from: {path}"):
            stats = _input_stats(dataset, read.get(INPUTS))
        spec = dataset.spec._replace(input_stats=stats)
        platform = self._device.platform
        task = make_task(program.config, spec, weights=weights or None, platform=platform)
        if program.config.own_functions:  # jbn's own models train with all data that they take
            for trial in program.trials:
                check_taken(trial.config, task.parts)
            check_task(task)
            if INPUTS in task.first.collections:
                raise UserError(
                    f"model: found a collection named {INPUTS!r}, as jbn calls what it keeps "
                    "beside the variables; wanted another name"
                )
        elif (
            program.config.model.kind != "mlp"  # which takes inputs of any shape
            or program.config.train.freeze
            or weights
        ):
            _ = task.first  # raises what doesn't fit, before a file is written
        return task


def _key_of(program: Program, num_lanes: int) -> Any:
    """What programs have in common that are compiled to the same."""
    return program.config, axes_of_lanes(program), num_lanes


def _shared_config(config: ArmConfig) -> str:
    """What a program depends on of a config: not which data it gets, nor how they are normalized.

    So all splits of a data set share their programs.
    """
    data = DataConfig(augment=config.data.augment)
    return config.model_copy(update={"data": data}).model_dump_json()


def _shared_spec(config: ArmConfig, spec: DataSpec) -> DataSpec:
    """What a program depends on of its data, beside their arrays' shapes."""
    if config.loss.class_weights != "balanced":
        spec = spec._replace(class_counts=None)
    return spec._replace(input_stats=None)


def _input_stats(dataset: Dataset, of_weights: Mapping[str, Any] | None) -> InputStats:
    """The statistics to normalize inputs with: those that the weights were trained with, if any.

    They are the data's own where those of the weights don't fit: other features, or columns from
    which something was subtracted.
    """
    own = dataset.input_stats
    if (
        not isinstance(of_weights, Mapping)
        or "offset" in of_weights
        or dataset.input_offset is not None
    ):
        return own
    found = input_stats_of(of_weights)
    return found if found.mean.shape == own.mean.shape else own


def _fits(dataset: Dataset, device: jax.Device) -> bool:
    """Whether the data can stay on a device: in half of its memory, where it has one of its own."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(dataset[:3]))
    return limit is None or num_bytes <= limit / 2
