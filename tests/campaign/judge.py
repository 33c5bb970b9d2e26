"""What a try with an input came to, and what it touched on the way, as Python's own audit says.

accepted: it was taken, and did what it should. answered: a line for each mistake; from the command,
code 2, too. lost: all else, such as another error, a hang, a file written or read outside, a
pickle, a program begun.
"""

import contextlib
import io
import os
import re
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from jbn.__main__ import main
from jbn.config import UserError

ACCEPTED, ANSWERED, LOST = "accepted", "answered", "lost"
MOST_SECONDS = 60  # of one try: many times what the slowest takes
MOST_CHARACTERS = 1500  # of a line
# Of an event, the places of its paths, each with that of the folder which it is relative to.
_WRITTEN: dict[str, list[tuple[int, int | None]]] = {
    "os.mkdir": [(0, 2)],
    "os.remove": [(0, 1)],
    "os.rmdir": [(0, 1)],
    "os.chmod": [(0, 2)],
    "os.rename": [(0, 2), (1, 3)],
    "os.link": [(1, 3)],
    "os.symlink": [(1, 2)],
    "os.truncate": [(0, None)],
    "os.utime": [(0, 3)],
    "shutil.rmtree": [(0, 1)],
}
_BEGINS = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class")


class Outcome(NamedTuple):
    """What a try came to."""

    kind: str
    words: str  # the answer, or what was lost


class _Watch:
    """Notes what is done while a try goes on."""

    def __init__(self, inside, forbidden):
        self.inside = [os.path.realpath(path) for path in inside]
        self.forbidden = os.path.realpath(forbidden)
        self.found = []

    def __call__(self, event, arguments):
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int):
                return
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes or (isinstance(mode, str) and set(mode) & set("wax+")):
                self._written(path)
            elif os.path.realpath(os.fsdecode(path)).startswith(self.forbidden):
                self.found.append(f"read {os.fsdecode(path)}")
        elif event in _WRITTEN:
            for place, of_folder in _WRITTEN[event]:
                folder = arguments[of_folder] if of_folder is not None else None
                if not isinstance(arguments[place], int):
                    self._written(arguments[place], folder)
        elif event in _BEGINS and "git" not in arguments[:1]:  # jbn notes the commit
            self.found.append(f"{event} {arguments[:2]}")

    def _written(self, path, folder=None):
        path = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        parent, name = os.path.split(os.path.abspath(path))
        place = os.path.join(os.path.realpath(parent), name)
        of_python = "__pycache__" in path or path == os.devnull
        both = {place, os.path.realpath(path)}
        if not of_python and not all(self._is_inside(of) for of in both):
            self.found.append(f"wrote {path}")

    def _is_inside(self, place):
        return any(place == of or place.startswith(of + os.sep) for of in self.inside)


_watches = []


def _audit(event, arguments):
    for watch in _watches:
        watch(event, arguments)


sys.addaudithook(_audit)  # for good: Python has no way to remove one


class TooLong(BaseException):
    """A try hangs."""


@contextlib.contextmanager
def _at_most(seconds):
    def stop(number, frame):
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome_of(action, root, *, inside):
    """What the action comes to.

    Args:
        action: returns nothing; or what a command returned: its code, output and errors.
        root: a folder; what it has in `outside` nobody may write or read.
        inside: the paths that it may write.
    """
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    watch = _Watch([*inside, *([cache] if cache else [])], root / "outside")
    _watches.append(watch)
    if threading.gettrace() is not None:
        sys.settrace(threading.gettrace())  # Python forgets it where recursion is too deep
    try:
        with _at_most(MOST_SECONDS):
            found = action()
    except UserError as error:
        outcome = _answered(str(error).split("\n"))
    except TooLong:
        outcome = Outcome(LOST, "it hangs")
    except Exception as error:  # what isn't an answer is lost, whatever it is
        outcome = Outcome(LOST, f"{type(error).__name__}: {error}"[:300])
    else:
        outcome = Outcome(ACCEPTED, "") if found is None else _of_command(*found)
    finally:
        _watches.remove(watch)
    imported = [name for name, of in list(sys.modules.items()) if _lies_in(of, root)]
    if watch.found or imported:
        return Outcome(LOST, "; ".join([*watch.found, *(f"imported {of}" for of in imported)]))
    return outcome


def _lies_in(module, folder):
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and Path(file).is_relative_to(folder)


def commanded(*arguments):
    """What `jbn` with these arguments comes to, here: its code, output and errors."""
    printed, errors, code = io.StringIO(), io.StringIO(), 0
    before = sys.argv, list(sys.path)  # a config with functions of its own makes the path longer
    sys.argv = ["jbn", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv, sys.path[:] = before
    return code, printed.getvalue(), errors.getvalue()


def _of_command(code, printed, errors):
    if code == 0:
        # matplotlib and JAX may say nothing either: a person reads only what jbn means to say.
        return Outcome(LOST, f"stderr: {errors[:300]}") if errors else Outcome(ACCEPTED, "")
    lines = errors.removesuffix("\n").split("\n")
    if code != 2 or not all(line.startswith("jbn: ") for line in lines):
        return Outcome(LOST, f"code {code}: {errors[:300]}")
    if "Traceback" in printed:
        return Outcome(LOST, printed[:300])
    return _answered([line.removeprefix("jbn: ") for line in lines])


def _answered(lines):
    """A mistake is a line: not empty, not a page long, and of characters that can be seen."""
    for line in lines:
        if not line.strip() or not line.isprintable() or len(line) > MOST_CHARACTERS:
            return Outcome(LOST, f"the line {line[:200]!r} of {len(line)} characters")
    if len(set(lines)) < len(lines):
        return Outcome(LOST, f"a mistake is named twice: {lines}"[:300])
    return Outcome(ANSWERED, "\n".join(lines))


def refused(words):
    """What is done here is refused, in these words."""
    return pytest.raises(UserError, match=re.escape(words))


def counted(outcomes):
    """How many tries there were, and what they came to."""
    kinds = Counter(outcome.kind for outcome in outcomes.values())
    return {"tried": len(outcomes), **{kind: kinds[kind] for kind in (ACCEPTED, ANSWERED, LOST)}}


def lost(outcomes):
    """What was lost, by its name: it should be empty."""
    return {name: outcome.words for name, outcome in outcomes.items() if outcome.kind == LOST}
