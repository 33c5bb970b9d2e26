"""Times a sweep of 512 runs, and a lane of it against a run alone.

python experiments/bench/sweep.py && python experiments/write_numbers.py

The sweep is `configs/digits/learning_rates.toml`, by the command as a user gives it: two programs,
their report included. A lane: one program of the article's network with as many lanes as the sweep
has at once, shared out among the cores, against the same program with one; trained in turn,
compiled and warmed up before.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from in_turn import environment, quartiles, seconds_in_turn
from lanes import make_trainer

from jbn.config import config_from_dict, plan
from jbn.data import load
from jbn.environment import use_all_cores
from jbn.store import read_summary
from jbn.train import compile_program, make_lanes, make_task

HERE = Path(__file__).parent
CONFIG = HERE.parents[1] / "configs" / "digits" / "learning_rates.toml"
NUM_ROUNDS = 9


def whole_sweep() -> dict[str, float | int]:
    """The command's wall time with compiled programs at hand, and without."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        cache = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "cache"))}
        for number in range(2):
            out = Path(folder, str(number))
            command = [sys.executable, "-m", "jbn", "run", CONFIG, "--out", out]
            clock = time.perf_counter()
            subprocess.run(command, check=True, env=cache, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - clock)
        arms = read_summary(out)["arms"]
    return {
        "num_runs": sum(arm["num_trials"] for arm in arms.values()),
        "first_seconds": seconds[0],
        "compiled_before_seconds": seconds[1],
        "training_seconds": sum(arm["train_seconds"] for arm in arms.values()),
    }


def lanes_against_one() -> dict[str, object]:
    """Seconds for each run: in a program of many lanes, and in one of a single lane."""
    num_lanes = 64  # as many as the engine takes at once
    (program,) = plan(config_from_dict({"name": "bench", "num_seeds": num_lanes}))
    dataset = load(program.config.data)

    def trainer(num_trials: int) -> Callable[[], Any]:
        trials = program.trials[:num_trials]
        task = make_task(program.config, dataset.spec)
        compiled = compile_program(task, program, dataset, num_trials, jax.devices())
        lanes = make_lanes(program, trials)
        return make_trainer(compiled, lanes, program.config.train.num_epochs)

    seconds = seconds_in_turn({"lanes": trainer(num_lanes), "alone": trainer(1)}, NUM_ROUNDS)
    lane = seconds["lanes"] / num_lanes
    return {
        "num_lanes": num_lanes,
        "num_rounds": NUM_ROUNDS,
        "lane_seconds": quartiles(lane),
        "alone_seconds": quartiles(seconds["alone"]),
        "alone_over_lane": quartiles(seconds["alone"] / lane),
    }


def main() -> None:
    """Writes `sweep.json` beside this file."""
    use_all_cores()
    results = {
        "command": "python experiments/bench/sweep.py",
        "environment": environment(),
        "sweep": whole_sweep(),
        "lanes": lanes_against_one(),
    }
    (HERE / "sweep.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
