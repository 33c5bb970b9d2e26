"""Inputs scaled as the config says, and normalized by the statistics of the training split."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from jbn.config import DataConfig
from jbn.functional._input import rescale, standardize
from jbn.functional._input_stats import InputStats, init_input_stats, update_input_stats


def fit_inputs(config: DataConfig, x: Shaped[np.ndarray, "examples *features"]) -> InputStats:
    """The statistics of raw inputs, those of the training split: per feature or per channel."""
    shape = x.shape[1:] if config.normalize_per == "feature" else x.shape[-1:]
    return _statistics(x, shape)


def normalize_inputs(
    config: DataConfig,
    stats: InputStats,
    x: Shaped[ArrayLike, "examples *features"],
    *,
    input_scale: float | Float[Array, ""] | None = None,
) -> Float[Array, "examples *features"]:
    """Raw inputs as the model takes them: float32, and normalized, or else scaled.

    What normalizes raw inputs normalizes their multiples to the same numbers, so the scale, which
    is the config's unless it is given, is that of inputs that aren't normalized.
    """
    x = jnp.asarray(x, jnp.float32)
    match config.normalize:
        case "none":
            return x * (config.input_scale if input_scale is None else input_scale)
        case "standardize":
            return standardize(x, stats)
        case "min_max":
            return rescale(x, stats)


@functools.partial(jax.jit, static_argnames="shape")
def _statistics(x: Shaped[ArrayLike, "examples *features"], shape: tuple[int, ...]) -> InputStats:
    # Compiled with the conversion, which would be four times the memory of bytes.
    x = jnp.asarray(x, jnp.float32)
    return update_input_stats(init_input_stats(shape), x)
