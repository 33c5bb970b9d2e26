"""Which runs diverge; and how gradients grow in a deep network that has not been trained."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from grids import Grid, run_sweep
from probes import make_gradient_norms

from jbn.config import ArmConfig, DataConfig, ModelConfig, NormConfig
from jbn.data import Dataset, load
from jbn.train import Examples, Hypers, TrainKeys, make_task

DEPTH, WIDTH, NUM_SEEDS, NUM_EXAMPLES = 50, 256, 10, 256
ARMS = {
    "batch_norm": (NormConfig(), "lecun_normal"),
    "no_norm": (NormConfig(kind="none"), "he_normal"),
}


class Explosions(NamedTuple):
    """Of trained networks, and of untrained ones."""

    grid: Grid
    norms: np.ndarray  # of the gradients at the start: (arms, seeds, hidden layers)


def collect(data: Any = None) -> Explosions:
    """Runs the sweep, and looks at deep networks; on another data set, if one is named."""
    grid = run_sweep(Path(__file__).parent / "config.toml", data)
    dataset = load(DataConfig(name=data or "digits"))
    return Explosions(grid, np.array([_norms(dataset, *arm) for arm in ARMS.values()]))


def _norms(dataset: Dataset, norm: NormConfig, kernel_init: Any) -> np.ndarray:
    """The norm of each hidden kernel's gradient, before the first step: (seeds, layers)."""
    model = ModelConfig(hidden_sizes=(WIDTH,) * DEPTH, kernel_init=kernel_init)
    config = ArmConfig(model=model, norm=norm)
    hypers = Hypers.of(config)
    examples = Examples(dataset.train.x[:NUM_EXAMPLES], jnp.asarray(dataset.train.y[:NUM_EXAMPLES]))
    task = make_task(config, dataset.spec)
    gradient_norms = make_gradient_norms(task)

    def of(key: Any) -> Any:
        keys = TrainKeys.of(key)
        return gradient_norms(task.init(keys, hypers), keys, hypers, examples)

    return np.asarray(jax.lax.map(of, jax.random.split(jax.random.key(0), NUM_SEEDS)))
