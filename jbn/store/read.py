"""What is in a run's folder, finished or not."""

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from jbn.config import Config, UserError, extended, num_epochs
from jbn.store.arrays import load_arrays
from jbn.store.files import read_json, write_whole
from jbn.store.layout import (
    CONFIG,
    FORMAT,
    GROUPS,
    METRICS,
    NORMS,
    REPORT,
    RUN,
    SUMMARY,
    TRIALS,
    source_path,
    variables_path,
)
from jbn.store.table import Columns, read_columns

_OLDER = (
    "{out}: holds a run in {found}, wanted format {wanted}; read it with the version of jbn that "
    "made it, or run it again in another folder"
)


class Extension(NamedTuple):
    """A run has more seeds or longer trainings from one of its parts on."""

    part: int
    num_seeds: int
    num_epochs: dict[str, int]  # of each arm


def check_format(run_dir: Path) -> None:
    """Raises UserError unless the folder is a run's, in the format of this version."""
    if not (run_dir / RUN).exists() and (run_dir / CONFIG).exists():
        raise UserError(
            _OLDER.format(out=run_dir, found=f"an older layout, without {RUN}", wanted=FORMAT)
        )
    content = read_json(run_dir / RUN)
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise UserError(_OLDER.format(out=run_dir, found=f"format {found}", wanted=FORMAT))


def is_finished(run_dir: Path) -> bool:
    """Whether the run has come to its end."""
    return (run_dir / SUMMARY).exists()


def read_config(run_dir: Path) -> Config:
    """The resolved config of a run, with all its seeds and epochs where it was extended.

    Raises:
        UserError: the folder isn't a run's.
    """
    config = read_first_config(run_dir)
    for extension in read_extensions(run_dir):
        config = extended(config, extension.num_seeds, extension.num_epochs)
    return config


def read_first_config(run_dir: Path) -> Config:
    """The resolved config of a run as it began.

    Raises:
        UserError: the folder isn't a run's.
    """
    check_format(run_dir)
    path = run_dir / CONFIG
    try:
        return Config.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); {run_dir} is no run") from None
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: not the config of a run: {reason}") from None


def read_parts(run_dir: Path) -> list[dict[str, Any]]:
    """The environment of each process that trained for the run, from the first to the last.

    Raises:
        UserError: the folder isn't a run's.
    """
    check_format(run_dir)
    parts = read_json(run_dir / RUN).get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise UserError(f"{run_dir / RUN}: damaged: no parts; run it again")
    return parts


def read_extensions(run_dir: Path) -> list[Extension]:
    """How the run was extended, from the first time to the last.

    Raises:
        UserError: the folder isn't a run's.
    """
    check_format(run_dir)
    try:
        return [Extension(**of) for of in read_json(run_dir / RUN).get("extensions", [])]
    except TypeError:
        raise UserError(f"{run_dir / RUN}: damaged: its extensions; run it again") from None


def read_seed_counts(run_dir: Path) -> list[int]:
    """How many seeds the run had before each of its extensions.

    Raises:
        UserError: the folder isn't a run's.
    """
    first = read_first_config(run_dir).num_seeds
    return [first, *(extension.num_seeds for extension in read_extensions(run_dir))][:-1]


def longer_arms(run_dir: Path, config: Config) -> set[str]:
    """The arms that have fewer epochs in the folder's run, if there is any, than in the config."""
    if not (run_dir / CONFIG).exists():
        return set()
    there = num_epochs(read_config(run_dir))
    return {arm for arm, number in num_epochs(config).items() if number > there.get(arm, number)}


def read_shown_metrics(run_dir: Path) -> dict[str, list[str]]:
    """The metrics to show, the one to judge by first, and those of which more is better.

    They are "shown" and "higher_is_better".

    Raises:
        UserError: the folder isn't a run's.
    """
    check_format(run_dir)
    metrics = read_json(run_dir / RUN).get("metrics")
    if not isinstance(metrics, dict) or not {"shown", "higher_is_better"} <= set(metrics):
        raise UserError(f"{run_dir / RUN}: damaged: no metrics; run it again")
    return metrics


def read_source(run_dir: Path, module: str) -> Path | None:
    """The file with the source of a module of the user's own; None if none was kept."""
    path = source_path(run_dir, module)
    return path if path.exists() else None


def read_groups(run_dir: Path) -> Columns:
    """A row for each time that lanes were set up for a group. Without any there are no columns."""
    return read_columns(run_dir / GROUPS)


def read_metrics(run_dir: Path) -> Columns:
    """A row for each trial and epoch. Without any there are no columns."""
    return read_columns(run_dir / METRICS)


def read_trials(run_dir: Path) -> Columns:
    """A row for each trial that is done. Without any there are no columns."""
    return read_columns(run_dir / TRIALS)


def all_trials(run_dir: Path) -> set[int]:
    """The numbers of the trials that have a row."""
    return set(read_trials(run_dir).get("trial", np.array([])).tolist())


def done_trials(run_dir: Path) -> set[int]:
    """The numbers of the trials that are done, those of a shorter training left out."""
    trials = read_trials(run_dir)
    if not trials:
        return set()
    since = _since(run_dir)
    rows = zip(*(trials[name].tolist() for name in ("trial", "arm", "part")), strict=True)
    return {number for number, arm, part in rows if part >= since[arm]}


def _since(run_dir: Path) -> dict[str, int]:
    """For each arm the part that made its trainings as long as they are; 0: the run began so."""
    lengths = num_epochs(read_first_config(run_dir))
    since = dict.fromkeys(lengths, 0)
    for extension in read_extensions(run_dir):
        for arm, number in extension.num_epochs.items():
            if number > lengths[arm]:
                lengths[arm], since[arm] = number, extension.part
    return since


def read_summary(run_dir: Path) -> dict[str, Any]:
    """What the run came to.

    Raises:
        UserError: the run isn't finished.
    """
    check_format(run_dir)
    summary: dict[str, Any] = read_json(run_dir / SUMMARY, "a finished run")
    return summary


def read_norms(run_dir: Path) -> dict[str, Any]:
    """What the batch statistics of each arm say; of a run that isn't finished, nothing yet."""
    norms: dict[str, Any] = read_json(run_dir / NORMS) if is_finished(run_dir) else {}
    return norms


def read_variables(run_dir: Path, arm: str, seed: int, *, best: bool = False) -> dict[str, Any]:
    """The variables of a trial, and what it takes to prepare inputs for them, as `inputs`.

    They are those after the last epoch, or after the best.

    Raises:
        UserError: they aren't there, or are damaged.
    """
    path = variables_path(run_dir, arm, seed, best=best)
    try:
        return load_arrays(path)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); the trial isn't done") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged: {error}; run it again") from None


def write_report(run_dir: Path, html: str) -> Path:
    """Writes the run's page; returns where it is.

    Raises:
        UserError: it can't be written.
    """
    path = run_dir / REPORT
    try:
        write_whole(path, html)
    except OSError as error:
        raise UserError(f"{path}: can't be written: {error.strerror}") from None
    return path
