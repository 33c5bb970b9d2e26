"""Inputs scaled as the config says, and normalized by the statistics of the training split."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jbn.config import DataConfig
from jbn.functional._input import rescale, standardize
from jbn.functional._input_stats import InputStats, init_input_stats, update_input_stats


def fit_inputs(config: DataConfig, x: Float[ArrayLike, "examples *features"]) -> InputStats:
    """The statistics of raw inputs, scaled: those of the training split."""
    stats = init_input_stats(np.shape(x)[1:])
    fitted: InputStats = jax.jit(update_input_stats)(stats, _scaled(config, x))
    return fitted


def normalize_inputs(
    config: DataConfig, stats: InputStats, x: Float[ArrayLike, "examples *features"]
) -> Float[Array, "examples *features"]:
    """Raw inputs as the model takes them: float32, scaled and normalized."""
    x = _scaled(config, x)
    match config.normalize:
        case "none":
            return x
        case "standardize":
            return standardize(x, stats)
        case "min_max":
            return rescale(x, stats)


def _scaled(config: DataConfig, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    return jnp.asarray(x, jnp.float32) * config.input_scale
