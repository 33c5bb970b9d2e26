"""Moments by blocks: one pass over x, in a form that XLA's CPU compiler makes fast.

That compiler gives a sum to a library, whose kernels read their input from memory. So for sums of
x - shift and of its square it would first write x - shift. It keeps a reduction of two values at
once to itself, and then computes both from x. It unrolls and vectorizes that loop if the loop is
short and its neighbours in memory are other results. So x is cut into blocks of at most 32 entries.
Each block has its own shift, the mean of its first four entries, and no pass over x is needed to
find it.

The mean of a fraction f of the entries has (shift - mean)² <= var * (1/f - 1). So within a block of
32 the variance loses at most log2(32 / 4) bits. The blocks are merged as by Chan, Golub and
LeVeque, 1983.
"""

import functools
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from jbn.functional._arguments import max_num_shards, num_reduced
from jbn.functional._mask import zero_like
from jbn.functional._shifted import ShiftedMoments, as_shift, squared

_MAX_BLOCK = 32
# Of x. In smaller ones a copy costs less than the blocks do.
_MIN_SIZE_IN_ROWS = 2**14
_MIN_SIZE_IN_COLUMNS = 2**17
_MIN_LANES = 8  # blocks side by side in memory; fewer don't fill a vector
_MAX_LANES_ADDED_IN_TURN = 64
_NUM_LANES_IN_SHIFT = 8
_MAX_IN_CENTER = 4


class Blocks(NamedTuple):
    """How to cut x: its new shape, the axis of a block's entries, and which axes then remain."""

    shape: tuple[int, ...]
    axis: int
    remaining: tuple[int, ...]


def as_blocks(x: Inexact[Array, "..."], reduction_axes: tuple[int, ...]) -> Blocks | None:
    """How to cut x into blocks; None if x is small, or its sizes, dtype or mesh don't allow it."""
    if jnp.iscomplexobj(x):
        return None
    if any(max_num_shards(x, axis) > 1 for axis in range(x.ndim)):
        return None  # JAX reshapes no x that an explicit mesh shards
    is_minor = x.ndim - 1 in reduction_axes
    if _known_size(x) < (_MIN_SIZE_IN_ROWS if is_minor else _MIN_SIZE_IN_COLUMNS):
        return None
    return cut(x.shape, reduction_axes)


def cut(shape: tuple[Any, ...], reduction_axes: tuple[int, ...]) -> Blocks | None:
    """How to cut an x of a shape into blocks; None if its sizes don't allow it."""
    sizes = [shape[axis] for axis in reduction_axes]
    if not (sizes and all(isinstance(size, int) and size > 0 for size in sizes)):
        return None
    run = max(_runs(reduction_axes), key=lambda run: num_reduced(shape, run))
    first, last = run[0], run[-1]
    is_minor = last == len(shape) - 1
    parts = (_cut_minor if is_minor else _cut_major)(num_reduced(shape, run))
    if parts is None:
        return None
    # Once the blocks are reduced, the run is one axis: the one where it began.
    others = (a if a < first else a - len(run) + 1 for a in reduction_axes if a not in run)
    return Blocks(
        (*shape[:first], *parts, *shape[last + 1 :]),
        first if is_minor else first + 1,
        tuple(sorted((first, *others))),
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def block_moments(
    x: Float[Array, "..."], reduction_axes: tuple[int, ...], blocks: Blocks
) -> ShiftedMoments:
    """The moments of x over canonical axes, in the dtype of x."""
    n = num_reduced(x.shape, reduction_axes)
    kept = tuple(1 if axis in reduction_axes else size for axis, size in enumerate(x.shape))
    x = x.reshape(blocks.shape)
    size = x.shape[blocks.axis]
    # Of each block: the shift, how far the mean is from it, and the sum of squares around the mean.
    # Of four entries, or two, or one: halving is exact, so XLA can't round the shift in two ways.
    center = _mean_at(x, blocks.axis, range(1 << (min(_MAX_IN_CENTER, size).bit_length() - 1)))
    d = x - center
    d_sum, d2_sum = _sum_both(d, squared(d), blocks.axis)
    center, offset = lax.squeeze(center, [blocks.axis]), d_sum / size
    spread = d2_sum - offset * d_sum

    num_blocks = n // size
    is_row = blocks.remaining == (offset.ndim - 1,)
    if is_row and num_blocks <= _MAX_LANES_ADDED_IN_TURN:
        step = max(1, num_blocks // _NUM_LANES_IN_SHIFT)
        evenly = range(0, num_blocks, step)[:_NUM_LANES_IN_SHIFT]
        shift = as_shift(_mean_at(center + offset, -1, evenly))
        delta = (center - shift) + offset
        delta_sum, total, shift = _sum_both_and_keep(delta, squared(delta) * size + spread, shift)
    else:
        shift = as_shift(jnp.mean(center + offset, blocks.remaining, keepdims=True))
        delta = (center - shift) + offset
        delta_sum = jnp.sum(delta, blocks.remaining)
        total = jnp.sum(squared(delta) * size + spread, blocks.remaining)
    offset = delta_sum.reshape(kept) / num_blocks
    var = total.reshape(kept) / n - squared(offset)
    count = jnp.full(kept, n, x.dtype)
    return ShiftedMoments(count, shift.reshape(kept), offset, jnp.where(var < 0, 0, var))


@block_moments.defjvp
def _block_moments_jvp(
    reduction_axes: tuple[int, ...],
    blocks: Blocks,
    primals: tuple[Array],
    tangents: tuple[Array],
) -> tuple[ShiftedMoments, ShiftedMoments]:
    """dmean = Σdx / n, dvar = 2 Σ(x - mean) dx / n: JAX can't differentiate our reductions."""
    (x,), (dx,) = primals, tangents
    moments = block_moments(x, reduction_axes, blocks)
    d = (x - moments.shift) - moments.offset
    doffset = jnp.mean(dx, reduction_axes, keepdims=True)
    dvar = 2 * jnp.mean(d * dx, reduction_axes, keepdims=True)
    dcount, dshift = zero_like(moments.count), zero_like(moments.shift)
    return moments, ShiftedMoments(dcount, dshift, doffset, dvar)


def _known_size(x: Array) -> float:
    """The number of entries; infinite if `jax.export` leaves it open."""
    sizes = [size if isinstance(size, int) else math.inf for size in x.shape]
    return math.prod(sizes, start=1.0)


def _runs(axes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Axes that follow one another, together."""
    for _, run in itertools.groupby(enumerate(axes), lambda pair: pair[1] - pair[0]):
        yield tuple(axis for _, axis in run)


def _cut_minor(n: int) -> tuple[int, int] | None:
    """(entries of a block, blocks) of n entries in a row: blocks lie side by side in memory."""
    if n <= _MAX_BLOCK:
        return 1, n
    fewest = max(_MIN_LANES, -(-n // _MAX_BLOCK))
    lanes = next(number for number in range(fewest, n + 1) if n % number == 0)
    return (n // lanes, lanes) if lanes < n else None


def _cut_major(n: int) -> tuple[int, int] | None:
    """(blocks, entries of a block) of n entries that have other axes behind them."""
    size = next(size for size in range(min(n, _MAX_BLOCK), 0, -1) if n % size == 0)
    return (n // size, size) if size == n or size >= _MIN_LANES else None


def _mean_at(x: Float[Array, "..."], axis: int, indices: Sequence[int]) -> Float[Array, "..."]:
    """The mean of a few entries along the axis, which keeps size 1: without a reduction."""
    some = [lax.slice_in_dim(x, i, i + 1, axis=axis) for i in indices]
    return functools.reduce(operator.add, some) / len(some)


def _sum_both(
    a: Float[Array, "..."], b: Float[Array, "..."], axis: int
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    zero = jnp.zeros((), a.dtype)
    sums = lax.reduce((a, b), (zero, zero), lambda x, y: (x[0] + y[0], x[1] + y[1]), (axis,))
    return sums[0], sums[1]


def _sum_both_and_keep(
    a: Float[Array, "... lanes"], b: Float[Array, "... lanes"], kept: Float[Array, "... 1"]
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """Both sums of each row; and `kept` as a result of the same loop, or XLA computes it again in
    each that reads it."""
    zero, lowest = jnp.zeros((), a.dtype), jnp.full((), -jnp.inf, a.dtype)
    sums = lax.reduce(
        (a, b, jnp.broadcast_to(kept, a.shape)),
        (zero, zero, lowest),
        lambda x, y: (x[0] + y[0], x[1] + y[1], lax.max(x[2], y[2])),
        (a.ndim - 1,),
    )
    return sums[0], sums[1], sums[2]
