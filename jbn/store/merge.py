"""One run made of the folders that its parts were trained in."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jbn.config import Config, Share, UserError, differences, plan
from jbn.store.files import check_links, read_json, read_text, write_json
from jbn.store.folder import check_name, write_sources, written
from jbn.store.layout import (
    CONFIG,
    GROUPS,
    METRICS,
    PARTS,
    RUN,
    SOURCE,
    TRIALS,
    share_path,
    variables_path,
)
from jbn.store.lock import Lock, in_use
from jbn.store.read import (
    is_finished,
    read_config,
    read_extensions,
    read_parts,
    read_shown_metrics,
    read_variables,
)
from jbn.store.table import Row, read_rows, write_rows

_Of = TypeVar("_Of")
_Made = TypeVar("_Made")


class _Content(NamedTuple):
    """What a folder has, but for its variables."""

    path: Path
    config: Config
    parts: list[dict[str, Any]]
    shown: dict[str, list[str]]
    sources: dict[str, str]
    trials: list[Row]
    metrics: list[Row]
    groups: list[Row]


def read_shares(out: Path) -> dict[Share, Path]:
    """The folders of a run's parts that were begun, where they share a disk."""
    if not os.path.isdir(out / PARTS):  # a folder that is no run's may be as large as a disk
        return {}
    check_links(out)
    found = {}
    for path in (out / PARTS).glob("*-of-*"):
        number, _, among = path.name.partition("-of-")
        if _is_count(number) and _is_count(among) and (path / CONFIG).exists():
            share = Share(int(number), int(among))
            found[share] = share_path(out, share)
    return dict(sorted(found.items()))


def check_config(run_dir: Path, config: Config) -> None:
    """Raises UserError where the folder's run isn't of the config, in the same groups."""
    if changed := _differences(read_config(run_dir), config):
        raise UserError(
            f"{run_dir}: holds a run of another config: {changed[0]}; choose another folder with "
            "--out, or another name in the config"
        )


def merge(out: Path, folders: Iterable[Path]) -> Config:
    """Makes one run, not finished yet, of the trials in the folders; returns its config.

    What the run `out` has already stays. A trial may be in several folders, if it came to the same
    bits there. Nothing outside `out` is written.

    Args:
        out: the run's folder, a new one or that of an earlier merge.
        folders: of parts, or with parts of the run in them.

    Raises:
        UserError: a folder is damaged, or is no part of the same run; or `out` is finished.
    """
    check_name(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: found a file, wanted a new folder, or a run's")
    check_links(out)
    names = {path.name for path in out.iterdir()} if out.exists() else set()
    if names - {PARTS} and RUN not in names:
        raise UserError(f"{out}: found a folder with other files, wanted a new one, or a run's")
    if is_finished(out):
        raise UserError(f"{out}: is finished already; choose another folder")
    paths = [path for folder in folders for path in [*read_shares(folder).values(), folder]]
    paths = [path for path in dict.fromkeys(paths) if path != out and not _has_parts_alone(path)]
    if used := [path for path in paths if in_use(path)]:
        raise UserError(f"{used[0]}: a part is going on there; wait for it")
    contents = _each(_read, paths)
    if contents:
        _check_same(contents)
        _each(_check_rows, contents)
    else:
        raise UserError(f"{out}: found no part of a run to merge, wanted folders of jbn run --part")
    with written(out):
        out.mkdir(parents=True, exist_ok=True)
        with Lock(out) as lock:
            own = [_read(out)] if (out / CONFIG).exists() else []
            _each(_check_rows, own)
            _check_same([*own, *contents])
            lock.check()
            _write(out, [*own, *contents])
    return contents[0].config


def _has_parts_alone(folder: Path) -> bool:
    return (folder / PARTS).is_dir() and not (folder / RUN).exists()


def _each(function: Callable[[_Of], _Made], things: Iterable[_Of]) -> list[_Made]:
    """What the function makes of each thing. Raises UserError with a line for each mistake."""
    made, errors = [], []
    for thing in things:
        try:
            made.append(function(thing))
        except UserError as error:
            errors.append(str(error))
    if errors:
        raise UserError("\n".join(errors))
    return made


def _read(path: Path) -> _Content:
    config, parts, shown = read_config(path), read_parts(path), read_shown_metrics(path)
    if read_extensions(path):
        raise UserError(f"{path}: was extended; wanted a part as it was trained at first")
    sources = {source.stem: read_text(source) for source in sorted((path / SOURCE).glob("*.py"))}
    trials, metrics, groups = (read_rows(path / name) for name in (TRIALS, METRICS, GROUPS))
    for name, rows in {TRIALS: trials, METRICS: metrics, GROUPS: groups}.items():
        numbers = {TRIALS: ("trial", "seed", "group", "part"), METRICS: ("trial",)}
        for column in numbers.get(name, ("group", "part")):
            if not all("arm" in row and _is_count(row.get(column, "")) for row in rows):
                raise UserError(f"{path / name}: damaged: a row without arm or {column}")
    if not config.sweep.axes:
        for row in trials:
            if row["arm"] in config.arms:  # else its name may be a path to another place
                read_variables(path, row["arm"], int(row["seed"]))  # raises if they are damaged
    return _Content(path, config, parts, shown, sources, trials, metrics, groups)


def _check_rows(content: _Content) -> None:
    """Raises UserError where the tables aren't what training leaves of the config."""
    path, trials, metrics, groups = content.path, content.trials, content.metrics, content.groups
    programs = plan(content.config)
    planned = {str(trial.number): trial for program in programs for trial in program.trials}
    epochs, known = _by_trial(metrics), {row["group"] for row in groups}
    for row in trials:
        trial = planned.get(row["trial"])
        if trial is None or (trial.arm, str(trial.seed)) != (row["arm"], row["seed"]):
            raise UserError(f"{path / TRIALS}: damaged: trial {row['trial']} isn't the config's")
        if row["group"] not in known:
            raise UserError(f"{path / GROUPS}: damaged: group {row['group']} is missing")
        wanted, found = trial.config.train.num_epochs, epochs.get(row["trial"], [])
        numbers = [str(number + 1) for number in range(len(found))]
        if len(found) != wanted or [of.get("epoch") for of in found] != numbers:
            raise UserError(
                f"{path / METRICS}: damaged: not each of the {wanted} epochs of trial "
                f"{row['trial']} is there once"
            )
    for name, rows in {TRIALS: trials, METRICS: metrics, GROUPS: groups}.items():
        for row in rows:
            part = row.get("part", "0")
            if not _is_count(part) or int(part) >= len(content.parts):
                raise UserError(f"{path / name}: damaged: no part {part} in {RUN}")
            for column, text in row.items():
                if column.startswith(("train_", "val_", "test_", "best_")) and not _is_number(text):
                    raise UserError(f"{path / name}: damaged: {column} is {text!r}")


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18


def _is_number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True


def _check_same(contents: Sequence[_Content]) -> None:
    """Raises UserError where the folders aren't parts of one run."""
    first = contents[0]
    for other in contents[1:]:
        if changed := _differences(first.config, other.config):
            raise UserError(
                f"{other.path}: is a run of another config than {first.path}: {changed[0]}; they "
                "can't be merged"
            )
        for what, is_same in {
            "was trained with other data": _data(other) == _data(first),
            "was trained with other functions": other.sources == first.sources,
            "shows other metrics": other.shown == first.shown,
        }.items():
            if not is_same:
                raise UserError(f"{other.path}: {what} than {first.path}; they can't be merged")
    found: dict[str, tuple[Path, Any]] = {}
    for content in contents:
        epochs = _by_trial(content.metrics)
        for row in content.trials:
            results = {name: row[name] for name in row if name not in ("part", "seconds")}
            result = results, epochs.get(row["trial"])
            path, earlier = found.setdefault(row["trial"], (content.path, result))
            if earlier != result:
                raise UserError(
                    f"{content.path}: its trial {row['trial']} (arm {row['arm']}, seed "
                    f"{row['seed']}) came to other results in {path}; leave one of them out"
                )


def _differences(there: Config, here: Config) -> list[str]:
    """What makes another run of a config, or other groups, and so other shares."""
    lanes = there.sweep.max_lanes, here.sweep.max_lanes
    others = [f"sweep.max_lanes: {lanes[0]} there, {lanes[1]} in this config"]
    return differences(there, here) + (others if lanes[0] != lanes[1] else [])


def _data(content: _Content) -> Any:
    return content.parts[-1].get("data_sha256")


def _by_trial(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["trial"], []).append(row)
    return found


def _write(out: Path, contents: Sequence[_Content]) -> None:
    """Writes the tables whole. Trials come last: what has a row there is done."""
    parts: list[dict[str, Any]] = []
    groups: dict[frozenset[tuple[str, str]], Row] = {}
    trials: dict[str, Row] = {}
    metrics: dict[str, list[Row]] = {}
    for content in contents:
        parts += [part for part in content.parts if part not in parts]
        number_of = [str(parts.index(part)) for part in content.parts]
        groups |= {frozenset(row.items()): row for row in _renumbered(content.groups, number_of)}
        epochs = _by_trial(content.metrics)
        for row in _renumbered(content.trials, number_of):
            if row["trial"] not in trials:
                _copy_variables(content, row, out)
                trials[row["trial"]] = row
                metrics[row["trial"]] = epochs.get(row["trial"], [])
        if content.path == out:  # trials that aren't done may go on from a checkpoint
            metrics = epochs | metrics
    first = contents[0]
    write_sources(out, first.sources)
    write_json(out / RUN, {**read_json(first.path / RUN), "parts": parts})
    write_json(out / CONFIG, read_json(first.path / CONFIG))
    # In the order of a run that was trained at once: a table's columns come in that order, too.
    done = sorted(trials.values(), key=lambda row: (int(row["group"]), int(row["trial"])))
    numbers = dict.fromkeys([*(row["trial"] for row in done), *metrics])
    write_rows(out / GROUPS, sorted(groups.values(), key=lambda row: int(row["group"])))
    write_rows(out / METRICS, [row for number in numbers for row in metrics[number]])
    write_rows(out / TRIALS, done)


def _renumbered(rows: Iterable[Row], number_of: Sequence[str]) -> list[Row]:
    return [{**row, "part": number_of[int(row["part"])]} for row in rows]


def _copy_variables(content: _Content, row: Row, out: Path) -> None:
    for best in (False, True):
        at = row["arm"], int(row["seed"])
        source, target = (variables_path(path, *at, best=best) for path in (content.path, out))
        if source != target and source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f"{target.name}.tmp")
            shutil.copyfile(source, unfinished)
            unfinished.replace(target)
