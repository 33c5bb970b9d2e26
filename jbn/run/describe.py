"""What a run says of itself: its data, its part, its metrics, and what it came to."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbn import store
from jbn.config import Config, DataConfig, Program, UserError
from jbn.config.functions import source_of
from jbn.data import Dataset
from jbn.environment import describe_environment
from jbn.run.compiler import Compiler, Datasets
from jbn.run.norms import describe_norms, inputs_to_describe
from jbn.summary import finite, summarize
from jbn.train import Hypers, baseline_metrics, metric_names


def describe_part(
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


def summarize_run(folder: store.Folder, baseline: dict[str, Any] | None) -> dict[str, Any]:
    """What the run came to, of its tables."""
    out = folder.path
    store.check_rows(out)
    tables = store.read_trials(out), store.read_metrics(out), store.read_groups(out)
    try:
        shown = store.read_shown_metrics(out)
        summary = summarize(folder.config, shown, *tables, folder.seed_counts)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{out}: its tables are damaged: {error!r}; run it again") from error
    return {**summary, "baseline": baseline}


def shown_metrics(
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


def sources_of(programs: Sequence[Program]) -> dict[str, str]:
    """The source of each module with a function of the user's own, as far as there is any."""
    paths = {path for program in programs for path in program.config.own_functions.values()}
    return dict(found for path in paths if (found := source_of(path)) is not None)


def _one_of_each_loss(programs: Sequence[Program]) -> list[Program]:
    """A program for each of the data and losses among all programs."""
    of_losses = {(program.config.data, program.config.loss): program for program in programs}
    return list(of_losses.values())


def baseline_of(programs: Sequence[Program], compiler: Compiler) -> dict[str, Any] | None:
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


def describe_data(data: DataConfig, dataset: Dataset) -> str:
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


def describe_all_norms(
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
