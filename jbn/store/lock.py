"""The lock of a run's folder: a file there, as long as a process trains for the run.

Processes of one machine are told apart by `flock`, which the kernel lets go with the process,
however it ends. Another machine may not see that. So the process touches the file twice a minute,
and a lock that wasn't touched for minutes is taken over.
"""

import contextlib
import os
import socket
import tempfile
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Self

from jbn.config import UserError
from jbn.store.layout import LOCK, PARTS

_BEAT = 30.0  # seconds from one touch to the next
_GONE = 180.0  # seconds without a touch, after which a process is taken to be gone


class FolderInUse(UserError):
    """Another process trains there."""


class Lock:
    """A process's hold on a folder, until it is released.

    Args:
        out: the folder, which is there.

    Raises:
        FolderInUse: another process holds it.
    """

    def __init__(self, out: Path):
        self.path = out / LOCK  # the file may be moved, with its folder
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._text = f"{socket.gethostname()} {os.getpid()} {since} {uuid.uuid4().hex}"
        _held.add(self)
        try:
            self._file = _take(self.path, self._text)
        except BaseException:
            _held.discard(self)
            raise
        self._released = threading.Event()
        threading.Thread(target=self._beat, name="lock", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Lets the folder go."""
        _held.discard(self)
        self._released.set()
        self._remove()  # before others may take it: they make a new one
        self._file.close()

    def check(self) -> None:
        """Raises UserError where the folder is no longer this process's."""
        found = self._read()
        if found != self._text:
            by = f"{_who(found)} has taken it over" if found else f"somebody removed {self.path}"
            raise UserError(
                f"{self.path.parent}: no longer this process's: {by}; it stops here, and what it "
                "has written so far is kept"
            )

    def _remove(self) -> None:
        with contextlib.suppress(OSError):  # the disk is away; the lock ends with the process
            if self._read() == self._text:
                self.path.unlink()

    def _read(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _beat(self) -> None:
        while not self._released.wait(_BEAT):
            with contextlib.suppress(OSError):  # the disk may come back
                if self._read() == self._text:
                    os.utime(self.path)


_held: set[Lock] = set()  # by this process, or about to be


def remove_locks() -> None:
    """Removes the locks of this process, which is about to end."""
    for lock in list(_held):
        lock._remove()


def lock_of_parts(out: Path) -> Lock:
    """A hold on what the parts of a run become, while they are still trained or not.

    Raises:
        FolderInUse: another process makes one run of them.
    """
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    return Lock(out / PARTS)


def in_use(out: Path) -> bool:
    """Whether a process holds the folder at this moment."""
    path = out / LOCK
    try:
        with path.open("r", encoding="utf-8", errors="replace") as file:
            is_free = _flock(file, shared=True)  # others may ask at the same time
            if is_free is False:
                return True
            found = file.read()
            is_of_here = is_free and found.startswith(f"{socket.gethostname()} ")
            return bool(found) and not is_of_here and _seconds_since_touched(file, path) < _GONE
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); remove it") from None


def _take(path: Path, text: str) -> IO[str]:
    """The lock's file with this text, open as long as the lock holds."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("a+", encoding="utf-8", errors="replace"))
        is_mine = _flock(file)
        if is_mine and not _is_at(file, path):  # it was removed meanwhile
            return _take(path, text)
        file.seek(0)
        found = file.read()
        if is_mine is False:
            raise FolderInUse(_in_use(path, found))
        is_of_here = is_mine and found.startswith(f"{socket.gethostname()} ")
        if found and not is_of_here:
            seconds = _seconds_since_touched(file, path)
            if seconds < _GONE:
                raise FolderInUse(_in_use(path, found, seconds))
        file.truncate(0)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # for other machines, which may read it at the same time
        stack.pop_all()
    return file


def _flock(file: IO[str], *, shared: bool = False) -> bool | None:
    """Whether this process has the file now; None where the system doesn't know of such locks."""
    try:
        import fcntl  # Windows has none

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _seconds_since_touched(file: IO[str], path: Path) -> float:
    """By the clock of the disk's own machine: those of two others may differ by minutes."""
    with tempfile.TemporaryFile(dir=path.parent) as now:
        return os.fstat(now.fileno()).st_mtime - os.fstat(file.fileno()).st_mtime


def _who(text: str) -> str:
    host, process, since = (*text.split(), "?", "?", "?")[:3]
    return f"process {process} of {host}, since {since}"


def _in_use(path: Path, text: str, seconds: float | None = None) -> str:
    """Who trains there, and the way on; `seconds` since it was last heard of, where that counts."""
    heard = "" if seconds is None else f", last heard of {seconds:.0f} s ago"
    wait = "" if seconds is None else f" (after {_GONE:.0f} s without a sign it is taken over)"
    return (
        f"{path.parent}: a run is going on there ({_who(text)}{heard}); wait for it{wait}, choose "
        f"another folder with --out, or remove {path} if that machine is gone"
    )
