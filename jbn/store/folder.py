"""The folder of a run that is going on: its own from the beginning, and no other's."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jbn.config import (
    Config,
    Group,
    Trial,
    UserError,
    differences,
    is_extension,
    num_epochs,
    with_execution_of,
)
from jbn.store.arrays import save_arrays
from jbn.store.earlier import keep_earlier
from jbn.store.files import check_links, read_text, sync, write_json, write_whole
from jbn.store.layout import (
    CHECKPOINTS,
    CONFIG,
    FORMAT,
    GROUPS,
    LOCK,
    METRICS,
    NORMS,
    PARTS,
    RUN,
    SOURCE,
    SUMMARY,
    TRIALS,
    source_path,
    variables_path,
)
from jbn.store.lock import FolderInUse, Lock
from jbn.store.read import (
    Extension,
    all_trials,
    check_format,
    check_rows,
    done_trials,
    is_finished,
    read_config,
    read_extensions,
    read_first_config,
    read_groups,
    read_parts,
    read_seed_counts,
)
from jbn.store.table import append_rows, keep_rows, keep_until, numbers_in

_MOST_SHOWN = 4  # of what differs between two configs


class Folder:
    """A run's folder, open for one part of the run; `opened` gives it."""

    def __init__(self, out: Path, parts: Sequence[Any], found: str | None, lock: Lock):
        self.path = out
        self.config = read_config(out)
        self.seed_counts = read_seed_counts(out)  # before each extension
        self.found = found  # what was found there and done about it, in words
        self._part = len(parts) - 1
        self._lock = lock
        check_rows(out)
        self.done = done_trials(out)
        self.outgrown = all_trials(out) - self.done  # were done when trainings were shorter
        self._drop_halves()
        # Trials with metrics. Nobody looks for those of others: the longer the table, the longer it
        # takes.
        self._begun = numbers_in(out / METRICS)
        self._lanes: dict[int, list[tuple[int, int]]] = {}
        groups = read_groups(out)
        if groups:
            columns = (groups[name].tolist() for name in ("group", "trial", "num_lanes"))
            for group, first, num_lanes in zip(*columns, strict=True):
                self._lanes.setdefault(group, []).append((first, num_lanes))

    def has(self, group: Group) -> bool:
        """Whether all of the group's trials are done."""
        return all(trial.number in self.done for trial in group.trials)

    def lanes_of(self, group: Group) -> list[tuple[int, int]]:
        """How earlier parts executed the group: from a trial's number on, so many lanes at once."""
        return self._lanes.get(group.number, [])

    def add_lanes(self, group: Group, first: Trial, num_lanes: int, compile_seconds: float) -> None:
        """Records how the group is executed from the trial on."""
        row = {
            "group": group.number,
            "arm": group.program.arm,
            "part": self._part,
            "trial": first.number,
            "num_lanes": num_lanes,
            "compile_seconds": f"{compile_seconds:.3f}",
        }
        with self.written():
            append_rows(self.path / GROUPS, [row])
            sync(self.path / GROUPS)

    def sync_metrics(self) -> None:
        """Waits until the metrics are on the disk: a state that is saved then has its epochs."""
        with self.written():
            sync(self.path / METRICS)

    def add_metrics(
        self, trials: Sequence[Trial], epoch: int, metrics: Mapping[str, np.ndarray]
    ) -> None:
        """Records what an epoch of the trials came to: by name, a number for each trial."""
        rows = [
            {**_identity(trial), "epoch": epoch, **_at(metrics, lane)}
            for lane, trial in enumerate(trials)
            if trial.number not in self.done
        ]
        with self.written():
            append_rows(self.path / METRICS, rows)
        self._begun |= {trial.number for trial in trials}

    def add_trials(
        self,
        group: Group,
        trials: Sequence[Trial],
        results: Mapping[str, np.ndarray],
        seconds: float,
    ) -> None:
        """Records trials that have ended: by name, a number for each. Now they are done."""
        each = {"group": group.number, "part": self._part}
        seconds_each = f"{seconds / len(trials):.6f}"
        rows = [
            {**_identity(trial), **each, **_at(results, lane), "seconds": seconds_each}
            for lane, trial in enumerate(trials)
            if trial.number not in self.done
        ]
        with self.written():
            sync(self.path / METRICS)  # else a power failure may keep the trial and lose its epochs
            append_rows(self.path / TRIALS, rows)
            sync(self.path / TRIALS)
        self.done |= {trial.number for trial in trials}

    def save_variables(
        self, trial: Trial, variables: Mapping[str, Any], *, best: bool = False
    ) -> None:
        """Writes the trial's variables; before the trial is added, or it may be done without."""
        with self.written():
            save_arrays(variables_path(self.path, trial.arm, trial.seed, best=best), variables)

    def rewind(self, trials: Sequence[Trial], epoch: int) -> None:
        """Drops the metrics of these trials after an epoch, from which they go on, or begin."""
        numbers = ({trial.number for trial in trials} & self._begun) - self.done
        with self.written():
            keep_until(self.path / METRICS, numbers, "epoch", epoch)

    def sort(self) -> None:
        """Sorts both tables by trial; the epochs of a trial are in their order already."""
        with self.written():
            for name in (METRICS, TRIALS):
                keep_rows(self.path / name, self.done.__contains__, sort=True)

    def finish(self, norms: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Writes the last files; the run is finished now."""
        with self.written():
            write_json(self.path / NORMS, norms)
            write_json(self.path / SUMMARY, summary)

    @contextlib.contextmanager
    def written(self) -> Iterator[None]:
        """Raises UserError where the folder isn't this process's, or can't be written to."""
        with written(self.path):
            self._lock.check()
            yield

    def _drop_halves(self) -> None:
        """Drops the half of a last line that a killed part may have left."""
        keep_rows(self.path / TRIALS, self.done.__contains__)
        for name in (GROUPS, METRICS):
            keep_rows(self.path / name, lambda number: True)


@contextlib.contextmanager
def opened(
    out: Path,
    config: Config,
    part: Mapping[str, Any],
    metrics: Mapping[str, Any],
    sources: Mapping[str, str],
    *,
    extend: bool = False,
) -> Iterator[Folder]:
    """The folder `out` with a lock on it, for a run of this config to begin or to go on.

    A run of the same config that was stopped goes on; one that had finished is moved beside it.

    Args:
        out: the run's folder.
        config: of the run. Of a run that goes on, `sweep.max_lanes` stays as it was.
        part: of the run, this one: its environment, and the checksums of its data as `data_sha256`.
        metrics: the metrics that a reader shows, and those of which more is better.
        sources: of the modules with functions of the user's own.
        extend: whether a run with fewer seeds or epochs, finished or not, goes on as this one.

    Raises:
        UserError: `out` is a file, another config's run, a run that is going on, of other data, of
            other functions, or of another layout, or a folder with other things in it; or it can't
            be written to.
    """
    check_name(out)
    with contextlib.ExitStack() as locks:
        try:
            _found(out, config, extend=extend)  # raises before anything is written there
            out.mkdir(parents=True, exist_ok=True)
            lock = locks.enter_context(Lock(out))
            found = _found(out, config, extend=extend)  # nobody changes it from here on
            if found == "finished":
                moved = _move_aside(out)
                lock.path = moved / LOCK
                locks.close()
                out.mkdir(exist_ok=True)
                try:
                    lock = locks.enter_context(Lock(out))
                except FolderInUse as error:  # of those that began at once another was faster
                    raise FolderInUse(f"{error}; the earlier run is {moved} now") from None
        except OSError as error:
            raise UserError(f"{out}: can't be written to: {error.strerror}") from None
        words = {
            "stopped": f"{out} holds a run of this config that was stopped; it goes on",
            "new": f"{out}: there is no run to extend; it begins" if extend else None,
        }
        if found == "finished":
            words[found] = f"{out} held an earlier run of this config; it is {moved} now"
        with written(out):
            parts, first_config = [part], config
            extensions: list[Extension] = []
            if found in ("stopped", "shorter"):
                _check_data(out, part)
                _check_sources(out, sources)
                parts = [*read_parts(out), part]
                first_config = with_execution_of(read_first_config(out), config)
                extensions = read_extensions(out)
            if found == "shorter":
                words[found] = f"{out} is extended: {_shown(differences(read_config(out), config))}"
                lengths = config.num_seeds, num_epochs(config)
                extensions.append(Extension(len(parts) - 1, *lengths))
                keep_earlier(out, len(extensions))
            write_sources(out, sources)
            run = {"format": FORMAT, "metrics": metrics, "parts": parts}
            run["extensions"] = [extension._asdict() for extension in extensions]
            write_json(out / RUN, run)
            write_json(out / CONFIG, first_config.model_dump(mode="json"))
            folder = Folder(out, parts, words[found], lock)
        yield folder


def write_sources(out: Path, sources: Mapping[str, str]) -> None:
    """Keeps the source of each module with functions of the user's own."""
    for module, text in sources.items():
        source_path(out, module).parent.mkdir(exist_ok=True)
        write_whole(source_path(out, module), text)


def check_name(out: Path) -> None:
    """Raises UserError where a folder has no name of its own."""
    if out.name in ("", ".."):
        raise UserError(f"--out {out}: wanted a folder with a name of its own, e.g. runs/a")


@contextlib.contextmanager
def written(out: Path) -> Iterator[None]:
    """Raises as a UserError what the system says of the files of a run's folder."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{out}: can't be written: {error.strerror or error}; the trials that are done are "
            "kept, and the same command goes on from what was saved last"
        ) from None


def _found(out: Path, config: Config, *, extend: bool) -> str:
    """What a run of this config is to the folder: "finished", "stopped", "shorter" or "new"."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return "new"
    if not out.is_dir():
        raise UserError(f"{out}: found a file, wanted a new folder; choose another with --out")
    check_links(out)
    names = {path.name.removesuffix(".tmp") for path in out.iterdir()} - {PARTS}
    begins_with = {LOCK, RUN, SOURCE}
    if names <= begins_with or (names <= begins_with | {CONFIG} and not (out / CONFIG).exists()):
        return "new"  # it was stopped before it had begun, or begins at this moment
    if not names & {RUN, CONFIG}:
        raise UserError(
            f"{out}: found a folder with other files, wanted a new folder; choose another with "
            "--out"
        )
    check_format(out)
    there = read_config(out)
    changed = differences(there, config)
    if changed and not (extend and is_extension(there, config)):
        raise UserError(_refusal(out, there, config, extend=extend))
    if changed:
        return "shorter"
    if extend and is_finished(out):
        raise UserError(
            f"{out}: has all seeds and epochs of this config already; make num_seeds or "
            "train.num_epochs larger to extend it"
        )
    return "finished" if is_finished(out) else "stopped"


def _refusal(out: Path, there: Config, config: Config, *, extend: bool) -> str:
    """Why a run isn't one of this config, and the way on."""
    changed = _shown(differences(there, config))
    if extend:
        return (
            f"{out}: can't be extended: {changed}; --extend makes num_seeds and train.num_epochs "
            "larger, and all else stays; choose another folder with --out"
        )
    way_on = "another name in the config"
    if is_extension(there, config):
        way_on = "go on with this run by --extend"
    return (
        f"{out}: holds a run of another config: {changed}; choose another folder with --out, or "
        f"{way_on}"
    )


def _shown(changed: Sequence[str]) -> str:
    """The first of what differs between two configs."""
    more = len(changed) - _MOST_SHOWN
    return "; ".join([*changed[:_MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _move_aside(out: Path) -> Path:
    number = 1
    while (moved := out.with_name(f"{out.name}.{number}")).exists():
        number += 1
    out.rename(moved)
    return moved


def _has_results(out: Path) -> bool:
    """Whether a trial is done, or was saved in its middle."""
    return bool(all_trials(out)) or (out / CHECKPOINTS).exists()


def _check_data(out: Path, part: Mapping[str, Any]) -> None:
    """Raises UserError where what a stopped run has come to was done with other data."""
    if _has_results(out) and read_parts(out)[-1].get("data_sha256") != part["data_sha256"]:
        raise UserError(
            f"{out}: holds a part of a run with other data; choose another folder with --out"
        )


def _check_sources(out: Path, sources: Mapping[str, str]) -> None:
    """Raises UserError where what a stopped run has come to was done with other functions."""
    for module, text in sources.items():
        path = source_path(out, module)
        if _has_results(out) and path.exists() and read_text(path) != text:
            raise UserError(
                f"{out}: holds a part of a run with another version of {module}.py, which is kept "
                f"in {path}; choose another folder with --out"
            )


def _identity(trial: Trial) -> dict[str, Any]:
    """What a row of a trial begins with: it says by itself what it is of."""
    return {"trial": trial.number, "arm": trial.arm, **trial.point, "seed": trial.seed}


def _at(values: Mapping[str, np.ndarray], lane: int) -> dict[str, Any]:
    return {name: of_lanes[lane] for name, of_lanes in values.items()}
