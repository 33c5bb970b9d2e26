"""Inputs scaled as the config says, and normalized by the statistics of the training split."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Shaped

from jbn.config import DataConfig
from jbn.functional._input import rescale, standardize
from jbn.functional._input_stats import InputStats, init_input_stats, update_input_stats

_BLOCK_SIZE = 2**18  # numbers; 1 MB, which caches hold


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
    # In blocks, so that float32 copies of bytes, and what a pass makes, are never large.
    x = jnp.asarray(x)
    rows = min(len(x), max(1, _BLOCK_SIZE // math.prod(x.shape[1:])))

    def update(stats: InputStats, start: int | Int[Array, ""], size: int) -> InputStats:
        block = lax.dynamic_slice_in_dim(x, start, size)
        return update_input_stats(stats, block.astype(jnp.float32))

    num_blocks, rest = divmod(len(x), rows)
    stats = lax.fori_loop(
        0, num_blocks, lambda i, stats: update(stats, i * rows, rows), init_input_stats(shape)
    )
    return update(stats, num_blocks * rows, rest) if rest else stats
