"""Trains a small CNN on few examples by the recipes of Summers and Dinneen, and without."""

import functools
import itertools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import PartitionSpec as P
from jaxtyping import Array
from regularization.collect import less_of
from splits import stack
from values import SEED, SPLIT, label

import jbn.linen
from jbn import BatchStats, normalize
from jbn.config import ArmConfig, DataConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import Dataset, load, normalization_of
from jbn.linen._variables import normalize_with_batch_stats
from jbn.models import CNN
from jbn.models.convolution import convolve
from jbn.train import (
    Hypers,
    TrainKeys,
    TrainState,
    final_variables,
    make_gather,
    make_task,
    place,
    rows_of_epoch,
    run_steps,
)

REPEATS = tuple(range(200, 210))  # each has a seed of the same number
CHANNELS, NUM_CLASSES = (8, 16), 10
NUM_EXAMPLES, NUM_EPOCHS = 480, 30
RATES, DECAY = (0.01, 0.03, 0.1, 0.3, 1.0), 2e-3
PARTS = (0.0, 0.05, 0.1, 0.2, 0.4)  # of the example itself in what it is normalized by
MOMENTUM = 0.9
MEASURES = ("val_accuracy", "test_accuracy")


class Decay(NamedTuple):
    """Weight decay."""

    kernels: float
    gamma_and_beta: float


NO_DECAY = Decay(0.0, 0.0)


class Program(NamedTuple):
    """Trainings that are compiled together."""

    norm: NormConfig
    batch_size: int
    arms: Mapping[str, Decay]


PLAIN, GHOST = NormConfig(), NormConfig(kind="ghost", virtual_batch_size=8)
DECAYS = {
    "batch_norm": NO_DECAY,
    "decay_of_kernels": Decay(DECAY, 0.0),
    "decay_of_all": Decay(DECAY, DECAY),
}
SMALL, LARGE = 32, 240  # images in a batch
PROGRAMS = (
    Program(PLAIN, SMALL, DECAYS),
    Program(GHOST, SMALL, {"ghost_norm": NO_DECAY}),
    Program(PLAIN, LARGE, {"batch_norm": NO_DECAY}),
    Program(GHOST, LARGE, {"ghost_norm": NO_DECAY}),
)


class Weighed(jbn.linen.BatchNorm, kw_only=True):
    """Batch norm, for evaluation alone, of images with running statistics and a part of their own.

    The running mean and mean square count with 1 - part, those of an image's pixels with part.
    """

    part: Any  # may be traced

    @nn.compact
    def __call__(
        self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None
    ) -> Array:
        """x, of the shape (images, height, width, channels), normalized."""
        return normalize_with_batch_stats(
            self, apply_weighed, x, use_running_average=True, mask=mask
        )


def apply_weighed(
    layer: Weighed,
    x: Array,
    stats: BatchStats,
    scale: Array | None,
    bias: Array | None,
    **call: Any,
) -> tuple[Array, BatchStats]:
    """y, and the statistics as they are."""

    def mixed(running: Array, own: Array) -> Array:
        return (1 - layer.part) * running + layer.part * own.mean((1, 2), keepdims=True)

    mean = mixed(stats.mean, x)
    var = mixed(stats.var + stats.mean**2, x**2) - mean**2
    return normalize(x, mean, var, scale, bias, epsilon=layer.epsilon), stats


def small(num_outputs: int, norm: Callable[..., nn.Module]) -> CNN:
    """The CNN."""
    return CNN(num_outputs, norm, CHANNELS, conv_general_dilated=convolve)


def accuracy(variables: Any, x: Any, y: Any, part: Any, epsilon: float) -> Any:
    """The share of images that the CNN is right about, with this part of their own moments."""
    renamed = {
        kind: {re.sub("(Ghost)?BatchNorm", "Weighed", name): of for name, of in by_name.items()}
        for kind, by_name in variables.items()
    }
    net = small(NUM_CLASSES, functools.partial(Weighed, part=part, epsilon=epsilon))
    return jnp.mean(net.apply(renamed, x, train=False).argmax(-1) == y)


def descent(decay: Decay, learning_rate: Any) -> optax.GradientTransformation:
    """Gradient descent with momentum, whose decays may be traced."""

    def add(updates: Any, params: Any) -> Any:
        def added(path: Any, update: Array, param: Array) -> Array:
            module, name = (key.key for key in path)
            is_norms = module.startswith(("BatchNorm", "GhostBatchNorm"))
            of = decay.gamma_and_beta if is_norms else decay.kernels if name == "kernel" else 0.0
            return update + of * param

        return jax.tree_util.tree_map_with_path(added, updates, params)

    return optax.chain(
        optax.stateless(add), optax.trace(MOMENTUM), optax.scale_by_learning_rate(learning_rate)
    )


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each batch size, arm, rate, part and split; and the seconds that it took."""
    clock = time.perf_counter()
    datasets = [less_of(load(DataConfig(split_seed=split)), NUM_EXAMPLES) for split in splits]
    found = []
    for program in PROGRAMS:
        points = list(itertools.product(program.arms, RATES))
        lanes = [(program.arms[arm], np.float32(rate)) for arm, rate in points]
        accuracies = trained(program.norm, program.batch_size, lanes, datasets, splits)
        for (s, split), (n, (arm, rate)), (m, part) in itertools.product(
            enumerate(splits), enumerate(points), enumerate(PARTS)
        ):
            row = {"batch_size": program.batch_size, "arm": arm, "learning_rate": rate}
            row |= {"part": part, SPLIT: split, SEED: split}
            row |= {name: of[s, n, m].item() for name, of in accuracies.items()}
            found.append({key: label(value) for key, value in row.items()})
    return found, time.perf_counter() - clock


def trained(
    norm: NormConfig,
    batch_size: int,
    lanes: Sequence[tuple[Decay, np.float32]],
    datasets: Sequence[Dataset],
    seeds: Sequence[int],
) -> dict[str, np.ndarray]:
    """Accuracies at the end, with each of `PARTS`: each (datasets, lanes, parts).

    A lane is its decays and its learning rate.
    """
    config = ArmConfig(
        norm=norm,
        optimizer=OptimizerConfig(kind="sgd"),  # its place is taken
        train=TrainConfig(num_epochs=NUM_EPOCHS, batch_size=batch_size, recompute_stats=True),
    )

    def lane(given: Any, shared: Any) -> Any:
        (decay, rate), (seed, (train, val, test), normalization) = given, shared
        optimizer = functools.partial(descent, decay)
        task = make_task(config, datasets[0].spec, model=small, optimizer=optimizer)
        task = task.with_normalization(normalization)
        keys = TrainKeys.of(jax.random.key(seed))
        hypers = Hypers.of(config)._replace(learning_rate=rate)
        gather = functools.partial(make_gather(task, train, keys, hypers), is_full=True)

        def epoch(state: TrainState, number: Any) -> Any:
            batches = rows_of_epoch(task, train.y, keys, number)
            return run_steps(task, state, batches, keys, hypers, gather)[0], None

        state, _ = jax.lax.scan(epoch, task.init(keys, hypers), jnp.arange(NUM_EPOCHS))
        variables = final_variables(task, state, train.x, keys, hypers)

        def accuracies(part: Any) -> Any:
            return {
                name: accuracy(variables, task.prepare(of.x, hypers), of.y, part, norm.epsilon)
                for name, of in zip(MEASURES, (val, test), strict=True)
            }

        return jax.lax.map(accuracies, jnp.array(PARTS))

    def of_splits(lanes: Any, shared: Any) -> Any:
        # One after another: XLA's CPU compiler is slow at convolutions of several networks.
        return jax.lax.map(lambda of: jax.lax.map(lambda given: lane(given, of), lanes), shared)

    shared = [
        (seed, of[:3], normalization_of(config.data, of.input_stats))
        for seed, of in zip(seeds, datasets, strict=True)
    ]
    by_lane = place(jax.devices(), num_lanes=len(shared)).by_lane
    program = jax.shard_map(
        of_splits,
        mesh=by_lane.mesh,
        in_specs=(P(), by_lane.spec),
        out_specs=by_lane.spec,
        check_vma=False,
    )
    found: dict[str, np.ndarray] = jax.device_get(jax.jit(program)(stack(lanes), stack(shared)))
    return found
