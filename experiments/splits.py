"""Splits of the data as arguments of compiled programs, so that one program serves all splits."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jbn.config import DataConfig
from jbn.data import Dataset, normalization_of
from jbn.train import batches_to_evaluate, place


def split_of(config: DataConfig, dataset: Dataset, seed: Any) -> tuple[Any, Any, Any]:
    """A seed, the examples for training, validation and test, and what is done to their inputs.

    Validation and test are in batches, as `evaluate_batches` takes them.
    """
    splits = dataset.train, *map(batches_to_evaluate, (dataset.val, dataset.test))
    return seed, splits, normalization_of(config, dataset.input_stats)


def stack(trees: Sequence[Any]) -> Any:
    """Trees as one, each of whose leaves has them all along its first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def over_lanes(lane: Callable[..., Any], lanes: Sequence[np.ndarray]) -> Callable[..., Any]:
    """Returns `run(*shared)`: `lane(*of_lane, *shared)` of each lane, as arrays on the host.

    Each device trains its share of the lanes. What is shared may change: it is compiled once for
    arguments of the same shapes.

    Args:
        lane: a function of a lane's own values and of what all lanes share.
        lanes: the lanes' own values: arrays with an axis of the lanes first.
    """
    placement = place(jax.devices(), num_lanes=len(lanes[0]))
    of_lanes = jax.device_put(tuple(lanes), placement.by_lane)

    @functools.partial(jax.jit, out_shardings=placement.by_lane)
    def program(of_lanes: Any, shared: Any) -> Any:
        return jax.vmap(lambda *of_lane: lane(*of_lane, *shared))(*of_lanes)

    def run(*shared: Any) -> Any:
        return jax.device_get(program(of_lanes, jax.device_put(shared, placement.everywhere)))

    return run
