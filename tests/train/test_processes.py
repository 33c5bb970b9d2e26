"""Devices and processes that share batches and lanes come to what one device comes to."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jbn

SCRIPT = Path(__file__).parent / "spread.py"
SECONDS = 90


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def together(commands, num_devices):
    """The exit code of each of some processes, and what it printed; none is left."""
    environment = {
        **os.environ,
        "JAX_NUM_CPU_DEVICES": str(num_devices),
        "PYTHONPATH": str(Path(jbn.__file__).parents[1]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for command in commands
    ]
    try:
        printed = [process.communicate(timeout=SECONDS)[0] for process in processes]
        return [(of.returncode, text) for of, text in zip(processes, printed, strict=True)]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By what trained: one device; eight of one process; two each of two processes."""
    folder, port = tmp_path_factory.mktemp("found"), free_port()
    of_each = {
        "one device": (1, [[]]),
        "eight devices": (8, [[]]),
        "two processes": (2, [[port, number] for number in range(2)]),
    }
    results = {}
    for name, (num_devices, arguments) in of_each.items():
        out = folder / f"{name}.npz"
        ended = together([[SCRIPT, out, *of] for of in arguments], num_devices)
        assert ended == [(0, "")] * len(arguments)
        results[name] = dict(np.load(out))
    return results


def part(found, *words):
    """The arrays whose names begin so."""
    start = "".join(f"[{word!r}]" for word in words)
    return {name: of for name, of in found.items() if name.startswith(start)}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["eight devices", "two processes"])
def test_where_it_is_computed_changes_nothing(found, where):
    here, alone = found[where], found["one device"]
    bounds = {
        ("in float32", "first"): 1e-6,  # the gradient and the statistics of a step
        ("in float32", "losses"): 1e-5,  # of 20 steps
        ("in float64",): 1e-8,  # a whole run, its last state too
    }
    for words, bound in bounds.items():
        wanted, found_here = part(alone, *words), part(here, *words)
        assert found_here.keys() == wanted.keys()
        assert wanted
        for name, of in found_here.items():
            scale = np.maximum(1, np.abs(wanted[name]))
            assert np.max(np.abs(of - wanted[name]) / scale) <= bound, name
    for name in ("seeds", "fed by the host"):
        (accuracy,) = part(alone, name, "accuracy").values()
        (of_here,) = part(here, name, "accuracy").values()
        assert abs(of_here.mean() - accuracy.mean()) <= accuracy.std() / np.sqrt(8)
        (losses,), (of_alone,) = (part(of, name, "losses").values() for of in (here, alone))
        np.testing.assert_allclose(losses[0], of_alone[0], rtol=1e-4)
