"""Processes of `jbn run` that get a signal, and the same command after it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from recorded import results

from jbn.store.layout import checkpoints_path

CONFIG = """
name = "stopped"
num_seeds = 2
[model]
hidden_sizes = [8]
[train]
num_epochs = {num_epochs}
batch_size = 8
[checkpoint]
every_epochs = 5
"""
NUM_EPOCHS = 60
SECONDS = 300


@contextlib.contextmanager
def begun(folder, out):
    """A process that begins the run, or goes on with it. It is killed at the end, or in time."""
    config = folder / "stopped.toml"
    config.write_text(CONFIG.format(num_epochs=NUM_EPOCHS))
    with subprocess.Popen(
        [sys.executable, "-m", "jbn", "run", str(config), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        limit = threading.Timer(SECONDS, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


def read_until(process, words):
    """Reads what the process says until it says that."""
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"it never said {words!r}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with begun(folder, folder / "x") as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    return results(folder / "x")


SIGNALS = {
    "SIGKILL": (signal.SIGKILL, -signal.SIGKILL),
    "SIGTERM": (signal.SIGTERM, 128 + signal.SIGTERM),
    "Ctrl-C": (signal.SIGINT, 128 + signal.SIGINT),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_a_process_that_is_stopped_goes_on_and_comes_to_the_same_bits(tmp_path, whole, name):
    """In the middle of its training; it says where it goes on."""
    number, code = SIGNALS[name]
    out = tmp_path / "x"
    with begun(tmp_path, out) as process:
        read_until(process, "epoch 23/")
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert f"jbn: {number.name}: the run is saved; the same command goes on from here" in said
        assert not (out / "running").exists()
        assert "Traceback" not in said
    with begun(tmp_path, out) as again:
        said, _ = again.communicate()
    assert again.returncode == 0, said
    assert "goes on after epoch " in said
    first = int(said.partition("goes on after epoch ")[2].split()[0])
    # What is trained again is an interval at most, and what was trained while the last was saved.
    assert first >= (15 if number == signal.SIGKILL else 23)
    assert results(out) == whole


def test_where_nothing_is_there_to_be_saved_it_leaves_at_once(tmp_path):
    """While it compiles, which no handler of Python interrupts."""
    lock = tmp_path / "x" / "running"
    with begun(tmp_path, tmp_path / "x") as process:
        while not (lock.exists() and lock.read_text()):  # it is there before it says whose it is
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "jbn: SIGTERM: left; the same command goes on from what was saved last" in said
    assert not lock.exists()
    assert not checkpoints_path(tmp_path / "x", 0).exists()


def test_a_second_signal_ends_it_at_once(tmp_path):
    """A process that is told to end twice leaves without saving."""
    script = (
        "import signal, os, time\n"
        "from jbn.run import listening\n"
        "with listening() as stop:\n"
        "    stop.is_training = True\n"
        "    for _ in range(2):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(0.2)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert process.returncode == 128 + signal.SIGTERM
    assert "saves and leaves; once more: leaves at once" in process.stderr
    assert process.stderr.count("left;") == 1


def test_at_the_end_of_a_run_it_says_that_it_is_finished():
    """What it is asked when it leaves, so that no moment is between the end and the message."""
    code = """
import os, signal, time
from jbn.run.stop import listening
with listening() as stop:
    stop.is_finished = lambda: True
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 128 + signal.SIGTERM
    assert ended.stderr.startswith("jbn: SIGTERM: left; the run is finished, and jbn report")
