"""What gamma and beta become in training, and how far a norm with them is from affine."""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from values import SEED, SPLIT, label

import jbn
from jbn.config import ArmConfig, DataConfig, ModelConfig
from jbn.data import load, normalization_of
from jbn.train import Hypers, Task, make_task, run_training

REPEATS = tuple(range(200, 210))  # splits of the data, each with a seed of the same number
POSITIONS = ("after_activation", "before_activation")


def rows(repeats: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each unit of each trained network's norms; and the seconds that it took."""
    clock = time.perf_counter()
    datasets = {split: load(DataConfig(split_seed=split)) for split in repeats}
    found = []
    for position in POSITIONS:
        config = ArmConfig(model=ModelConfig(norm_position=position))
        run = make_run(make_task(config, next(iter(datasets.values())).spec))
        for split, dataset in datasets.items():
            normalization = normalization_of(config.data, dataset.input_stats)
            norms = run(split, dataset.train, dataset.val, normalization)
            gammas, betas = (
                np.concatenate([np.asarray(of[name]) for of in norms.values()])
                for name in ("scale", "bias")
            )
            deviations = from_affine(gammas, betas)
            for unit, values in enumerate(zip(gammas, betas, deviations, strict=True)):
                measured = dict(zip(("gamma", "beta", "deviation"), values, strict=True))
                varied = {"position": position, "unit": unit, SPLIT: split, SEED: split}
                found.append({name: label(v) for name, v in (varied | measured).items()})
    return found, time.perf_counter() - clock


def make_run(task: Task) -> Any:
    """Returns `run(seed, train, val, normalization)`: the trained parameters of the norms."""

    @jax.jit
    def run(seed: Any, train: Any, val: Any, normalization: Any) -> Any:
        mine, key = task.with_normalization(normalization), jax.random.key(seed)
        state, _ = run_training(mine, key, train, val, Hypers.of(task.config))
        return {name: of for name, of in state.params.items() if "BatchNorm" in name}

    return run


def from_affine(gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """How far each unit's norm in evaluation is from f(a + b) = f(a) + f(b) - f(0), in float64.

    The largest deviation relative to the largest value, with statistics and a and b at random.
    """
    with jax.enable_x64():
        scale, bias = jnp.asarray(gamma, jnp.float64), jnp.asarray(beta, jnp.float64)
        a, b = jax.random.normal(jax.random.key(1), (2, 1000, len(scale)), jnp.float64)
        stats = jbn.BatchStats(a[0], jnp.exp(b[0]))

        def f(x: Any) -> Any:
            return jbn.batch_norm(x, stats, scale, bias, use_running_average=True)[0]

        whole = f(a + b)
        difference = whole - (f(a) + f(b) - f(jnp.zeros_like(a)))
        return np.asarray(jnp.abs(difference).max(0) / jnp.abs(whole).max(0))
