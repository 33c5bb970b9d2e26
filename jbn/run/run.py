"""Every trial of a config trained, group after group, each on disk as soon as it is done."""

import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbn.checkpoint import load_arrays, save_arrays, variables_path
from jbn.config import Config, DataConfig, Program, UserError, describe_plan, plan
from jbn.data import Dataset, load_all
from jbn.environment import describe_environment
from jbn.progress import Progress
from jbn.run.folder import FINISHED, LOCK, prepare_folder
from jbn.run.groups import train_groups
from jbn.run.norms import describe_norms
from jbn.run.results import load_groups, merge_groups, save_group, summarize, write_trials
from jbn.train import count_parameters, default_num_lanes


def run(config: Config, out: Path, device: jax.Device, progress: Progress) -> dict[str, Any]:
    """Trains every trial, leaves the run in the folder `out`, and returns its summary.

    A run that was stopped goes on with the first group that wasn't done. Variables, and what their
    batch statistics say, are kept where nothing is swept; a sweep leaves numbers alone.

    Raises:
        UserError: `out` holds something else than a run of the same config, or can't be written to.
    """
    programs = plan(config)
    progress.say(describe_plan(programs))
    datasets = load_all(program.config.data for program in programs)
    for line in sorted({_describe(data, dataset) for data, dataset in datasets.items()}):
        progress.say(line)
    # What doesn't fit together fails here, before anything is written.
    counts = [
        count_parameters(program.config, datasets[program.config.data]) for program in programs
    ]
    environment = describe_environment(device) | {"command": shlex.join(["jbn", *sys.argv[1:]])}
    environment["data_sha256"] = checksums = _checksums(datasets)
    found = prepare_folder(out, config)
    if found is not None:
        progress.say(found)
    try:
        _check_data(out, checksums)
        _write_json(out / "config.json", config.model_dump(mode="json"))
        _write_json(out / "environment.json", environment)
        with jax.default_device(device):
            _train_all(config, programs, datasets, out, progress)
        results = merge_groups(load_groups(out / FINISHED))
        write_trials(out, config, programs, results)
        norms = {} if config.sweep.axes else _describe_all_norms(programs, datasets, out)
        _write_json(out / "norms.json", norms)
        summary = summarize(config, programs, counts, results)
        _write_json(out / "summary.json", summary)
        shutil.rmtree(out / FINISHED)
    except OSError as error:
        raise UserError(
            f"{out}: can't be written: {error.strerror or error}; the groups that are finished are "
            "kept, and the same command goes on with the next"
        ) from None
    finally:
        (out / LOCK).unlink(missing_ok=True)
    return summary


def _describe(data: DataConfig, dataset: Dataset) -> str:
    """Where the data come from; and how many classes have no example, if any."""
    labels = np.concatenate([split.y for split in (dataset.train, dataset.val, dataset.test)])
    num_missing = dataset.num_classes - len(np.unique(labels))
    place = f"data: {data.name}, {dataset.where}"
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


def _check_data(out: Path, checksums: Mapping[str, str]) -> None:
    """Raises UserError where what is done of a stopped run was done with other data."""
    path = out / "environment.json"
    if not path.is_file() or not any((out / FINISHED).iterdir()):
        return
    if json.loads(path.read_text(encoding="utf-8")).get("data_sha256") != checksums:
        raise UserError(
            f"{out}: holds a part of a run with other data; choose another folder with --out"
        )


def _train_all(
    config: Config,
    programs: Sequence[Program],
    datasets: Mapping[DataConfig, Dataset],
    out: Path,
    progress: Progress,
) -> None:
    """Trains the trials that have no results yet, and saves these."""
    done = {int(number) for group in load_groups(out / FINISHED) for number in group["trial"]}
    for program in programs:
        trials = [trial for trial in program.trials if trial.number not in done]
        dataset = datasets[program.config.data]
        max_lanes = config.sweep.max_lanes or default_num_lanes(program, dataset)
        label = _label(program, programs)
        for group in train_groups(program, trials, dataset, max_lanes, label, progress):
            if not config.sweep.axes:
                for lane, trial in enumerate(group.trials):
                    variables = jax.tree.map(lambda leaf, lane=lane: leaf[lane], group.variables)
                    _save_variables(out, trial.arm, trial.seed, variables, dataset)
            save_group(out / FINISHED, group.trials, group.results)


def _label(program: Program, programs: Sequence[Program]) -> str:
    """What a program is called: its arm, and what sets it apart from the arm's other programs."""
    points = [p.trials[0].point for p in programs if p.arm == program.arm]
    mine = program.trials[0].point
    parts = []
    for key, value in mine.items():
        in_program = {repr(trial.point[key]) for trial in program.trials}
        if len(in_program) == 1 and any(point[key] != value for point in points):
            parts.append(f"{key}={value}")
    return " ".join([program.arm, *parts])


def _save_variables(out: Path, arm: str, seed: int, variables: Any, dataset: Dataset) -> None:
    inputs = {
        **dataset.input_stats._asdict(),
        "remainders": dataset.input_stats.remainders._asdict(),
        "num_classes": np.asarray(dataset.num_classes),
    }
    if dataset.input_offset is not None:
        inputs["offset"] = dataset.input_offset
    save_arrays(variables_path(out, arm, seed), {**variables, "inputs": inputs})


def _describe_all_norms(
    programs: Sequence[Program], datasets: Mapping[DataConfig, Dataset], out: Path
) -> dict[str, Any]:
    """What the batch statistics say of each arm's first seed, where it has any."""
    norms = {}
    for program in programs:
        variables = load_arrays(variables_path(out, program.arm, program.trials[0].seed))
        if variables.get("batch_stats"):
            config = program.trials[0].config
            dataset = datasets[program.config.data]
            norms[program.arm] = describe_norms(config, dataset, variables)
    return norms


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
