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
from in_turn import environment, quartiles

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
EPOCHS = {"whole epochs": 300, "epochs in parts": 60}


class Kill(NamedTuple):
    """What shall happen to a run."""

    signal: signal.Signals
    moment: float  # from its start, as a share of the whole run's time
    while_saving: bool = False  # as soon as a checkpoint is being written then


def start(config: Path, out: Path, cache: Path) -> subprocess.Popen[str]:
    """A process of `jbn run`."""
    return subprocess.Popen(
        [sys.executable, "-m", "jbn", "run", str(config), "--out", str(out)],
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "CI": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(config: Path, out: Path, cache: Path) -> tuple[float, str]:
    """Runs to the end; the seconds, and what it says."""
    clock = time.perf_counter()
    process = start(config, out, cache)
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{config} failed:\n{said}")
    return time.perf_counter() - clock, said


def is_saving(out: Path) -> bool:
    """Whether a checkpoint is being written."""
    return any(out.glob("checkpoints/*/*tmp*"))


def stop(process: subprocess.Popen[str], kill: Kill, out: Path, seconds: float) -> float:
    """Sends the signal when it is time, and waits; the seconds until the process ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(kill.moment * seconds)
    while kill.while_saving and not is_saving(out) and process.poll() is None:
        time.sleep(0.0005)
    clock = time.perf_counter()
    process.send_signal(kill.signal)
    process.communicate()
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


def num_epochs_of(out: Path) -> int:
    """How many epochs, of both arms together, have whole rows in the table."""
    metrics = store.read_metrics(out)
    return len(set(zip(metrics["arm"], metrics["epoch"], strict=True))) if metrics else 0


def again(out: Path, said: str, before: int, num_epochs: int) -> int:
    """How many of the epochs that were in the table were trained again."""
    if f"{out} holds a run" not in said:
        return before
    first = re.search(r": (?:goes on after epoch (\d+)|epoch 1/)", said)
    if first is None:  # all were there
        return 0
    whole_arms = max(before - 1, 0) // num_epochs * num_epochs
    return max(before - whole_arms - int(first[1] or 0), 0)


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
        before = num_epochs_of(out)
        if store.is_finished(out):
            said, num_again = "", 0
        else:
            _, said = finish(config, out, cache)
            num_again = again(out, said, before, EPOCHS[name])
        row = {
            "saves": name,
            "signal": kill.signal.name,
            "moment": round(kill.moment, 3),
            "while_saving": kill.while_saving,
            "exit_code": process.returncode,
            "seconds_to_end": round(to_end, 3),
            "is_same": results(out) == wanted,
            "epochs_before": before,
            "epochs_again": num_again,
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
        shutil.rmtree(out)
    return {"seconds": seconds, "num_epochs": 2 * EPOCHS[name], "kills": rows}


def main() -> None:
    """Kills, and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, number in (("--kills", 20), ("--terms", 10), ("--while-saving", 5)):
        parser.add_argument(name, type=int, default=number, help=f"default: {number}")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    kills = [
        *(Kill(signal.SIGKILL, rng.uniform()) for _ in range(arguments.kills)),
        *(Kill(signal.SIGTERM, rng.uniform()) for _ in range(arguments.terms)),
        *(Kill(signal.SIGKILL, rng.uniform(), True) for _ in range(arguments.while_saving)),
    ]
    found = {}
    for number, name in enumerate(SAVES):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = campaign(name, kills[number :: len(SAVES)], Path(folder))
    rows = [row for of_one in found.values() for row in of_one["kills"]]
    result = {
        "command": COMMAND,
        "environment": environment(),
        "seconds": {name: of_one["seconds"] for name, of_one in found.items()},
        "num_kills": len(rows),
        "num_same": sum(row["is_same"] for row in rows),
        "num_epochs": {name: of_one["num_epochs"] for name, of_one in found.items()},
        "most_epochs_again": {
            name: max((row["epochs_again"] for row in of_one["kills"]), default=0)
            for name, of_one in found.items()
        },
        "seconds_to_end_of_sigterm": quartiles(
            [row["seconds_to_end"] for row in rows if row["signal"] == "SIGTERM"]
        ),
        "kills": rows,
    }
    (HERE / "stopped.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"{result['num_same']} of {result['num_kills']} the same, bit for bit")
    if result["num_same"] < result["num_kills"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
