"""The folder of a run: its own from the beginning, and no other's."""

import os
import socket
import uuid
from pathlib import Path

from jbn.checkpoint import read_config
from jbn.config import Config, UserError

LOCK = "running"  # a file in the run's folder, as long as the run goes on
FINISHED = "finished"  # a folder in it, of what is done of a run that goes on or was stopped
_START = uuid.uuid4().hex  # of this process: its number may come again
_LOCKED = (
    "{out}: a run is going on there; wait for it, or choose another folder with --out (if it was "
    "killed, remove {out}/{lock})"
)


def prepare_folder(out: Path, config: Config) -> str | None:
    """Makes `out` a folder with a lock in it, for a run to begin or to go on.

    A run of the same config that was stopped goes on; one that had ended is moved beside it.

    Returns:
        What was found there and done about it, in words; None if there was nothing.

    Raises:
        UserError: `out` is a file, another config's run, a run that is going on, or a folder with
            other things in it.
    """
    if out.name in ("", ".."):
        raise UserError(f"--out {out}: wanted a folder with a name of its own, e.g. runs/a")
    try:
        found = _found(out, config)
        if found == "ended":
            number = 1
            while (moved := out.with_name(f"{out.name}.{number}")).exists():
                number += 1
            out.rename(moved)
        (out / FINISHED).mkdir(parents=True, exist_ok=True)
        _lock(out)
    except OSError as error:
        raise UserError(f"{out}: can't be written to: {error.strerror}") from None
    match found:
        case "ended":
            return f"{out} held an earlier run of this config; it is {moved} now"
        case "stopped":
            return f"{out} holds a run of this config that was stopped; it goes on"
    return None


def _found(out: Path, config: Config) -> str | None:
    """What is there of a run of this config: "ended", "stopped" or None."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if out.is_dir() and {path.name for path in out.iterdir()} <= {FINISHED, LOCK}:
        # It was stopped before it had begun, or begins at this moment.
        _check_lock(out)
        return None
    if not (out / "config.json").is_file():
        what = "a folder with other files" if out.is_dir() else "a file"
        raise UserError(f"{out}: found {what}, wanted a new folder; choose another with --out")
    if _identity(read_config(out)) != _identity(config):
        raise UserError(
            f"{out}: holds a run of another config; choose another folder with --out, or "
            "another name in the config"
        )
    _check_lock(out)
    return "stopped" if (out / FINISHED).is_dir() else "ended"


def _identity(config: Config) -> str:
    """What a run's results depend on, the order of arms and axes too: it numbers the trials.

    How many trials are lanes at once is no part of it.
    """
    sweep = config.sweep.model_copy(update={"max_lanes": None})
    return config.model_copy(update={"sweep": sweep}).model_dump_json()


def _check_lock(out: Path) -> None:
    """Raises UserError where a run is going on; removes what a killed one has left."""
    lock = out / LOCK
    if lock.exists():
        if not _is_left_over(lock):
            raise UserError(_LOCKED.format(out=out, lock=LOCK))
        lock.unlink()


def _lock(out: Path) -> None:
    """Marks the folder as that of a run which is going on."""
    try:
        with (out / LOCK).open("x", encoding="utf-8") as file:
            file.write(_me())
    except FileExistsError:
        raise UserError(_LOCKED.format(out=out, lock=LOCK)) from None


def _is_left_over(lock: Path) -> bool:
    """Whether the lock is that of a process of this machine which is no more."""
    host, process, start = (*lock.read_text(encoding="utf-8").split(), "", "", "")[:3]
    if host != socket.gethostname() or not process.isdigit():
        return False
    if int(process) == os.getpid():  # this one, or one before the machine began anew
        return start != _START
    try:
        os.kill(int(process), 0)  # asks, and sends nothing
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is somebody else's, and there
    return False


def _me() -> str:
    return f"{socket.gethostname()} {os.getpid()} {_START}"
