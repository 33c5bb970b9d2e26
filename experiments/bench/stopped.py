"""Runs that are killed at any moment, and what they come to when the same command goes on.

    python experiments/bench/stopped.py && python experiments/write_numbers.py

A run of two arms that saves as it trains, once with whole epochs and once with epochs in parts. Its
process gets SIGKILL or SIGTERM at a moment drawn uniformly from the time that the whole run takes,
or SIGKILL while a checkpoint is written. Then the same command runs to the end. Parameters,
statistics, metrics and results have to be those of the run that nobody stopped, bit for bit; and no
more epochs may be trained again than pass between two checkpoints and during a save. Writes
`stopped.json` beside this file.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from in_turn import environment

from jbn import store

HERE = Path(__file__).parent
CONFIG = """
name = "stopped"
num_seeds = 2
[model]
hidden_sizes = [256, 256]
[train]
num_epochs = {num_epochs}
[checkpoint]
{every}
[arms.batch_norm]
[arms.without]
norm.kind = "none"
"""
COMMAND = "python experiments/bench/stopped.py"
SAVES = {"whole epochs": "every_epochs = 20", "epochs in parts": "every_steps = 20"}
EPOCHS = {"whole epochs": 700, "epochs in parts": 60}


class Kill(NamedTuple):
    """What shall happen to a run."""

    signal: signal.Signals
    moment: float  # from its start, as a share of the whole run's time
    while_saving: bool = False  # as soon as a checkpoint is being written then


def start(config: Path, out: Path, cache: Path) -> subprocess.Popen[bytes]:
    """A process of `jbn run`.

    What it says goes to a file: a pipe that nobody reads is full some time, and it would wait.
    """
    with _said_by(out).open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "jbn", "run", str(config), "--out", str(out)],
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "CI": "1"},
            stdout=said,
            stderr=subprocess.STDOUT,
        )


def _said_by(out: Path) -> Path:
    return out.with_suffix(".txt")


def finish(config: Path, out: Path, cache: Path) -> tuple[float, str]:
    """Runs to the end; the seconds, and what it says."""
    clock = time.perf_counter()
    process = start(config, out, cache)
    process.wait()
    said = _said_by(out).read_text()
    if process.returncode:
        raise RuntimeError(f"{config} failed:\n{said}")
    return time.perf_counter() - clock, said


def is_saving(out: Path) -> bool:
    """Whether a checkpoint is being written."""
    return any(out.glob("checkpoints/*/*tmp*"))


def stop(process: subprocess.Popen[bytes], kill: Kill, out: Path, seconds: float) -> float:
    """Sends the signal when it is time, and waits; the seconds until the process ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(kill.moment * seconds)
    while kill.while_saving and not is_saving(out) and process.poll() is None:
        time.sleep(0.0005)
    clock = time.perf_counter()
    process.send_signal(kill.signal)
    process.wait()
    return time.perf_counter() - clock


def results(out: Path) -> dict[str, Any]:
    """All that a run has come to, but for times and parts."""
    trials, metrics = store.read_trials(out), store.read_metrics(out)
    tables = {
        f"{kind} {name}": column.tobytes()
        for kind, table in (("trials", trials), ("metrics", metrics))
        for name, column in table.items()
        if name not in ("seconds", "part")
    }
    variables = {
        (arm, seed): jax.tree.map(np.ndarray.tobytes, store.read_variables(out, arm, seed))
        for arm, seed in zip(trials["arm"].tolist(), trials["seed"].tolist(), strict=True)
    }
    return {**tables, "variables": variables, "norms": store.read_norms(out)}


def epochs_of(out: Path) -> set[tuple[str, int]]:
    """The arms and epochs that have whole rows in the table."""
    metrics = store.read_metrics(out)
    columns = (metrics[name].tolist() for name in ("arm", "epoch")) if metrics else ([], [])
    return set(zip(*columns, strict=True))


def trained_in(said: str) -> set[tuple[str, int]]:
    """The arms and epochs that a process said it had trained."""
    found = re.findall(r"^(\w+), \d+ trials: epoch (\d+)/", said, re.MULTILINE)
    return {(arm, int(epoch)) for arm, epoch in found}


def campaign(name: str, kills: Sequence[Kill], folder: Path) -> Any:
    """What each of the kills came to."""
    config, cache = folder / "stopped.toml", folder / "cache"
    config.write_text(CONFIG.format(num_epochs=EPOCHS[name], every=SAVES[name]))
    finish(config, folder / "first", cache)  # which fills the cache
    seconds, _ = finish(config, folder / "whole", cache)
    wanted = results(folder / "whole")
    rows = []
    for number, kill in enumerate(kills):
        out = folder / f"killed-{number}"
        process = start(config, out, cache)
        to_end = stop(process, kill, out, seconds)
        before, said = epochs_of(out), ""
        if not store.is_finished(out):
            _, said = finish(config, out, cache)
        row = {
            "saves": name,
            "signal": kill.signal.name,
            "moment": round(kill.moment, 3),
            "while_saving": kill.while_saving,
            "exit_code": process.returncode,
            "seconds_to_end": round(to_end, 3),
            "is_same": results(out) == wanted,
            "epochs_before": len(before),
            "epochs_again": len(before & trained_in(said)),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
        shutil.rmtree(out)
    return {
        "environment": environment(),
        "seconds": seconds,
        "num_epochs": 2 * EPOCHS[name],
        "kills": rows,
    }


def main() -> None:
    """Kills, and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, number in (("--kills", 20), ("--terms", 10), ("--while-saving", 5)):
        parser.add_argument(name, type=int, default=number, help=f"default: {number}")
    parser.add_argument("--saves", choices=SAVES, help="only this run; default: both")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    kills = [
        *(Kill(signal.SIGKILL, rng.uniform()) for _ in range(arguments.kills)),
        *(Kill(signal.SIGTERM, rng.uniform()) for _ in range(arguments.terms)),
        *(Kill(signal.SIGKILL, rng.uniform(), True) for _ in range(arguments.while_saving)),
    ]
    path = HERE / "stopped.json"
    found = json.loads(path.read_text())["runs"] if arguments.saves and path.exists() else {}
    for number, name in enumerate(SAVES):
        if arguments.saves in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                found[name] = campaign(name, kills[number :: len(SAVES)], Path(folder))
    path.write_text(json.dumps({"command": COMMAND, "runs": found}, indent=2) + "\n")
    rows = [row for of_one in found.values() for row in of_one["kills"]]
    num_same = sum(row["is_same"] for row in rows)
    print(f"{num_same} of {len(rows)} the same, bit for bit")
    if num_same < len(rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
