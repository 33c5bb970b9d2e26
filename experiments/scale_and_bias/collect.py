"""Accuracies with and without gamma and beta; what they become; how far they are from affine."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from grids import Grid, run_sweep

import jbn
from jbn.config import ArmConfig, DataConfig, ModelConfig
from jbn.data import Dataset, load
from jbn.train import Hypers, make_task, run_training

HERE = Path(__file__).parent
NUM_SEEDS = 10
POSITIONS = ("after_activation", "before_activation")


class Layers(NamedTuple):
    """Of the article's network, trained at its default rate."""

    grid: Grid
    splits: Grid  # of ReLU after the norm, on other splits of the data
    scale: dict[str, np.ndarray]  # position -> (seeds, units of both layers)
    bias: dict[str, np.ndarray]
    from_affine: float  # the largest deviation in evaluation, relative to the largest value


def collect(data: Any = None) -> Layers:
    """Runs the sweep, and trains to look at gamma and beta; on another set, if one is named."""
    grid, splits = (run_sweep(HERE / f"{name}.toml", data) for name in ("config", "splits"))
    dataset = load(DataConfig(name=data or "digits"))
    norms = {position: _train(dataset, position) for position in POSITIONS}
    return Layers(
        grid,
        splits,
        scale={position: _all_units(found, "scale") for position, found in norms.items()},
        bias={position: _all_units(found, "bias") for position, found in norms.items()},
        from_affine=_from_affine(norms[POSITIONS[0]]["BatchNorm_0"]),
    )


def _train(dataset: Dataset, position: Any) -> dict[str, Any]:
    """The parameters of the norms after training, with an axis of seeds."""
    config = ArmConfig(model=ModelConfig(norm_position=position))
    run = functools.partial(run_training, make_task(config, dataset.spec))
    keys = jax.random.split(jax.random.key(0), NUM_SEEDS)
    state, _ = jax.jit(jax.vmap(run, (0, None, None, None)))(
        keys, dataset.train, dataset.val, Hypers.of(config)
    )
    return {name: params for name, params in state.params.items() if "BatchNorm" in name}


def _all_units(norms: dict[str, Any], name: str) -> np.ndarray:
    return np.concatenate([np.asarray(params[name]) for params in norms.values()], axis=-1)


def _from_affine(params: dict[str, Any]) -> float:
    """How far a norm in evaluation is from f(a + b) = f(a) + f(b) - f(0), in float64."""
    with jax.enable_x64():
        scale, bias = (jnp.asarray(params[name][0], jnp.float64) for name in ("scale", "bias"))
        a, b = jax.random.normal(jax.random.key(1), (2, 1000, len(scale)), jnp.float64)
        stats = jbn.BatchStats(a[0], jnp.exp(b[0]))

        def f(x: Any) -> Any:
            return jbn.batch_norm(x, stats, scale, bias, use_running_average=True)[0]

        whole = f(a + b)
        difference = whole - (f(a) + f(b) - f(jnp.zeros_like(a)))
        return float(jnp.abs(difference).max() / jnp.abs(whole).max())
