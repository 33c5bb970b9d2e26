"""Compiled programs kept whole for the next run: then they are neither traced nor compiled."""

import contextlib
import functools
import hashlib
import json
import os
import pickle
import platform
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.experimental.serialize_executable import deserialize_and_load, serialize

from jbn.environment import package_versions
from jbn.train import Lower, compile_together

_MOST_BYTES = 2**29  # of all files: some hundred programs
_SUFFIX = ".jbn-program"  # a folder may have other files
_DIGEST_SIZE = hashlib.sha256().digest_size
# Of JAX's flags, those that change no program have one of these words in their names.
_HARMLESS = ("cache", "logging", "traceback", "dump")


class KeptPrograms:
    """A folder of compiled programs, each in a file that is named by all it depends on.

    A file that is damaged, or that JAX can't load, is thrown away, and the program compiled anew.
    So is one that others could have written: to load a program is to trust it.
    Where the files are too many bytes, those that were used last stay.
    """

    def __init__(self, folder: Path, devices: Sequence[jax.Device]):
        self._folder = folder
        self._devices = list(devices)

    def build(self, key: Any, parts: Mapping[str, Lower]) -> dict[str, Any]:
        """The compiled parts of a program: those that are here are loaded, the others are kept now.

        Args:
            key: all that the program depends on, beside the versions and this machine. Its `repr`
                counts.
            parts: functions that lower the parts, by name.
        """
        names = {part: f"{self._digest_of(key, part)}{_SUFFIX}" for part in parts}
        loaded = {part: self._load(name) for part, name in names.items()}
        compiled = compile_together({p: parts[p] for p in parts if loaded[p] is None})
        for part, executable in compiled.items():
            self._save(names[part], executable)
        return loaded | compiled

    def _digest_of(self, key: Any, part: str) -> str:
        text = repr((key, part, self._surroundings))
        return hashlib.sha256(text.encode()).hexdigest()

    @functools.cached_property
    def _surroundings(self) -> str:
        """What every program depends on: versions, the code of jbn, JAX's flags, this machine."""
        flags = jax.config.values.items()
        return json.dumps(
            [
                package_versions(),
                _digest_of_source(),
                {key: str(v) for key, v in flags if not any(word in key for word in _HARMLESS)},
                {name: os.environ.get(name) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")},
                [[d.id, d.platform, d.device_kind, d.process_index] for d in self._devices],
                self._devices[0].client.platform_version,
                _cpu(),
            ]
        )

    def _load(self, name: str) -> Any:
        """The compiled program in the file; None if there is none, or none that can be used."""
        path = self._folder / name
        try:
            with path.open("rb") as file:
                content = file.read() if _is_own(file.fileno()) else b""
        except OSError:
            return None
        digest, body = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
        try:
            if _digest_of_file(name, body) != digest:
                raise ValueError("damaged, or another's")
            number, serialized, in_tree, out_tree = pickle.loads(body)
            devices = self._devices[:number]
            compiled = deserialize_and_load(serialized, in_tree, out_tree, None, devices)
        except Exception:  # whatever it is, the program can be compiled
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):  # of a folder that can only be read
            os.utime(path)  # it was used now
        return compiled

    def _save(self, name: str, compiled: Any) -> None:
        """Keeps the program in a file that is there whole or not at all."""
        number = len(compiled.runtime_executable().local_devices())
        unfinished = self._folder / f"{name}.{os.getpid()}.tmp"
        try:
            body = pickle.dumps((number, *serialize(compiled)))
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished.unlink(missing_ok=True)
            with open(unfinished, "xb", opener=functools.partial(os.open, mode=0o600)) as file:
                file.write(_digest_of_file(name, body) + body)
            unfinished.replace(self._folder / name)
            self._throw_away()
        except Exception:  # whatever it is, the program is compiled
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _throw_away(self) -> None:
        """Deletes the files that were used longest ago, until the others are few enough bytes."""
        states = [(path, path.stat()) for path in self._folder.glob(f"*{_SUFFIX}")]
        total = 0
        for path, state in sorted(states, key=lambda of: of[1].st_mtime_ns, reverse=True):
            total += state.st_size
            if total > _MOST_BYTES:
                path.unlink(missing_ok=True)


def _is_own(file: int) -> bool:
    """Whether this user alone may write the file; where the system knows no users, always."""
    if not hasattr(os, "getuid"):
        return True
    state = os.fstat(file)
    return stat.S_ISREG(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o022


def _digest_of_file(name: str, body: bytes) -> bytes:
    return hashlib.sha256(name.encode() + body).digest()


def _digest_of_source() -> str:
    """Of each file of jbn, for who changes one shall not run an old program."""
    digest = hashlib.sha256()
    folder = Path(__file__).parents[1]
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _cpu() -> str:
    """What instructions there are, where the system says it; XLA compiles for them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(line for line in lines if line.startswith(("model name", "flags", "Features")))
