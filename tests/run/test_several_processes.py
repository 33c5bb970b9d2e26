"""`jbn run` in two processes: one folder, one voice; who is killed, ends or is told to end."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jbn
from jbn.config import UserError, config_from_dict
from jbn.native_output import told
from jbn.run import run
from jbn.train import in_rows, place

SECONDS = 120
CONFIG = """
name = "x"
num_seeds = 2
[data]
name = "mixture"
mixture = { num_examples = 400, num_features = 4 }
[model]
hidden_sizes = [4]
[train]
num_epochs = 20
batch_size = 40
[checkpoint]
every_epochs = 2
[devices]
batch = 2
"""


class Processes:
    """Two processes that run one command, with what they print in files; none outlives it."""

    def __init__(self, folder, *arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            where = f"127.0.0.1:{free.getsockname()[1]}"
        environment = {
            **os.environ,
            "JAX_NUM_CPU_DEVICES": "2",
            "PYTHONPATH": str(Path(jbn.__file__).parents[1]),
        }
        self.files = [folder / f"printed-{number}" for number in range(2)]
        self.running = []
        for number, file in enumerate(self.files):
            options = ["--coordinator", where, "--num-processes", 2, "--process-id", number]
            command = [sys.executable, "-m", "jbn", "run", *arguments, *options]
            with file.open("w") as printed:
                self.running.append(
                    subprocess.Popen(
                        list(map(str, command)),
                        stdout=printed,
                        stderr=subprocess.STDOUT,
                        env=environment,
                    )
                )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.kill()
            process.wait()

    @property
    def printed(self):
        return [file.read_text() for file in self.files]

    def until(self, text):
        end = time.monotonic() + SECONDS
        while text not in self.printed[0]:
            assert time.monotonic() < end, self.printed
            assert all(process.poll() is None for process in self.running), self.printed
            time.sleep(0.05)

    def ended(self):
        codes = [process.wait(SECONDS) for process in self.running]
        end = time.monotonic() + 5
        while any(code < 0 for code in codes) and "gone" not in "".join(self.printed):
            if time.monotonic() > end:  # what a process says of another's end comes a little later
                break
            time.sleep(0.05)
        return codes


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(CONFIG)
    return path


@pytest.mark.slow
def test_killed_or_told_to_end_they_go_on_to_the_same_bits(config, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    with Processes(tmp_path, config, "--out", whole) as processes:
        assert processes.ended() == [0, 0]
        first, other = processes.printed
    assert other == ""  # one voice, and no line of Gloo
    assert "epoch 20/20" in first
    assert "Gloo" not in first

    with Processes(tmp_path, config, "--out", out) as processes:
        processes.until("epoch 5/")
        processes.running[1].kill()
        assert processes.ended() == [-signal.SIGABRT, -signal.SIGKILL]
        *_, last = processes.printed[0].splitlines()
        assert last.startswith("jbn: process 1 is gone: start all again")
        assert "stack trace" not in processes.printed[0]
    with Processes(tmp_path, config, "--out", out) as processes:
        processes.until("epoch 12/")
        assert "goes on after epoch" in processes.printed[0]
        processes.running[1].terminate()  # one is told, and both save the same epoch
        assert processes.ended() == [128 + signal.SIGTERM] * 2
    with Processes(tmp_path, config, "--out", out) as processes:
        assert processes.ended() == [0, 0]
        _, _, after = processes.printed[0].partition("goes on after epoch ")
        assert int(after.split()[0]) >= 12  # where it was told, and not the checkpoint before
    assert (out / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    paths = [path.relative_to(whole) for path in whole.rglob("*.npz")]
    assert len(paths) == 2  # of each seed
    for path in paths:
        wanted, found = np.load(whole / path), np.load(out / path)
        assert {name: of.tobytes() for name, of in wanted.items()} == {
            name: of.tobytes() for name, of in found.items()
        }


def test_a_mistake_of_one_ends_both(config, tmp_path):
    out = tmp_path / "out"
    out.write_text("a file")
    with Processes(tmp_path, config, "--out", out) as processes:
        code, other = processes.ended()
        assert code == 2
        assert other != 0
        assert processes.printed[0].splitlines()[-1] == (
            f"jbn: {out}: found a file, wanted a new folder; choose another with --out"
        )
        assert processes.printed[1].startswith("jbn: process 0 is gone")
        assert len(processes.printed[1].splitlines()) == 1


def test_a_process_with_another_config_is_refused_before_it_writes(tmp_path, monkeypatch):
    mine, of_first = (config_from_dict({"name": "x", "seed": seed}) for seed in (1, 2))
    monkeypatch.setattr("jbn.run.shared.agreed", lambda value: of_first)
    with pytest.raises(UserError, match="found another config than process 0 has, wanted one and"):
        run(mine, tmp_path / "x", device=jax.devices()[0])
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("options", [["--distributed"], ["--process-id", "0"]])
def test_nobody_there_to_meet_is_a_line(config, options):
    """Without `--coordinator` JAX looks for a cluster, and here is none."""
    ended = subprocess.run(
        [sys.executable, "-m", "jbn", "run", config, *options],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": str(Path(jbn.__file__).parents[1])},
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("jbn: --distributed: ")
    assert "--coordinator" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(("error", "code"), [("UserError('a')", 2), ("SystemExit(0)", 1)])
def test_who_has_nobody_to_tell_leaves_all_the_same(error, code):
    """Python's orderly end would wait for the other processes.

    Rich raises SystemExit where it can't print.
    """
    lines = [
        "import atexit, jax, os",
        "from jbn.config import UserError",
        "from jbn.processes import leave",
        "jax.process_count = lambda: 2",
        "atexit.register(os._exit, 9)",
        f"leave({error})",
    ]
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "\n".join(lines)]
    ended = subprocess.run(command, stdout=write, stderr=write, timeout=60)
    os.close(write)
    assert ended.returncode == code


def test_no_process_is_left_without_lanes():
    devices = [SimpleNamespace(process_index=number // 2) for number in range(4)]
    with pytest.raises(UserError, match=r"devices.batch: found 1, which leaves process 1 nothing"):
        place(in_rows(devices, 1), num_lanes=1)


GONE = """F1127 16:23:07.566241   16147 client.h:80] Terminating process because the JAX distributed
The following tasks are unhealthy (stopped sending heartbeats):
3
*** Check failure stack trace: ***
    @     0x7f6f81e40634  absl::LogMessage::SendToLog()
"""
FIRST_GONE = """E1127 16:23:12.392243   16442 coordination_service_agent.cc:289] Polled an error
UNAVAILABLE: Failed to send RPC to coordination service. Either the leader task was preempted
"""
NOT_MET = """F1127 16:38:35.044897    1944 client.h:80] Terminating process because
DEADLINE_EXCEEDED
RPC: /xla.coordination.CoordinationService/RegisterTask
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GONE, "jbn: process 3 is gone"),
        (FIRST_GONE, "jbn: process 0 is gone"),
        (NOT_MET, "jbn: the processes didn't find each other"),
    ],
)
def test_an_end_is_one_line(text, words):
    before = ["a line of another library\n"]
    *others, line = told([*before, *text.splitlines(keepends=True)])
    assert others == before
    assert line.startswith(words)


@pytest.mark.parametrize(
    "rest",
    [
        "3 is connected to 3 peer ranks. Expected number of connected peer ranks is : 3\n",
        " peer ranks. Expected number of connected peer ranks is : 3\n",
        " is : 3\n",
        "3\n",
    ],
)
def test_two_lines_of_gloo_in_one_are_dropped(rest):
    text = "[Gloo] Rank [Gloo] Rank 2 is connected to 3 peer ranks. Expected number is: 3\n"
    assert list(told([text, rest])) == []
    assert list(told([text, rest, "\n", "a line\n", "\n"])) == ["a line\n", "\n"]
