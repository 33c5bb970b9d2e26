"""The lock of a folder: of many processes one has it, and it goes with the process."""

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from jbn.config import UserError
from jbn.store import layout, lock
from jbn.store.lock import FolderInUse, Lock

# Takes what it can of the folders, when all processes are there; holds it until its input ends.
TAKE_ALL = """
import sys
from pathlib import Path
from jbn.store.lock import FolderInUse, Lock
place, number, among = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
held = []
for folder in sorted(place.glob("folder-*")):
    (place / f"at-{folder.name}.{number}").touch()
    while len(list(place.glob(f"at-{folder.name}.*"))) < among:
        pass
    try:
        held.append(Lock(folder))
    except FolderInUse:
        continue
    print(folder.name)
print("", flush=True)
sys.stdin.read()
"""


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", TAKE_ALL, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(process):
    """What the process printed, up to an empty line."""
    return [line.strip() for line in iter(process.stdout.readline, "\n")]


def end(process):
    process.stdin.close()
    process.stdout.close()
    assert process.wait(timeout=60) == 0


def left_behind(folder, *, host, seconds_ago=0):
    """A lock whose process nobody sees."""
    path = folder / layout.LOCK
    path.write_text(f"{host} 12 2026-01-01T00:00:00+00:00 other")
    then = time.time() - seconds_ago
    os.utime(path, (then, then))
    return path


def test_of_processes_that_find_a_lock_left_over_one_takes_it(tmp_path):
    names = [f"folder-{number:02}" for number in range(40)]
    for name in names:
        (tmp_path / name).mkdir()
        left_behind(tmp_path / name, host=socket.gethostname())
    processes = [start(tmp_path, number, 3) for number in range(3)]
    taken = [name for process in processes for name in lines(process)]
    assert sorted(taken) == names
    for process in processes:
        end(process)


def test_a_lock_goes_with_a_process_that_is_killed(tmp_path):
    folder = tmp_path / "folder-0"
    folder.mkdir()
    process = start(tmp_path, 0, 1)
    assert lines(process) == ["folder-0"]
    with pytest.raises(FolderInUse, match="a run is going on there") as error:
        Lock(folder)
    assert f"process {process.pid} of {socket.gethostname()}, since 20" in str(error.value)
    assert "\n" not in str(error.value)
    process.kill()
    process.wait()
    assert (folder / layout.LOCK).exists()
    with Lock(folder) as held:
        held.check()
    assert not (folder / layout.LOCK).exists()
    process.stdin.close()
    process.stdout.close()


def test_a_lock_that_was_removed_while_another_waited_for_it_is_made_anew(tmp_path, monkeypatch):
    first = Lock(tmp_path)
    flock = lock._flock

    def slow_flock(file):
        monkeypatch.setattr(lock, "_flock", flock)
        first.release()
        return flock(file)

    monkeypatch.setattr(lock, "_flock", slow_flock)
    with Lock(tmp_path) as second:
        second.check()
        with pytest.raises(FolderInUse):
            Lock(tmp_path)


def test_a_lock_of_another_machine_holds_while_it_gives_signs_of_life(tmp_path):
    left_behind(tmp_path, host="elsewhere", seconds_ago=lock._GONE - 60)
    with pytest.raises(FolderInUse, match="process 12 of elsewhere, since 2026") as error:
        Lock(tmp_path)
    assert "last heard of 120 s ago" in str(error.value)
    left_behind(tmp_path, host="elsewhere", seconds_ago=lock._GONE + 1)
    with Lock(tmp_path) as held:
        held.check()


def test_without_flock_signs_of_life_are_what_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_flock", lambda file: None)
    with Lock(tmp_path) as first:
        with pytest.raises(FolderInUse):
            Lock(tmp_path)
        then = time.time() - lock._GONE - 1
        os.utime(first.path, (then, then))
        with Lock(tmp_path) as second:
            second.check()
            with pytest.raises(UserError, match="has taken it over; it stops here"):
                first.check()
    assert not (tmp_path / layout.LOCK).exists()


def test_a_process_gives_signs_of_life_for_its_own_lock_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT", 0.01)
    with Lock(tmp_path) as held:
        os.utime(held.path, (0, 0))
        deadline = time.monotonic() + 30
        while held.path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert held.path.stat().st_mtime > 0
        others = left_behind(tmp_path, host="elsewhere", seconds_ago=1000)
        before = others.stat().st_mtime
        time.sleep(0.1)
        assert others.stat().st_mtime == before
    assert others.exists()  # it is another's: it isn't taken away


def test_a_lock_that_somebody_removed_is_no_longer_held(tmp_path):
    with ExitStack() as stack:
        first = stack.enter_context(Lock(tmp_path))
        first.path.unlink()
        stack.enter_context(Lock(tmp_path))
        with pytest.raises(UserError, match="no longer this process's"):
            first.check()


def test_a_process_that_is_about_to_end_removes_its_own_locks_alone(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    left_behind(folders[2], host="elsewhere")
    with pytest.raises(FolderInUse):
        Lock(folders[2])
    with Lock(folders[0]), Lock(folders[1]):
        lock.remove_locks()
        assert [(folder / layout.LOCK).exists() for folder in folders] == [False, False, True]
