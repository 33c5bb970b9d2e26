"""The norms as the laws call them, each with the float64 NumPy that judges it."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import reference

import jbn


def feature_shape(x, axis):
    """The sizes of x along the feature axes."""
    return tuple(x.shape[a] for a in sorted(np.atleast_1d(axis).astype(int) % x.ndim))


def num_groups(x, axis):
    """In how many groups the ghost norm takes x: at least 2, if they have 3 examples or more."""
    num_examples = x.shape[min(reference.reduction_axes(x.ndim, axis))]
    divisors = (n for n in range(2, num_examples // 3 + 1) if num_examples % n == 0)
    return next(divisors, 1)


# Norms that keep running statistics: (x, stats, scale, bias, *, use_running_average, …) -> y, stats


def ghost_batch_norm(x, stats, *args, axis=-1, **options):
    size = x.shape[min(reference.reduction_axes(x.ndim, axis))] // num_groups(x, axis)
    return jbn.ghost_batch_norm(x, stats, *args, axis=axis, virtual_batch_size=size, **options)


def batch_renorm_without_correction(x, stats, *args, **options):
    limits = jbn.RenormLimits(r_max=1.0, d_max=0.0)
    return jbn.batch_renorm(x, stats, *args, limits=limits, **options)


def domain_batch_norm(x, stats, *args, **options):
    """With the given statistics as the second of three domains'."""
    rows = jbn.BatchStats(*(jnp.stack([v + 7, v, v - 3]) for v in stats))
    y, rows = jbn.domain_batch_norm(x, rows, *args, domain=1, **options)
    return y, jbn.BatchStats(rows.mean[1], rows.var[1])


# Compiled, which for these small arrays is far quicker than op by op.
STATEFUL_NORMS = {
    name: jax.jit(norm, static_argnames=("use_running_average", "axis", "dtype"))
    for name, norm in {
        "batch_norm": jbn.batch_norm,
        "ghost_batch_norm": ghost_batch_norm,
        "batch_renorm": batch_renorm_without_correction,
        "domain_batch_norm": domain_batch_norm,
    }.items()
}


# All norms


class Norm(NamedTuple):
    """A norm as the laws call it, and its judge."""

    eager: Callable  # (x, scale, bias, *, epsilon, mask, axis, dtype) -> y
    judge: Callable  # (x, scale, bias, *, epsilon, mask, axis) -> reference.Normalized
    judge_vjp: Callable  # (x, dy, scale, *, epsilon, mask, axis) -> (dx, dscale, dbias)
    centers: bool = True  # whether it subtracts the mean
    # What the bound on dx grows by with |x̂|: where XLA adds the n numbers of Σ(dy x̂) one by one,
    # the sum is off by √n roundings of its own size, which is √n where one entry makes all of the
    # variance; dx has x̂ / n of that.
    dx_bound_per_x_hat: float = 0.0

    @property
    def apply(self):
        """Compiled, as above."""
        return jax.jit(self.eager, static_argnames=("axis", "epsilon", "dtype"))


def train(stateful, x, scale=None, bias=None, *, axis=-1, **options):
    """y of a norm that keeps running statistics, in training."""
    stats = jbn.init_batch_stats(feature_shape(x, axis))
    options = {"use_running_average": False, "axis": axis, **options}
    return stateful(x, stats, scale, bias, **options)[0]


def in_groups(judge):
    """The judge of the ghost norm, of a judge that is told the number of groups."""

    def judged(x, *args, axis=-1, **options):
        return judge(x, *args, axis=axis, num_groups=num_groups(x, axis), **options)

    return judged


def batch_norm_like(stateful):
    return Norm(functools.partial(train, stateful), reference.batch_norm, reference.batch_norm_vjp)


NORMS = {
    "batch_norm": batch_norm_like(jbn.batch_norm),
    "batch_renorm": batch_norm_like(batch_renorm_without_correction),
    "domain_batch_norm": batch_norm_like(domain_batch_norm),
    "ghost_batch_norm": Norm(
        functools.partial(train, ghost_batch_norm),
        in_groups(reference.ghost_batch_norm),
        in_groups(reference.ghost_batch_norm_vjp),
    ),
}


# Norms of the hidden layers, with statistics per column, as the laws have it


def layer_norm(x, scale=None, bias=None, *, axis=-1, **options):
    axes = {"reduction_axes": reference.reduction_axes(x.ndim, axis), "feature_axes": axis}
    return jbn.layer_norm(x, scale, bias, **{"epsilon": 1e-5, **axes, **options})


def instance_norm(x, scale=None, bias=None, *, axis=-1, mask=None, **options):
    """Of x as a single example."""
    options = {"epsilon": 1e-5, **options}
    if mask is not None:
        mask = jnp.reshape(mask, (1,) * (x.ndim - jnp.ndim(mask) + 1) + jnp.shape(mask))
    axis = tuple(a % x.ndim + 1 for a in np.atleast_1d(axis).astype(int).tolist())
    return jbn.instance_norm(x[None], scale, bias, axis=axis, mask=mask, **options)[0]


def group_norm(x, scale=None, bias=None, *, axis=-1, mask=None, **options):
    """Of x as a single example: each column is a group, each entry a channel."""
    axes = tuple(sorted(a % x.ndim for a in np.atleast_1d(axis).astype(int).tolist()))
    features = feature_shape(x, axis)
    front = tuple(range(len(axes)))
    moved_shape = jnp.moveaxis(x, axes, front).shape
    channels = math.prod(moved_shape[len(axes) :])

    def row(value):
        return jnp.moveaxis(value, axes, front).reshape(1, -1)

    def per_channel(value):
        return None if value is None else jnp.repeat(value.reshape(-1), channels)

    y = jbn.group_norm(
        row(x),
        per_channel(scale),
        per_channel(bias),
        num_groups=math.prod(features),
        mask=None if mask is None else row(jnp.broadcast_to(mask, x.shape)),
        **{"epsilon": 1e-5, **options},
    )
    return jnp.moveaxis(y.reshape(moved_shape), front, axes)


def rms_norm(x, scale=None, bias=None, *, axis=-1, **options):
    """There is no bias."""
    axes = {"reduction_axes": reference.reduction_axes(x.ndim, axis), "feature_axes": axis}
    return jbn.rms_norm(x, scale, **{"epsilon": 1e-5, **axes, **options})


NORMS |= {
    name: Norm(norm, reference.batch_norm, reference.batch_norm_vjp, dx_bound_per_x_hat=per_x_hat)
    for name, norm, per_x_hat in [
        ("layer_norm", layer_norm, 0.0),
        ("group_norm", group_norm, 2.0**-24),
        ("instance_norm", instance_norm, 2.0**-24),
    ]
}
NORMS["rms_norm"] = Norm(rms_norm, reference.rms_norm, reference.rms_norm_vjp, centers=False)
