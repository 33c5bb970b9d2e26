"""What is in a run's folder, finished or not."""

import functools
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jbn._npz import BadNpzError
from jbn.config import (
    Config,
    UserError,
    config_from_dict,
    extended,
    num_epochs,
    trial_numbers,
)
from jbn.config.sweep import MOST_TRIALS, count_points
from jbn.store.arrays import load_arrays
from jbn.store.files import check_links, read_json, read_text, write_whole
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
from jbn.store.table import Columns, empty_entries, read_columns

_OLDER = (
    "{out}: holds a run in {found}, wanted format {wanted}; read it with the version of jbn that "
    "made it, or run it again in another folder"
)


# The columns of a table that hold whole numbers, beside its arm.
_COUNTS = {
    GROUPS: ("group", "part", "trial", "num_lanes"),
    METRICS: ("trial", "seed", "epoch", "diverged_step"),
    TRIALS: ("trial", "seed", "group", "part", "diverged_step"),
}
_OF = {"U": "names", "i": "whole numbers"}


class Extension(NamedTuple):
    """A run has more seeds or longer trainings from one of its parts on."""

    part: int
    num_seeds: int
    num_epochs: dict[str, int]  # of each arm


def check_format(run_dir: Path) -> None:
    """Raises UserError unless the folder is a run's, in the format of this version."""
    has_run, has_config = (os.path.exists(run_dir / name) for name in (RUN, CONFIG))
    if has_run or has_config:  # a folder that is no run's may be as large as a disk
        check_links(run_dir)
    if has_config and not has_run:
        raise UserError(
            _OLDER.format(out=run_dir, found=f"an older layout, without {RUN}", wanted=FORMAT)
        )
    content = read_json(run_dir / RUN)
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise UserError(_OLDER.format(out=run_dir, found=f"format {found}", wanted=FORMAT))


def is_finished(run_dir: str | Path) -> bool:
    """Whether the run has come to its end."""
    return Path(run_dir, SUMMARY).exists()


def read_config(run_dir: str | Path) -> Config:
    """The resolved config of a run, with all its seeds and epochs where it was extended.

    Raises:
        UserError: the folder isn't a run's.
    """
    run_dir = Path(run_dir)
    config = read_first_config(run_dir)
    for extension in read_extensions(run_dir):
        config = extended(config, extension.num_seeds, extension.num_epochs)
    if config.num_seeds * count_points(config.sweep) * len(config.arms) > MOST_TRIALS:
        raise UserError(f"{run_dir / RUN}: damaged: an extension to {config.num_seeds} seeds")
    return config


def read_first_config(run_dir: Path) -> Config:
    """The resolved config of a run as it began.

    Raises:
        UserError: the folder isn't a run's.
    """
    check_format(run_dir)
    path = run_dir / CONFIG
    text = read_text(path)
    try:
        return _config_of(text)
    except UserError as error:
        reason = str(error).partition("\n")[0]
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise UserError(f"{path}: not the config of a run: {reason}")


@functools.lru_cache(maxsize=16)
def _config_of(text: str) -> Config:
    """The config in a file: its keys fit together as those of a TOML file do."""
    table = json.loads(text)
    if not isinstance(table, dict):
        raise UserError(f"found a {type(table).__name__}, wanted an object")
    return config_from_dict(table)


def read_parts(run_dir: Path) -> list[dict[str, Any]]:
    """The environment of each process that trained for the run, from the first to the last.

    Raises:
        UserError: the folder isn't a run's.
    """
    check_format(run_dir)
    parts = read_json(run_dir / RUN).get("parts")
    if not isinstance(parts, list) or not parts or not all(isinstance(of, dict) for of in parts):
        raise UserError(f"{run_dir / RUN}: damaged: no parts; run it again")
    return parts


def read_extensions(run_dir: Path) -> list[Extension]:
    """How the run was extended, from the first time to the last.

    Raises:
        UserError: the folder isn't a run's.
    """
    check_format(run_dir)
    found = read_json(run_dir / RUN).get("extensions", [])
    if not isinstance(found, list) or not all(map(_is_extension, found)):
        raise UserError(f"{run_dir / RUN}: damaged: its extensions; run it again")
    return [Extension(**of) for of in found]


def _is_extension(found: Any) -> bool:
    """Whether these are the fields of an `Extension`."""
    if not isinstance(found, dict) or set(found) != set(Extension._fields):
        return False
    of_arms = found["num_epochs"]
    if not isinstance(of_arms, dict):
        return False
    numbers = [found["part"] + 1, found["num_seeds"], *of_arms.values()]
    return all(type(number) is int and 1 <= number < 2**31 for number in numbers)


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
    metrics = metrics if isinstance(metrics, dict) else {}
    shown, rising = metrics.get("shown"), metrics.get("higher_is_better")
    if not (_are_names(shown) and shown and _are_names(rising)):
        raise UserError(f"{run_dir / RUN}: damaged: no metrics; run it again")
    return {"shown": shown, "higher_is_better": rising}


def _are_names(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(name, str) for name in found)


def read_source(run_dir: str | Path, module: str) -> Path | None:
    """The file with the source of a module of the user's own; None if none was kept."""
    run_dir = Path(run_dir)
    check_links(run_dir)
    path = source_path(run_dir, module)
    return path if path.is_file() else None


def read_groups(run_dir: str | Path) -> Columns:
    """A row for each time that lanes were set up for a group. Without any there are no columns."""
    return _read_table(Path(run_dir), GROUPS)


def read_metrics(run_dir: str | Path) -> Columns:
    """A row for each trial and epoch. Without any there are no columns."""
    return _read_table(Path(run_dir), METRICS)


def read_trials(run_dir: str | Path) -> Columns:
    """A row for each trial that is done. Without any there are no columns."""
    return _read_table(Path(run_dir), TRIALS)


def _read_table(run_dir: Path, name: str) -> Columns:
    """A table with the columns that are counted by, where it has any.

    Raises:
        UserError: the file can't be read, or is no such table.
    """
    columns = read_columns(run_dir / name)
    has_rows = any(len(column) for column in columns.values())
    for column in ("arm", *_COUNTS[name]) if has_rows else ():
        found = columns.get(column)
        least = -1 if column == "diverged_step" else 0
        kind = "U" if column == "arm" else "i"
        if found is None or found.dtype.kind != kind:
            raise UserError(f"{run_dir / name}: damaged: no column {column}, or not of {_OF[kind]}")
        if kind == "i" and (found < least).any():
            raise UserError(f"{run_dir / name}: damaged: a number below {least} in {column}")
    for column in {"seconds", "compile_seconds"} & set(columns):
        found = columns[column]
        if found.dtype.kind not in "if" or not np.isfinite(found).all():
            raise UserError(f"{run_dir / name}: damaged: no finite number in {column}")
    return columns


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
    try:
        return {number for number, arm, part in rows if part >= since[arm]}
    except KeyError as error:
        raise UserError(
            f"{run_dir / TRIALS}: damaged: arm {error} isn't in {CONFIG}; run it again"
        ) from None


def _since(run_dir: Path) -> dict[str, int]:
    """For each arm the part that made its trainings as long as they are; 0: the run began so."""
    lengths = num_epochs(read_first_config(run_dir))
    since = dict.fromkeys(lengths, 0)
    for extension in read_extensions(run_dir):
        for arm, number in extension.num_epochs.items():
            if number > lengths.get(arm, number):
                lengths[arm], since[arm] = number, extension.part
    return since


def check_rows(run_dir: Path) -> None:
    """Raises UserError where the tables aren't what training leaves of the config.

    Each row is of a trial of the config, each trial is done once, its epochs have no gaps, and the
    rows of an arm have numbers in the same columns.
    """
    config = read_config(run_dir)
    numbers = trial_numbers(config, read_seed_counts(run_dir))
    place = np.empty(numbers.size, int)
    place[numbers.ravel()] = np.arange(numbers.size)  # of a trial among (arms, points, seeds)
    names = np.array(list(config.arms))
    for name in (TRIALS, METRICS):
        rows = _read_table(run_dir, name)
        if not len(trial := rows.get("trial", np.array([], int))):
            continue
        if (trial >= numbers.size).any():
            raise UserError(f"{run_dir / name}: damaged: trial {trial.max()} isn't the config's")
        arm, _, seed = np.unravel_index(place[trial], numbers.shape)
        is_other = (names[arm] != rows["arm"]) | (config.seed + seed != rows["seed"])
        if is_other.any():
            raise UserError(
                f"{run_dir / name}: damaged: trial {trial[np.argmax(is_other)]} isn't the config's"
            )
        for column, is_empty in empty_entries(run_dir / name).items():
            is_in_some = [is_empty[arm == number] for number in np.unique(arm)]
            if any(of.any() and not of.all() for of in is_in_some):
                raise UserError(
                    f"{run_dir / name}: damaged: {column} is in some rows of an arm, not in all"
                )
        order = np.lexsort((rows.get("epoch", trial), trial))
        is_first = np.diff(trial[order], prepend=-1) > 0
        wanted = is_first  # of a trial that is done, one row
        if name == METRICS:
            epoch = rows["epoch"][order]
            wanted = np.where(is_first, epoch == 1, np.diff(epoch, prepend=0) == 1)
        if not wanted.all():
            wrong = trial[order][np.argmin(wanted)]
            raise UserError(
                f"{run_dir / name}: damaged: a row of trial {wrong} is missing, or there twice"
            )


def read_summary(run_dir: str | Path) -> dict[str, Any]:
    """What the run came to.

    Raises:
        UserError: the run isn't finished, or the file is damaged.
    """
    run_dir = Path(run_dir)
    check_format(run_dir)
    return _read_object(run_dir / SUMMARY, "a finished run")


def read_norms(run_dir: str | Path) -> dict[str, Any]:
    """What the batch statistics of each arm say; of a run that isn't finished, nothing yet."""
    return _read_object(Path(run_dir, NORMS), "a run") if is_finished(run_dir) else {}


def _read_object(path: Path, wanted: str) -> dict[str, Any]:
    content = read_json(path, wanted)
    if not isinstance(content, dict):
        raise UserError(f"{path}: damaged: found a {type(content).__name__}; run it again")
    return content


def read_variables(
    run_dir: str | Path, arm: str, seed: int, *, best: bool = False
) -> dict[str, Any]:
    """The variables of a trial, and what it takes to prepare inputs for them, as `inputs`.

    They are those after the last epoch, or after the best.

    Raises:
        UserError: they aren't there, or are damaged.
    """
    path = variables_path(Path(run_dir), arm, seed, best=best)
    if not path.exists():
        raise UserError(f"{path}: can't be read (no such file); the trial isn't done")
    try:
        return load_arrays(path)
    except BadNpzError as error:
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
