"""Every trial of a config trained, group after group, each on disk as soon as it is done."""

import contextlib
import functools
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbn import store
from jbn.config import (
    Config,
    DataConfig,
    Program,
    Share,
    UserError,
    describe_plan,
    plan,
    plan_groups,
    share_groups,
)
from jbn.config.functions import source_of
from jbn.data import Dataset, load_all
from jbn.environment import describe_environment, without_compilation_cache
from jbn.processes import agreed, is_first
from jbn.run.compiler import Compiler, Datasets
from jbn.run.divergence import DivergenceSink
from jbn.run.engine import Judge, first_num_lanes, train_group
from jbn.run.events import Said, Sink
from jbn.run.kept import KeptPrograms
from jbn.run.longer import begin_anew, check_longer
from jbn.run.norms import describe_norms, inputs_to_describe
from jbn.run.saving import Saver
from jbn.run.shared import opened
from jbn.run.sinks import folder_sink
from jbn.run.stop import Stop
from jbn.summary import finite, summarize
from jbn.train import Hypers, baseline_metrics, in_rows, metric_names

_COMPILED_AT_ONCE = 8  # programs, at most, before they train


def run(
    config: Config,
    out: Path,
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
    part = _describe_part(device, command, datasets, compiler, programs)
    metrics = _shown_metrics(config, programs, compiler)
    with (
        # A program from JAX's cache is there in part only, at least on a CPU, and can't be kept.
        contextlib.nullcontext() if kept is None else without_compilation_cache(),
        contextlib.closing(compiler),
        opened(out, config, part, metrics, _sources(programs), extend=extend) as folder,
        contextlib.closing(_checkpoints(config, out, rows)) as checkpoints,
        jax.default_device(device),
    ):
        _say(sinks, folder.found)
        saver = Saver(
            folder,
            checkpoints,
            config.checkpoint,
            keeps_final=not config.sweep.axes,
            say=functools.partial(_say, sinks),
            stop=stop,
        )
        diverged = []
        if config.on_divergence == "stop" or not config.sweep.axes:  # of which the table tells
            stops = config.on_divergence == "stop"
            say = functools.partial(_say, sinks)
            diverged = [DivergenceSink(compiler, saver, stops=stops, say=say)]
        sinks = [folder_sink(folder, compiler), *diverged, saver, *sinks]
        programs = plan(config, folder.seed_counts)
        max_lanes = folder.config.sweep.max_lanes
        judge = _judge(metrics) if config.checkpoint.keep_best else None
        groups = plan_groups(programs, max_lanes)
        groups = groups if share is None else share_groups(groups, share)
        groups = [group for group in groups if not folder.has(group)]
        _say(sinks, begin_anew(groups, folder, checkpoints))
        for first in range(0, len(groups), _COMPILED_AT_ONCE):
            some = groups[first : first + _COMPILED_AT_ONCE]
            arguments = [(group, compiler, folder.lanes_of(group), folder.done) for group in some]
            wanted = [
                (of[0].program, first_num_lanes(*of, max_lanes=max_lanes)) for of in arguments
            ]
            compiler.prepare(wanted, norms=not config.sweep.axes and share is None)
            for of in arguments:
                for event in train_group(
                    *of, max_lanes=max_lanes, restore=saver.restore, judge=judge
                ):
                    for sink in sinks:
                        sink(event)
        if share is not None or not is_first():
            return {}
        folder.sort()
        summary = _summarize(folder, _baseline(programs, compiler))
        norms = {} if config.sweep.axes else _describe_all_norms(programs, compiler, out)
        folder.finish(norms, summary)
    return summary


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
    _say(sinks, describe_plan(programs))
    datasets = load_all(program.config.data for program in programs)
    for line in sorted({_describe(data, dataset) for data, dataset in datasets.items()}):
        _say(sinks, line)
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


def _say(sinks: Sequence[Sink], text: str | None) -> None:
    for sink in sinks if text else ():
        sink(Said(text or ""))


def _judge(metrics: Mapping[str, list[str]]) -> Judge:
    """What is best of an epoch's metrics, by the metric that results are judged by."""
    name = metrics["shown"][0]
    sign = 1 if name in metrics["higher_is_better"] else -1
    return lambda of_epoch: sign * of_epoch[f"val_{name}"]


def _describe_part(
    device: jax.Device,
    command: str,
    datasets: Datasets,
    compiler: Compiler,
    programs: Sequence[Program],
) -> dict[str, Any]:
    """What a reader needs to make this part of the run again."""
    weights = {
        program.config.model.init_from: compiler.task_of(program).weights for program in programs
    }
    return {
        **describe_environment(device),
        "command": command,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_sha256": {
            **_checksums(datasets),
            **{path: _checksum(tree) for path, tree in weights.items() if path is not None},
        },
    }


def _checksum(tree: Any) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        digest.update(f"{path} {leaf.dtype} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _summarize(folder: store.Folder, baseline: dict[str, Any] | None) -> dict[str, Any]:
    summary = summarize(
        folder.config,
        store.read_shown_metrics(folder.path),
        store.read_trials(folder.path),
        store.read_metrics(folder.path),
        store.read_groups(folder.path),
        folder.seed_counts,
    )
    return {**summary, "baseline": baseline}


def _shown_metrics(
    config: Config, programs: Sequence[Program], compiler: Compiler
) -> dict[str, list[str]]:
    """The metrics to show, the one to judge by first, and those of which more is better.

    Raises:
        UserError: an arm hasn't the metric to judge by.
    """
    some = _one_of_each_loss(programs)
    tasks = [compiler.task_of(program) for program in some]
    names = [metric_names(task) for task in tasks]
    metric = config.report.metric or tasks[0].loss.shown[0]
    for program, found in zip(some, names, strict=True):
        if metric not in found:
            raise UserError(
                f"report.metric: found {metric!r}, which arm {program.arm!r} doesn't report; "
                f"wanted one of {', '.join(found)}"
            )
    for task, found in zip(tasks, names, strict=True):
        if missing := [name for name in task.loss.shown if name not in found]:
            raise UserError(
                f"loss.factory: shows {missing[0]!r}, which its metrics lack; wanted some of "
                f"{', '.join(found)}"
            )
    shown = dict.fromkeys([metric, *(name for task in tasks for name in task.loss.shown)])
    in_all = [name for name in shown if all(name in found for found in names)]
    rising = [name for name in in_all if name in tasks[0].loss.higher_is_better]
    return {"shown": in_all, "higher_is_better": rising}


def _sources(programs: Sequence[Program]) -> dict[str, str]:
    """The source of each module with a function of the user's own, as far as there is any."""
    paths = {path for program in programs for path in program.config.own_functions.values()}
    return dict(found for path in paths if (found := source_of(path)) is not None)


def _one_of_each_loss(programs: Sequence[Program]) -> list[Program]:
    """A program for each of the data and losses among all programs."""
    of_losses = {(program.config.data, program.config.loss): program for program in programs}
    return list(of_losses.values())


def _baseline(programs: Sequence[Program], compiler: Compiler) -> dict[str, Any] | None:
    """What a model without inputs would come to on the test split; None if arms differ in it."""
    found = []
    for program in _one_of_each_loss(programs):
        task, dataset = compiler.task_of(program), compiler.dataset_of(program)
        targets = dataset.train.y, dataset.test.y
        metrics = baseline_metrics(task, *targets, compiler.build_of(program))
        if metrics is None or task.loss.baseline is None:
            return None
        test = {f"test_{name}": finite(metric) for name, metric in metrics.items()}
        found.append({"name": task.loss.baseline[0], **test})
    return found[0] if all(other == found[0] for other in found) else None


def _describe(data: DataConfig, dataset: Dataset) -> str:
    """Where the data come from; and how many classes have no example, if any."""
    place = f"data: {data.name}, {dataset.where}"
    if dataset.num_classes is None:
        return place
    labels = np.concatenate([split.y for split in (dataset.train, dataset.val, dataset.test)])
    num_missing = dataset.num_classes - len(np.unique(labels))
    if not num_missing:
        return place
    return (
        f"{place}; labels go to {dataset.num_classes - 1}, which makes {dataset.num_classes} "
        f"classes, {num_missing} of them without an example"
    )


def _checksums(datasets: Mapping[DataConfig, Dataset]) -> dict[str, str]:
    """SHA-256 of each data set, by its name or path, numbered where one comes in several forms."""
    checksums: dict[str, str] = {}
    for data, dataset in datasets.items():
        if dataset.sha256 not in checksums.values():
            name = data.path or data.name
            number = sum(key.partition(" #")[0] == name for key in checksums) + 1
            checksums[name if number == 1 else f"{name} #{number}"] = dataset.sha256
    return checksums


def _describe_all_norms(
    programs: Sequence[Program], compiler: Compiler, out: Path
) -> dict[str, Any]:
    """What the batch statistics say of each arm's first seed, where it has any."""
    norms = {}
    for program in programs:
        variables = store.read_variables(out, program.arm, program.trials[0].seed)
        del variables[store.INPUTS]
        report = compiler.norms_of(program) if "batch_stats" in variables else None
        if report is not None:
            x = inputs_to_describe(compiler.dataset_of(program).train.x)
            hypers = Hypers.of(program.trials[0].config)
            norms[program.arm] = describe_norms(report(variables, x, hypers))
    return norms
