"""What training steps take, in processes of their own, on one core of the CPU.

How XLA shares such small work out among cores differs from program to program, by more than a norm
takes; and what a program takes differs from process to process, by more than from round to round.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jbn.config import ArmConfig
from jbn.data import Examples
from jbn.environment import enable_compilation_cache
from jbn.functional._input_stats import InputStats
from jbn.train import DataSpec, Hypers, TrainKeys, batches_to_evaluate, make_task, run_epoch

NUM_ROUNDS = 15


def ask_processes(program: str, num_processes: int, *arguments: str) -> list[Any]:
    """What a program prints as JSON, from each of so many processes that run it one by one."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, program, *arguments]
    runs = (
        subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        for _ in range(num_processes)
    )
    return [json.loads(run.stdout) for run in runs]


def answer(measure: Callable[..., Any]) -> None:
    """What such a program does: prints what `measure` finds, of its arguments, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    enable_compilation_cache()
    print(json.dumps(measure(*sys.argv[1:]), default=np.ndarray.tolist))


def make_steps(
    config: ArmConfig,
    examples: Examples,
    input_stats: InputStats,
    num_classes: int,
    num_steps: int,
) -> Callable[[], Any]:
    """Returns a function without arguments: so many steps as `jbn run` takes them, compiled."""
    hypers, keys = Hypers.of(config), TrainKeys.of(jax.random.key(0))
    num_examples = num_steps * config.train.batch_size
    train, val = (jax.tree.map(lambda v, n=n: v[:n], examples) for n in (num_examples, 2))
    spec = DataSpec(num_examples, examples.x.shape[1:], num_classes, input_stats)
    task = make_task(config, spec)
    epoch = jax.jit(functools.partial(run_epoch, task))
    state, val_batches = task.init(keys, hypers), batches_to_evaluate(val)
    return lambda: epoch(state, train, val_batches, keys, hypers)
