"""Siblings of batch_norm: batch renormalization and statistics by domain."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compiled import jbn
from problems import close

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(2, 3, (16, 4)), jnp.float32)
SCALE = jnp.asarray(RNG.normal(size=4), jnp.float32)
BIAS = jnp.asarray(RNG.normal(size=4), jnp.float32)
STATS = jbn.BatchStats(jnp.arange(4.0), 1 + jnp.arange(4.0))
PLAIN = jbn.RenormLimits(1.0, 0.0)
WIDE = jbn.RenormLimits(1e6, 1e6)

renorm = functools.partial(jbn.batch_renorm, use_running_average=False)
plain = functools.partial(jbn.batch_norm, use_running_average=False)


def renorm_in_float64(x, limits, mask=None):
    """The paper's formulas, with the statistics of the counted rows."""
    x, scale, bias = (np.asarray(v, np.float64) for v in (x, SCALE, BIAS))
    counted = x if mask is None else x[np.asarray(mask)[:, 0]]
    mean, sigma = counted.mean(0), np.sqrt(counted.var(0) + 1e-5)
    running_mean, running_sigma = np.arange(4.0), np.sqrt(1 + np.arange(4.0) + 1e-5)
    r = np.clip(sigma / running_sigma, 1 / limits.r_max, limits.r_max)
    d = np.clip((mean - running_mean) / running_sigma, -limits.d_max, limits.d_max)
    return ((x - mean) / sigma * r + d) * scale + bias, r


@pytest.mark.parametrize("limits", [PLAIN, WIDE, jbn.RenormLimits(1.2, 0.4)])
@pytest.mark.parametrize("masked", [False, True])
def test_renorm_is_the_papers(limits, masked):
    mask = jnp.arange(16)[:, None] % 3 > 0 if masked else None
    y, stats = jax.jit(renorm)(X, STATS, SCALE, BIAS, limits=limits, mask=mask)
    close(y, renorm_in_float64(X, limits, mask)[0])
    close(stats, plain(X, STATS, mask=mask)[1], 0)


def test_without_room_renorm_is_batch_norm_and_with_all_of_it_evaluation():
    close(renorm(X, STATS, SCALE, BIAS, limits=PLAIN), plain(X, STATS, SCALE, BIAS))
    evaluated = jbn.batch_norm(X, STATS, SCALE, BIAS, use_running_average=True)[0]
    close(renorm(X, STATS, SCALE, BIAS, limits=WIDE)[0], evaluated, 1e-5)
    close(
        jbn.batch_renorm(X, STATS, SCALE, BIAS, use_running_average=True, limits=WIDE)[0],
        evaluated,
        0,
    )


def test_the_gradient_of_renorm_is_that_of_batch_norm_times_r():
    dy = jnp.asarray(RNG.normal(size=X.shape), jnp.float32)
    limits = jbn.RenormLimits(1.2, 0.4)

    def loss(x, stats, scale, bias):
        return jnp.sum(renorm(x, stats, scale, bias, limits=limits)[0] * dy)

    dx, dstats, dscale, dbias = jax.jit(jax.grad(loss, range(4)))(X, STATS, SCALE, BIAS)
    y, r = renorm_in_float64(X, limits)
    scale, bias, dy64 = (np.asarray(value, np.float64) for value in (SCALE, BIAS, dy))
    close(dscale, (dy64 * (y - bias) / scale).sum(0), 1e-5)
    close(dbias, dy64.sum(0), 1e-5)
    exact = reference.batch_norm_vjp(X, dy, np.asarray(SCALE, np.float64) * r)
    close(dx, exact[0], 1e-5)
    close(dstats, jbn.BatchStats(np.zeros(4), np.zeros(4)), 0)


@pytest.mark.optimized
def test_renorm_reads_the_data_no_more_often_than_batch_norm():
    """By XLA's own count: the moments it takes twice are computed once."""
    x = jnp.ones((4096, 64))

    def bytes_accessed(norm):
        def loss(x):
            return jnp.sum(norm(x, jbn.init_batch_stats(64))[0] ** 3)

        return jax.jit(jax.grad(loss)).lower(x).compile().cost_analysis()["bytes accessed"]

    assert bytes_accessed(functools.partial(renorm, limits=WIDE)) <= 1.01 * bytes_accessed(plain)


def test_limits_may_be_traced_and_bad_ones_are_named():
    traced = jax.jit(lambda step: renorm(X, STATS, limits=jbn.renorm_limits(step))[0])
    close(traced(0), plain(X, STATS)[0])
    with pytest.raises(ValueError, match=r"limits.r_max: found 0.5, wanted a number from 1"):
        renorm(X, STATS, limits=jbn.RenormLimits(0.5, 0.0))
    with pytest.raises(ValueError, match=r"limits.d_max: found -1.0, wanted a number from 0"):
        renorm(X, STATS, limits=jbn.RenormLimits(1.0, -1.0))


ROWS = jbn.BatchStats(jnp.stack([STATS.mean, -STATS.mean]), jnp.stack([STATS.var, 2 * STATS.var]))


@pytest.mark.parametrize("domain", [0, 1])
@pytest.mark.parametrize("use_running_average", [False, True])
def test_a_domain_is_normalized_with_its_own_row_and_moves_no_other(domain, use_running_average):
    row = jax.tree.map(lambda rows: rows[domain], ROWS)
    wanted_y, wanted_row = jbn.batch_norm(
        X, row, SCALE, BIAS, use_running_average=use_running_average
    )
    options = {"domain": jnp.int32(domain), "use_running_average": use_running_average}
    y, moved = jax.jit(jbn.domain_batch_norm, static_argnames="use_running_average")(
        X, ROWS, SCALE, BIAS, **options
    )
    close(y, wanted_y)
    close(jax.tree.map(lambda rows: rows[domain], moved), wanted_row)
    other = jax.tree.map(lambda rows: rows[1 - domain], moved)
    close(other, jax.tree.map(lambda rows: rows[1 - domain], ROWS), 0)


def test_domains_may_have_scales_and_biases_of_their_own():
    scales, biases = jnp.stack([SCALE, 2 * SCALE]), jnp.stack([BIAS, -BIAS])
    y, _ = jbn.domain_batch_norm(X, ROWS, scales, biases, domain=1, use_running_average=False)
    close(y, plain(X, STATS, 2 * SCALE, -BIAS)[0])


@pytest.mark.parametrize("use_running_average", [False, True])
def test_a_negative_domain_of_an_array_counts_from_the_end(use_running_average):
    norm = functools.partial(jbn.domain_batch_norm, use_running_average=use_running_average)
    last, one = (norm(X, ROWS, domain=jnp.int32(domain)) for domain in (-1, 1))
    close(last, one, 0)


def test_domains_are_lanes_of_a_vmap():
    x = jnp.stack([X, X + 1, 2 * X])
    domains = jnp.array([1, 0, 1])

    def evaluate(x, domain):
        return jbn.domain_batch_norm(x, ROWS, domain=domain, use_running_average=True)[0]

    for y, one, domain in zip(jax.vmap(evaluate)(x, domains), x, [1, 0, 1], strict=True):
        close(y, evaluate(one, domain))


def test_a_domain_beyond_the_rows_is_an_error_or_nan_and_moves_nothing():
    with pytest.raises(ValueError, match="domain: found 2, wanted one from 0 to 1"):
        jbn.domain_batch_norm(X, ROWS, domain=2, use_running_average=False)
    y, _ = jax.jit(functools.partial(jbn.domain_batch_norm, use_running_average=True))(
        X, ROWS, domain=jnp.int32(2)
    )
    assert np.isnan(y).all()
    _, moved = jax.jit(functools.partial(jbn.domain_batch_norm, use_running_average=False))(
        X, ROWS, domain=jnp.int32(2)
    )
    close(moved, ROWS, 0)
