"""Trains perceptrons of residual blocks, whose gamma begins at 1 or 0, or isn't there."""

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from trainings import make_run
from values import SEED, SPLIT, label
from vanishing_gradients.collect import ACTIVATIONS, Case, Deep, with_stats_of

from jbn.config import ArmConfig, DataConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import DataSpec, load
from jbn.train import Hypers, Task, TrainKeys, TrainState, make_task

REPEATS = tuple(range(200, 210))  # each has a seed of the same number
BLOCKS, NUM_EPOCHS = (20, 50), 5
RATES = np.logspace(-3.5, 0, 8)
RESIDUAL = Case(ACTIVATIONS.index(jax.nn.relu), shortcut=1.0)


class Norms(NamedTuple):
    """What a network's blocks have, and the arms that begin with this gamma."""

    norm: NormConfig
    gammas: dict[str, float]


PROGRAMS = (
    Norms(NormConfig(), {"batch_norm": 1.0, "gamma_from_0": 0.0}),
    Norms(NormConfig(use_scale=False, use_bias=False), {"neither": 1.0}),
    Norms(NormConfig(kind="none"), {"no_norm": 1.0, "no_norm, gamma_from_0": 0.0}),
)


class Affine(nn.Module):
    """Gamma and beta without a norm."""

    @nn.compact
    def __call__(self, x: Any, mask: Any = None) -> Any:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        return scale * x + self.param("bias", nn.initializers.zeros, x.shape[-1:])


def affine(use_running_average: bool) -> Affine:
    """`Affine`, made as a norm is made."""
    return Affine()


def residual(blocks: int, num_outputs: int, norm: Callable[..., nn.Module] | None = None) -> Deep:
    """A hidden layer, and blocks that add to what they take: x + norm(relu(Dense(x))).

    Without a norm gamma and beta are there all the same.
    """
    return Deep(num_outputs, 1 + blocks, RESIDUAL, norm or affine)


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each depth, arm, rate and split; and the seconds that it took."""
    clock = time.perf_counter()
    datasets = {split: load(DataConfig(split_seed=split)) for split in splits}
    found = []
    for blocks, (norm, gammas) in itertools.product(BLOCKS, PROGRAMS):
        points = list(itertools.product(gammas, RATES.tolist()))
        numbers = [(gammas[arm], rate) for arm, rate in points]
        run = make_training(norm, blocks, datasets[splits[0]].spec, numbers)
        for split, dataset in datasets.items():
            for (arm, rate), values in zip(points, run(dataset, split), strict=True):
                row = {"blocks": blocks, "arm": arm, "learning_rate": rate}
                row |= {SPLIT: split, SEED: split} | values
                found.append({key: label(value) for key, value in row.items()})
    return found, time.perf_counter() - clock


def make_training(
    norm: NormConfig, blocks: int, spec: DataSpec, points: Sequence[tuple[float, float]]
) -> Any:
    """Returns `run(dataset, seed)`: what each point comes to, a first gamma and a rate."""
    config = ArmConfig(
        norm=norm,
        optimizer=OptimizerConfig(kind="momentum"),
        train=TrainConfig(num_epochs=NUM_EPOCHS),
    )
    model: Any = functools.partial(residual, blocks)
    return make_run(make_task(config, spec, model=model), points, with_gamma, end)


def with_gamma(params: Any, gamma: Any) -> Any:
    """The parameters, the blocks' gammas times this one."""
    blocks = {
        name: {**of, "scale": gamma * of["scale"]} if "scale" in of else of
        for name, of in params["others"].items()
    }
    return {**params, "others": blocks}


def end(task: Task, state: TrainState, x: Any, keys: TrainKeys, hypers: Hypers) -> Any:
    """The variables, with the batch statistics of all these inputs together."""
    return with_stats_of(task, state, x, hypers)
