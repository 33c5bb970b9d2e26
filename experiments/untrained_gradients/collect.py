"""The gradient in each hidden layer of deep networks of ReLU that have not been trained."""

import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from splits import stack
from values import SEED, SPLIT, label
from vanishing_gradients.collect import (
    ACTIVATIONS,
    ARMS,
    NUM_EXAMPLES,
    Case,
    Deep,
    by_layer,
    error,
)

from jbn.config import ArmConfig, DataConfig
from jbn.data import Batch, Dataset, load, normalization_of
from jbn.train import Hypers, TrainKeys, make_task

REPEATS = tuple(range(200, 210))  # each has a seed of the same number
DEPTH = 50
RELU = ACTIVATIONS.index(jax.nn.relu)
HE = Case(RELU, gain=2**0.5)


class Network(NamedTuple):
    """Hidden layers of ReLU, with He's initialization where the case has its gain."""

    width: int
    case: Case


NETWORKS = {
    "width 64": Network(64, HE),
    "width 256": Network(256, HE),
    "width 1024": Network(1024, HE),
    "width 64, weights twice as large": Network(64, Case(RELU, gain=2 * 2**0.5)),
    "width 64, shortcuts": Network(64, Case(RELU, shortcut=1.0)),
}


def rows(splits: Sequence[int] = REPEATS) -> tuple[list[dict[str, str]], float]:
    """A row for each network, arm and split; and the seconds that it took."""
    clock = time.perf_counter()
    datasets = [load(DataConfig(split_seed=split)) for split in splits]
    found = []
    for name, network in NETWORKS.items():
        for arm, norm in ARMS.items():
            measured = untrained(ArmConfig(norm=norm), network, datasets, splits)
            for n, split in enumerate(splits):
                row = {"network": name, "arm": arm, SPLIT: split, SEED: split}
                row |= {key: of[n].item() for key, of in measured.items()}
                found.append({key: label(value) for key, value in row.items()})
    return found, time.perf_counter() - clock


def untrained(
    config: ArmConfig, network: Network, datasets: Sequence[Dataset], seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """The error at the logits, and the norm of each hidden layer's gradient: each (datasets,)."""

    def of(given: tuple[Any, Batch, Any]) -> dict[str, Any]:
        seed, examples, normalization = given
        model: Any = functools.partial(Deep, depth=DEPTH, case=network.case, width=network.width)
        task = make_task(config, datasets[0].spec, model=model).with_normalization(normalization)
        keys = TrainKeys.of(jax.random.key(seed))
        hypers = Hypers.of(config)._replace(init_gain=jnp.float32(network.case.gain))
        state = task.init(keys, hypers)
        layers = by_layer(task, state, examples, keys, hypers)
        named = {f"layer_{n + 1}": layers[n] for n in range(DEPTH)}
        return {"error": error(task, state, examples, hypers)} | named

    given = stack(
        [
            (
                seed,
                Batch(*(v[:NUM_EXAMPLES] for v in dataset.train)),
                normalization_of(config.data, dataset.input_stats),
            )
            for seed, dataset in zip(seeds, datasets, strict=True)
        ]
    )
    # One after another: the widest has 50 million weights.
    found: dict[str, np.ndarray] = jax.device_get(jax.jit(lambda v: jax.lax.map(of, v))(given))
    return found
