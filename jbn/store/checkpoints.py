"""The states that a run has saved, to go on from: the one file that knows Orbax's checkpoints.

`checkpoints/TRIAL/STEP` is what Orbax wrote of a turn, named by its first trial and the steps that
each of its trials has made. `checkpoints/TRIAL/STEP.json` is written last, with a digest of every
file: a checkpoint without it isn't whole, and one that differs from it is damaged.
"""

import errno
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jbn.config import UserError
from jbn.store.files import read_json, write_json
from jbn.store.layout import checkpoints_path


class Saved(NamedTuple):
    """A turn as it was saved."""

    step: int
    state: Any
    progress: dict[str, Any]


class Checkpoints:
    """The checkpoints of a run's turns. One is written at a time, beside the training.

    Args:
        out: the run's folder.
        devices: where states lie, in words: on others they go on to rounding only.
        keep: how many of a turn stay: the last ones.
        is_first: of several processes, all of which have these checkpoints, the first one does what
            isn't Orbax's.
        agreed: of a value in each process the first one's.
    """

    def __init__(
        self,
        out: Path,
        devices: str,
        *,
        keep: int,
        is_first: bool = True,
        agreed: Callable[[Any], Any] = lambda value: value,
    ):
        self._is_first = is_first
        self._agreed = agreed
        self._out = out
        self._devices = devices
        self._keep = keep
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def save(self, first_trial: int, identity: str, saved: Saved) -> None:
        """Begins to save a turn, as soon as the former one is saved. Then the state may be donated.

        Args:
            first_trial: of the turn.
            identity: what the turn's training depends on.
            saved: a state on the devices, and progress in nested dicts of NumPy arrays.

        Raises:
            OSError: the former one couldn't be written.
        """
        orbax = _orbax()
        self.wait()
        folder = checkpoints_path(self._out, first_trial)
        path = folder / str(saved.step)
        if self._is_first:
            folder.mkdir(parents=True, exist_ok=True)
            _remove(path)
            for left in folder.glob("*tmp*"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
        state = _without_empty(saved.state)
        content = {
            "identity": _digest(identity.encode()),
            "devices": self._devices,
            "leaves": _described(state),
        }
        parts = {"state": state, "progress": saved.progress}
        saving = orbax.save_checkpointables_async(path.absolute(), parts)
        self._writing = self._writer.submit(self._finish, saving, path, content)

    def wait(self) -> None:
        """Waits until all is saved.

        Raises:
            OSError: it couldn't be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def load(
        self,
        first_trial: int,
        identity: str,
        like: Any,
        say: Callable[[str], None],
        check: Callable[[Saved], Any] = lambda saved: None,
    ) -> Saved | None:
        """The turn as it was saved last; None if nothing was saved that can be read.

        Args:
            first_trial: of the turn.
            identity: what the turn's training depends on.
            like: a state with the same shapes, dtypes and places.
            say: is told of each checkpoint that can't be read.
            check: raises UserError where what was saved isn't what it should be.
        """
        for step, path in self._agreed(_whole(checkpoints_path(self._out, first_trial))):
            try:
                saved = self._load(step, path, identity, like, say)
                check(saved)
                return saved
            except UserError as error:
                say(f"{error}; the run goes on from the checkpoint before, or the beginning")
        return None

    def has(self, first_trial: int) -> bool:
        """Whether there is a checkpoint of the turn, readable or not.

        Raises:
            OSError: the last one couldn't be written.
        """
        self.wait()
        return bool(self._agreed(_whole(checkpoints_path(self._out, first_trial))))

    def remove(self, first_trial: int, *, but_last: bool = False) -> None:
        """Removes the checkpoints of a turn that is done, or begins again.

        Raises:
            OSError: the last one couldn't be written.
        """
        self.wait()
        if not self._is_first:
            return
        folder = checkpoints_path(self._out, first_trial)
        for _, path in _whole(folder)[1 if but_last else 0 :]:
            _remove(path)
        if not but_last:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Ends the thread that writes, when it has written."""
        self._writer.shutdown()
        if not self._is_first:
            return
        if (folder := checkpoints_path(self._out, 0).parent).is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def _finish(self, saving: Any, path: Path, content: Mapping[str, Any]) -> None:
        try:
            saving.result()
        except OSError:
            raise
        except Exception as error:  # Orbax says so of a full disk with a ValueError
            raise _as_os_error(error) from None
        if not self._is_first:
            return
        write_json(_manifest(path), {**content, "files": _digests(path)})
        whole = [of_step for _, of_step in _whole(path.parent)]
        here = whole.index(path)
        # Later ones couldn't be read: the training didn't go on from there.
        for other in whole[:here] + whole[here + self._keep :]:
            _remove(other)

    def _load(
        self, step: int, path: Path, identity: str, like: Any, say: Callable[[str], None]
    ) -> Saved:
        orbax = _orbax()
        state = _without_empty(like)
        checked = _checked(path, identity, state) if self._is_first else None
        content, mistake = self._agreed(checked)
        if mistake is not None:
            raise UserError(f"{path}: {mistake}")
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
        )
        try:
            found = orbax.load_checkpointables(
                path.absolute(), {"state": abstract, "progress": None}
            )
        except Exception as error:  # whatever it is, an earlier one may do
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise UserError(f"{path}: can't be read: {reason}") from None
        if content["devices"] != self._devices:
            say(
                f"{path}: saved on {content['devices']}; on {self._devices} the run goes on, and is"
                " the same to rounding only"
            )
        return Saved(step, _with_empty(found["state"], like), dict(found["progress"]))


def _checked(path: Path, identity: str, state: Any) -> tuple[Any, str | None]:
    """What is written of a checkpoint, and what is wrong with it."""
    try:
        content = read_json(_manifest(path))
    except UserError as error:
        return None, str(error)
    is_whole = isinstance(content, dict) and isinstance(content.get("devices"), str)
    if not is_whole or content.get("files") != _digests(path):
        return content, "damaged: its files aren't those that were written"
    if content.get("identity") != _digest(identity.encode()):
        return content, "of another training"
    if content.get("leaves") != _described(state):
        return content, "of arrays with other shapes"
    return content, None


def _orbax() -> Any:
    """Orbax, whose import costs half a second: short runs save nothing."""
    from orbax.checkpoint import v1

    logging.getLogger("absl").addFilter(_is_not_of_orbax)
    return v1


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    """It logs each error with a traceback, and raises it as well."""
    return "orbax" not in record.pathname


def _as_os_error(error: Exception) -> OSError:
    found = re.search(r"os_error_code='(\d+)'", str(error))
    number = int(found[1]) if found else errno.EIO
    text = os.strerror(number) if found else f"a checkpoint: {str(error).partition(chr(10))[0]}"
    return OSError(number, text)


def _whole(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints of a turn that were written to their end, the last one first."""
    names = [
        path.stem for path in folder.glob("*.json") if path.stem.isascii() and path.stem.isdecimal()
    ]
    return [(step, folder / str(step)) for step in sorted(map(int, names), reverse=True)]


def _manifest(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _remove(path: Path) -> None:
    _manifest(path).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _digests(path: Path) -> dict[str, str]:
    """Of each file. Orbax brings back 19 of 20 arrays with a flipped bit as if nothing was."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): _digest(file.read_bytes()) for file in files}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _described(state: Any) -> list[str]:
    return [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(state)]


def _without_empty(state: Any) -> Any:
    """The state with None in the place of arrays of size 0, which Orbax refuses."""
    return jax.tree.map(lambda leaf: leaf if leaf.size else None, state)


def _with_empty(found: Any, like: Any) -> Any:
    return jax.tree.map(
        lambda leaf, mine: mine if leaf is None else leaf,
        found,
        like,
        is_leaf=lambda leaf: leaf is None,
    )
