"""What gamma and beta become in training, and how far a norm with them is from affine."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jbn
from jbn.config import ArmConfig, DataConfig, ModelConfig
from jbn.data import Dataset, load
from jbn.train import Hypers, make_task, run_training

NUM_SEEDS = 10
POSITIONS = ("after_activation", "before_activation")
INPUTS = np.linspace(-3, 3, 13)  # in standard deviations from the mean


class Layers(NamedTuple):
    """Of the article's network, trained at its default rate."""

    scale: dict[str, np.ndarray]  # position -> (seeds, units of both layers)
    bias: dict[str, np.ndarray]
    outputs: np.ndarray  # of the first norm's units, in evaluation: (inputs, seeds, units)
    from_affine: float  # the largest deviation in evaluation, relative to the largest value


def collect(data: Any = None) -> Layers:
    """Trains, and looks at gamma and beta; on another set, if one is named."""
    dataset = load(DataConfig(name=data or "digits"))
    norms = {position: _train(dataset, position) for position in POSITIONS}
    first = norms[POSITIONS[0]]["BatchNorm_0"]
    return Layers(
        scale={position: _all_units(found, "scale") for position, found in norms.items()},
        bias={position: _all_units(found, "bias") for position, found in norms.items()},
        outputs=_outputs(first),
        from_affine=_from_affine(first),
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


def _outputs(params: dict[str, Any]) -> np.ndarray:
    """What each unit makes of inputs around its mean, in evaluation."""
    scale, bias = params["scale"], params["bias"]  # (seeds, units)
    stats = jbn.BatchStats(jnp.zeros(scale.shape[-1]), jnp.ones(scale.shape[-1]))
    x = jnp.broadcast_to(jnp.asarray(INPUTS)[:, None], (len(INPUTS), scale.shape[-1]))
    norm = functools.partial(jbn.batch_norm, use_running_average=True)
    return np.stack([norm(x, stats, *of)[0] for of in zip(scale, bias, strict=True)], 1)


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
