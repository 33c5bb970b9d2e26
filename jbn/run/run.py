"""Every trial of a config trained, group after group, each on disk as soon as it is done."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jbn import store
from jbn.config import (
    Config,
    Group,
    Program,
    Share,
    describe_plan,
    plan,
    plan_groups,
    share_groups,
)
from jbn.data import load_all
from jbn.environment import without_compilation_cache
from jbn.processes import agreed, is_first
from jbn.run.compiler import Compiler, Datasets
from jbn.run.describe import (
    baseline_of,
    describe_all_norms,
    describe_data,
    describe_part,
    shown_metrics,
    sources_of,
    summarize_run,
)
from jbn.run.divergence import DivergenceSink
from jbn.run.engine import Judge, first_num_lanes, train_group
from jbn.run.events import Event, Sink, say
from jbn.run.kept import KeptPrograms
from jbn.run.longer import begin_anew, check_longer
from jbn.run.saving import Saver
from jbn.run.shared import check_same_config, opened
from jbn.run.sinks import folder_sink
from jbn.run.stop import Stop
from jbn.train import in_rows

_COMPILED_AT_ONCE = 8  # programs, at most, before they train


def run(
    config: Config,
    out: str | Path,
    *,
    device: jax.Device,
    sinks: Sequence[Sink] = (),
    command: str = "",
    cache: Path | None = None,
    stop: Stop | None = None,
    extend: bool = False,
    share: Share | None = None,
) -> dict[str, Any]:
    """Trains every trial, leaves the run in the folder `out`, and returns its summary.

    Of several processes only the first returns it; the others return nothing in it.

    A run that was stopped goes on from its last checkpoint, or with the first trials that weren't
    done. Variables, and what their batch statistics say, are kept where nothing is swept; a sweep
    leaves numbers alone.

    Args:
        config: of the run.
        out: its folder.
        device: where to train. All devices of its kind share the lanes; it has the first, in this
            process. Where there are several processes all call this, and the first writes.
        sinks: told of all that happens; they change nothing.
        command: that started this, for a reader of the folder.
        cache: JAX's compilation cache. Programs without functions of the user's are kept whole in
            its folder `programs`. None: they are compiled anew.
        stop: says whether the run shall end; see `jbn.run.listening`.
        extend: whether a run in `out` with fewer seeds or epochs goes on as this one.
        share: of the groups, those to train; then the run isn't finished, and its summary is empty.
            None: all of them.

    Raises:
        UserError: `out` holds something else than a run of the same config, or can't be written to.
        Stopped: the run was told to end, and is saved.
    """
    check_same_config(config)
    out = Path(out)
    stop = Stop() if stop is None else stop
    stop.before_leaving = store.remove_locks
    programs, datasets = _prepared(config, sinks)
    # What doesn't fit together fails here, before a file is written.
    devices = sorted(
        jax.devices(device.platform), key=lambda other: (other.process_index, other != device)
    )
    kept = _kept(programs, devices, cache)
    rows = in_rows(devices, config.devices.batch)
    most_steps = config.checkpoint.every_steps
    compiler = Compiler(programs, datasets, rows, kept, most_steps=most_steps)
    if extend and is_first():
        check_longer(programs, compiler, out, config)
    part = describe_part(device, command, datasets, compiler, programs)
    metrics = shown_metrics(config, programs, compiler)
    with (
        # A program from JAX's cache is there in part only, at least on a CPU, and can't be kept.
        contextlib.nullcontext() if kept is None else without_compilation_cache(),
        contextlib.closing(compiler),
        opened(out, config, part, metrics, sources_of(programs), extend=extend) as folder,
        contextlib.closing(_checkpoints(config, out, rows)) as checkpoints,
        jax.default_device(device),
    ):
        stop.is_finished = functools.partial(store.is_finished, out)
        tell = functools.partial(say, sinks)
        tell(folder.found)
        saver = Saver(
            folder,
            checkpoints,
            config.checkpoint,
            keeps_final=not config.sweep.axes,
            say=tell,
            stop=stop,
        )
        listeners: list[Sink] = [folder_sink(folder, compiler), saver, *sinks]
        stops = config.on_divergence == "stop"
        if stops or not config.sweep.axes:  # of a sweep the table tells
            listeners.insert(1, DivergenceSink(compiler, saver, stops=stops, say=tell))
        programs = plan(config, folder.seed_counts)
        groups = plan_groups(programs, folder.config.sweep.max_lanes)
        groups = groups if share is None else share_groups(groups, share)
        groups = [group for group in groups if not folder.has(group)]
        tell(begin_anew(groups, folder, checkpoints))
        judge = _judge(metrics) if config.checkpoint.keep_best else None
        has_norms = not config.sweep.axes and share is None
        for event in _trained(groups, compiler, folder, saver, judge, has_norms=has_norms):
            for listener in listeners:
                listener(event)
        if share is not None or not is_first():
            return {}
        folder.sort()
        summary = summarize_run(folder, baseline_of(programs, compiler))
        folder.finish(describe_all_norms(programs, compiler, out) if has_norms else {}, summary)
    return summary


def _trained(
    groups: Sequence[Group],
    compiler: Compiler,
    folder: store.Folder,
    saver: Saver,
    judge: Judge | None,
    *,
    has_norms: bool,
) -> Iterator[Event]:
    """Trains the groups; the programs of some are compiled side by side, before these train."""
    max_lanes = folder.config.sweep.max_lanes
    for first in range(0, len(groups), _COMPILED_AT_ONCE):
        some = groups[first : first + _COMPILED_AT_ONCE]
        arguments = [(group, compiler, folder.lanes_of(group), folder.done) for group in some]
        wanted = [(of[0].program, first_num_lanes(*of, max_lanes=max_lanes)) for of in arguments]
        compiler.prepare(wanted, norms=has_norms)
        for of in arguments:
            yield from train_group(*of, max_lanes=max_lanes, restore=saver.restore, judge=judge)


def _checkpoints(
    config: Config, out: Path, rows: Sequence[Sequence[jax.Device]]
) -> store.Checkpoints:
    number, num_shards = sum(map(len, rows)), len(rows[0])
    kind = f"{number} {rows[0][0].device_kind} device{'s' if number > 1 else ''}"
    if num_shards > 1:
        kind += f", {num_shards} for each batch"
    return store.Checkpoints(
        out, kind, keep=config.checkpoint.keep, is_first=is_first(), agreed=agreed
    )


def _prepared(config: Config, sinks: Sequence[Sink]) -> tuple[list[Program], Datasets]:
    """What is to be trained, and on what."""
    programs = plan(config)
    say(sinks, describe_plan(programs))
    datasets = load_all(program.config.data for program in programs)
    for line in sorted({describe_data(data, dataset) for data, dataset in datasets.items()}):
        say(sinks, line)
    return programs, datasets


def _kept(
    programs: Sequence[Program], devices: Sequence[jax.Device], cache: Path | None
) -> KeptPrograms | None:
    """Where programs are kept whole; None where JAX's cache has them instead, or nothing has."""
    if cache is None or jax.process_count() > 1:
        return None
    if any(program.config.own_functions for program in programs):
        return None
    return KeptPrograms(cache / "programs", devices)


def _judge(metrics: Mapping[str, list[str]]) -> Judge:
    """What is best of an epoch's metrics, by the metric that results are judged by."""
    name = metrics["shown"][0]
    sign = 1 if name in metrics["higher_is_better"] else -1
    return lambda of_epoch: sign * of_epoch[f"val_{name}"]
