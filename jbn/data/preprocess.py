"""Normalizes inputs with the statistics of the training split, or scales them."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Shaped

from jbn.config import DataConfig, UserError
from jbn.functional._input import rescale, standardize
from jbn.functional._input_stats import (
    InputStats,
    Remainders,
    init_input_stats,
    update_input_stats,
)

_NORMALIZATIONS: dict[str, Callable[[Array, InputStats, Any], Array]] = {
    "none": lambda x, stats, scale: x * scale,
    "standardize": lambda x, stats, scale: standardize(x, stats),
    "min_max": lambda x, stats, scale: rescale(x, stats),
}
_BLOCK_SIZE = 2**18  # numbers: 1 MB, which fits into caches


def fit_inputs(config: DataConfig, x: Shaped[np.ndarray, "examples *features"]) -> InputStats:
    """The statistics of raw inputs: one for each feature, or for each channel.

    Give it the inputs of the training split. `config.normalize_per` chooses: "feature" is each
    entry of an input, "channel" is each index of the last axis.
    """
    shape = x.shape[1:] if config.normalize_per == "feature" else x.shape[-1:]
    return _statistics(x, shape)


def input_stats_of(arrays: Mapping[str, Any]) -> InputStats:
    """The statistics in a file of variables, by the names of their fields.

    Raises:
        UserError: some are missing, or aren't numbers of one shape.
    """
    try:
        fields = {name: arrays[name] for name in InputStats._fields}
        stats = InputStats(**fields | {"remainders": Remainders(**fields["remainders"])})
    except (KeyError, TypeError) as error:
        raise UserError(f"its statistics of the inputs are damaged: {error}") from None
    leaves = jax.tree.leaves(stats)
    shapes = {jnp.shape(leaf) for leaf in leaves}
    if len(shapes) > 1 or any(np.asarray(leaf).dtype.kind not in "iuf" for leaf in leaves):
        raise UserError(
            f"its statistics of the inputs are damaged: found the shapes {sorted(shapes)}"
        )
    return stats


def normalize_inputs(
    config: DataConfig,
    stats: InputStats,
    x: Shaped[ArrayLike, "examples *features"],
    *,
    input_scale: float | Float[Array, ""] | None = None,
) -> Float[Array, "examples *features"]:
    """Raw inputs as the model takes them: float32, and normalized as `config.normalize` says.

    If that is "none", the inputs are multiplied by `input_scale` (None: by `config.input_scale`).
    Otherwise a scale would change nothing: a multiple of the inputs is normalized to the same
    numbers.
    """
    scale = config.input_scale if input_scale is None else input_scale
    return _NORMALIZATIONS[config.normalize](jnp.asarray(x, jnp.float32), stats, scale)


class Normalization(NamedTuple):
    """What is done to inputs, as numbers, so that one program does any of it."""

    number: Int[Any, ""]  # which it is
    stats: InputStats


def normalization_of(config: DataConfig, stats: InputStats) -> Normalization:
    """What `normalize_inputs` does, of these arguments."""
    return Normalization(np.int32(list(_NORMALIZATIONS).index(config.normalize)), stats)


def normalize_by(
    normalization: Normalization,
    x: Shaped[ArrayLike, "examples *features"],
    input_scale: float | Float[Array, ""],
) -> Float[Array, "examples *features"]:
    """As `normalize_inputs`, of a normalization that may be traced."""
    x = jnp.asarray(x, jnp.float32)
    each = [of(x, normalization.stats, input_scale) for of in _NORMALIZATIONS.values()]
    return lax.select_n(normalization.number, *each)


@functools.partial(jax.jit, static_argnames="shape")
def _statistics(x: Shaped[ArrayLike, "examples *features"], shape: tuple[int, ...]) -> InputStats:
    # In blocks: so the float32 copies of bytes, and other intermediate arrays, stay small.
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
