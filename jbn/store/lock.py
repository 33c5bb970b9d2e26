"""The lock of a run's folder: a file there, as long as a process trains for the run."""

import os
import socket
import uuid
from pathlib import Path

from jbn.config import UserError
from jbn.store.layout import LOCK

_START = uuid.uuid4().hex  # of this process: its number may come again
_LOCKED = (
    "{out}: a run is going on there; wait for it, or choose another folder with --out (if it was "
    "killed, remove {out}/{lock})"
)


def check_lock(out: Path) -> None:
    """Raises UserError where a run is going on; removes what a killed one has left."""
    lock = out / LOCK
    if lock.exists():
        if not _is_left_over(lock):
            raise UserError(_LOCKED.format(out=out, lock=LOCK))
        lock.unlink()


def lock(out: Path) -> None:
    """Marks the folder as that of a run which is going on."""
    try:
        with (out / LOCK).open("x", encoding="utf-8") as file:
            file.write(f"{socket.gethostname()} {os.getpid()} {_START}")
    except FileExistsError:
        raise UserError(_LOCKED.format(out=out, lock=LOCK)) from None


def unlock(out: Path) -> None:
    """Takes the mark away."""
    (out / LOCK).unlink(missing_ok=True)


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
