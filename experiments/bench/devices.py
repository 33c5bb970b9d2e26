"""Times batches that two devices share, and lanes that two processes share out.

    python experiments/bench/devices.py

One training on one CPU device, in turn with the same on two. Beside them two trainings, one on each
device, whose batches have half the size: each device has the same work, and waits for no other. And
the sums between two devices alone, of as many arrays of the same sizes. Then eight lanes of one
process with two devices in turn with those of two processes with a device each.
"""

import functools
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from in_turn import environment, quartiles, seconds_in_turn
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jbn.config import config_from_dict, plan
from jbn.data import load
from jbn.processes import join
from jbn.train import Devices, compile_program, compile_together, in_rows, make_lanes, make_task

HERE = Path(__file__).parent
BATCHES = (32, 512, 4096)
NUM_LANES = 8
NUM_ROUNDS = 15
EXAMPLES = {"name": "mixture", "mixture": {"num_examples": 20480, "num_features": 64}}


def trainer(
    batch_size: int, num_lanes: int, devices: Devices
) -> tuple[Callable[[], Any], int, dict[str, Any]]:
    """What trains one more epoch, its steps, and its compiled parts."""
    train = {"batch_size": batch_size, "num_epochs": 1}
    table = {"name": "bench", "num_seeds": num_lanes, "data": EXAMPLES, "train": train}
    (program,) = plan(config_from_dict(table))
    dataset, parts = load(program.config.data), {}

    def build(lower: Any) -> dict[str, Any]:
        parts.update(compile_together(lower))
        return parts

    task = make_task(program.config, dataset.spec)
    compiled = compile_program(task, program, dataset, num_lanes, devices, build)
    lanes = make_lanes(program, program.trials)
    state = compiled.init(lanes)

    def epoch() -> Any:
        nonlocal state
        *_, (state, _, metrics) = compiled.run_epoch(state, lanes, None)
        return metrics

    return epoch, task.num_batches, parts


def summed(text: str) -> list[list[int]]:
    """What goes between devices in a step: the arrays of each sum, by an epoch's program.

    Of each array it is how many numbers it has.
    """
    shapes = re.findall(r"= (.*) all-reduce(?:-start)?\(.*while/body", text)
    return [
        [math.prod(map(int, filter(None, of.split(",")))) for of in re.findall(r"\[(.*?)\]", s)]
        for s in shapes
    ]


def collectives(sizes: Sequence[Sequence[int]], num_steps: int) -> Callable[[], Any]:
    """Nothing but these sums, in so many steps."""
    mesh = jax.make_mesh((2,), ("batch",))

    def step(values: list[Any], _: None) -> tuple[list[Any], None]:
        sums: list[Any] = []
        for arrays in values:
            if sums:  # one after another, as in a training; else XLA makes one of all
                before = sums[-1][0][0, 0]
                arrays = [array + 1e-9 * before for array in arrays]
            totals = jax.lax.psum(arrays, "batch")
            sums.append([jax.lax.pcast(of, "batch", to="varying") / 2 for of in totals])
        return sums, None

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=P("batch"), out_specs=P("batch"))
    def program(values: list[Any]) -> list[Any]:
        return jax.lax.scan(step, values, length=num_steps)[0]

    by_device = NamedSharding(mesh, P("batch"))
    values = [
        [jax.device_put(jnp.ones((2, size)), by_device) for size in arrays] for arrays in sizes
    ]
    compiled = program.lower(values).compile()
    assert sorted(map(len, summed(compiled.as_text()))) == sorted(map(len, sizes))
    return lambda: compiled(values)


def batches() -> list[dict[str, Any]]:
    """Two devices against one, for each batch size."""
    found = []
    for batch_size in BATCHES:
        one, num_steps, _ = trainer(batch_size, 1, jax.devices()[:1])
        two, _, parts = trainer(batch_size, 1, in_rows(jax.devices()[:2], 2))
        apart, num_halves, _ = trainer(batch_size // 2, 2, jax.devices()[:2])
        sizes = summed(parts["epoch"].as_text())
        sums = collectives(sizes, num_steps)
        seconds = seconds_in_turn(
            {"one": one, "two": two, "apart": apart, "sums": sums}, NUM_ROUNDS
        )
        seconds["apart"] *= num_steps / num_halves
        found.append(
            {
                "batch_size": batch_size,
                "microseconds_a_step": {
                    name: quartiles(of / num_steps * 1e6) for name, of in seconds.items()
                },
                "two_over_one": quartiles(seconds["two"] / seconds["one"]),
                "two_over_apart": quartiles(seconds["two"] / seconds["apart"]),
                "num_sums": len(sizes),
                "num_arrays": sum(map(len, sizes)),
            }
        )
    return found


def train_when_told(*where: str) -> None:
    """One process, with as many CPU devices as the first number, trains at each line.

    The last number is that of the one core which it may use; below 0: all of them.
    """
    num_devices, port, number, core = where
    if int(core) >= 0:
        os.sched_setaffinity(0, {int(core)})
    jax.config.update("jax_num_cpu_devices", int(num_devices))
    if num_devices == "1":
        join(f"127.0.0.1:{port}", 2, int(number))
    train, _, _ = trainer(32, NUM_LANES, jax.devices())
    for _ in sys.stdin:
        jax.block_until_ready(train())
        print("trained", flush=True)


def processes() -> dict[str, Any]:
    """Lanes on two processes against the same on two devices of one."""
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        port, other_port = (free.getsockname()[1] for free in (one, other))
    sides = {
        "devices": [(2, port, 0, -1)],
        "processes": [(1, port, 0, -1), (1, port, 1, -1)],
        "bound": [(1, other_port, 0, 0), (1, other_port, 1, 1)],  # each to a core of its own
    }
    started = {
        side: [
            subprocess.Popen(
                [sys.executable, __file__, *map(str, where)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for where in of_side
        ]
        for side, of_side in sides.items()
    }

    def turn(side: str) -> float:
        clock = time.perf_counter()
        for process in started[side]:
            print(file=process.stdin, flush=True)
        for process in started[side]:
            process.stdout.readline()
        return time.perf_counter() - clock

    for side in sides:  # to warm up
        turn(side), turn(side)
    seconds = np.array([[turn(side) for side in sides] for _ in range(NUM_ROUNDS)])
    everyone = [process for of_side in started.values() for process in of_side]
    for process in everyone:  # first all of them: each waits for the other at its end
        process.stdin.close()
    for process in everyone:
        process.wait()
    return {
        "num_lanes": NUM_LANES,
        "seconds": {side: quartiles(seconds[:, n]) for n, side in enumerate(sides)},
        "processes_over_devices": quartiles(seconds[:, 1] / seconds[:, 0]),
        "bound_over_devices": quartiles(seconds[:, 2] / seconds[:, 0]),
    }


def main() -> None:
    """Writes `devices.json` beside this file."""
    of_processes = processes()
    jax.config.update("jax_num_cpu_devices", 2)
    results = {
        "command": "python experiments/bench/devices.py",
        "environment": environment(),
        "num_rounds": NUM_ROUNDS,
        "batches": batches(),
        "processes": of_processes,
    }
    (HERE / "devices.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else train_when_told(*sys.argv[1:])
