"""How many runs of the article's network train in a second, in a program of so many lanes.

A run: 10 epochs of 45 batches of 32, Adam, validation after each epoch, the test split at the end.
The data are a mixture of the digits' size, made here.
"""

import time
from collections.abc import Iterator

import jax
import numpy as np
from in_turn import quartiles
from lanes import make_trainer

from jbn.config import config_from_dict, plan
from jbn.data import load
from jbn.train import compile_program, default_num_lanes, make_lanes, make_task
from sections import Row, Size

# The most telling first.
NUM_LANES = {"tiny": (1,), "small": (64, 1, 256), "full": (1024, 4096, 64, 1)}
NUM_ROUNDS = {"tiny": 1, "small": 3, "full": 5}
NUM_EPOCHS = {"tiny": 1, "small": 10, "full": 10}
MIXTURE = {"num_examples": 1800, "num_features": 64, "num_classes": 10}


def rows(size: Size) -> Iterator[Row]:
    """One row a number of lanes."""
    for num_lanes in NUM_LANES[size]:
        config = config_from_dict(
            {
                "name": "bench",
                "num_seeds": num_lanes,
                "data": {"name": "mixture", "mixture": MIXTURE},
                "train": {"num_epochs": NUM_EPOCHS[size]},
            }
        )
        (program,) = plan(config)
        dataset = load(program.config.data)
        clock = time.perf_counter()
        task = make_task(program.config, dataset.spec)
        compiled = compile_program(task, program, dataset, num_lanes, jax.devices())
        compile_seconds = time.perf_counter() - clock
        train = make_trainer(compiled, make_lanes(program, program.trials), NUM_EPOCHS[size])
        seconds = []
        for _ in range(1 + NUM_ROUNDS[size]):  # the first is to warm up
            clock = time.perf_counter()
            _, (_, test) = jax.block_until_ready(train())
            seconds.append(time.perf_counter() - clock)
        yield {
            "num_lanes": num_lanes,
            "default_num_lanes": default_num_lanes(task),
            "runs_per_second": quartiles(num_lanes / np.asarray(seconds[1:])),
            "num_rounds": NUM_ROUNDS[size],
            "compile_seconds": compile_seconds,
            "test_accuracy": float(np.mean(test["accuracy"])),
        }
