"""Moments, running statistics and normalize, the parts that batch_norm is made of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from compiled import jbn
from problems import close, normal

pytestmark = pytest.mark.quick


def batch(count, mean, var):
    """Moments as reduced from rows: a leading axis of size 1."""
    return jbn.Moments(*(jnp.array([values], jnp.float32) for values in (count, mean, var)))


OLD = jbn.BatchStats(jnp.array([1.0, -2.0, 3.0]), jnp.array([0.5, 2.0, 3.0]))
BATCH = batch([8, 8, 8], [0.0, 4.0, -1.0], [1.0, 0.0, 2.5])


# Running statistics


@pytest.mark.parametrize(("num_features", "shape"), [(3, (3,)), ((2, 3), (2, 3)), ((), ())])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_initial_statistics_are_mean_0_and_variance_1(num_features, shape, dtype):
    stats = jbn.init_batch_stats(num_features, dtype)
    for value, wanted in zip(stats, (0, 1), strict=True):
        assert value.dtype == dtype
        np.testing.assert_array_equal(np.asarray(value, np.float32), np.full(shape, wanted))


def test_initial_statistics_are_float32():
    assert {value.dtype for value in jbn.init_batch_stats(3)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99, 1.0])
@pytest.mark.parametrize("traced", [False, True])
def test_update_weighs_old_by_momentum(momentum, traced):
    given = jnp.float32(momentum) if traced else momentum
    new = jbn.update_batch_stats(OLD, BATCH, momentum=given)
    close(new.mean, reference.running(OLD.mean, np.asarray(BATCH.mean), momentum))
    close(new.var, reference.running(OLD.var, np.asarray(BATCH.var), momentum))


def test_default_momentum_is_099():
    new, wanted = (jbn.update_batch_stats(OLD, BATCH, **m) for m in ({}, {"momentum": 0.99}))
    np.testing.assert_array_equal(new, wanted)


def test_the_weight_of_the_batch_is_rounded_once():
    """1 - 0.9 is 0.1 and not 0.100000024, which float32 would make it."""
    new = jbn.update_batch_stats(jbn.init_batch_stats(1), batch([2], [1e6], [1.0]), momentum=0.9)
    assert new.mean[0] == np.float32(0.1) * np.float32(1e6)


@pytest.mark.parametrize("field", ["mean", "var"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_channel_that_is_not_finite_keeps_its_old_values(field, value):
    values = getattr(BATCH, field).at[0, 1].set(value)
    new = jbn.update_batch_stats(OLD, BATCH._replace(**{field: values}), momentum=0.5)
    wanted = jbn.update_batch_stats(OLD, BATCH, momentum=0.5)
    for old, actual, clean in zip(OLD, new, wanted, strict=True):
        np.testing.assert_array_equal(actual, clean.at[1].set(old[1]))


@pytest.mark.parametrize(("count", "moves"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_channel_moves_from_two_entries_on(count, moves):
    counts = BATCH.count.at[0, 2].set(count)
    new = jbn.update_batch_stats(OLD, BATCH._replace(count=counts), momentum=0.5)
    assert bool(new.mean[2] != OLD.mean[2]) == moves
    assert bool(new.var[2] != OLD.var[2]) == moves
    assert new.mean[1] != OLD.mean[1]


def test_update_keeps_shape_and_dtype():
    stats = jbn.init_batch_stats((2, 3))
    new = jbn.update_batch_stats(stats, jbn.moments(normal(2, 5, 3), 1), momentum=0.5)
    assert [(v.shape, v.dtype) for v in new] == [((2, 3), jnp.float32)] * 2


def test_statistics_are_a_scan_carry():
    batches = normal(10, 6, 3)

    def step(stats, x):
        return jbn.update_batch_stats(stats, jbn.moments(x, 0), momentum=0.9), None

    stats, _ = jax.jit(lambda b: jax.lax.scan(step, jbn.init_batch_stats(3), b))(batches)
    mean = np.zeros(3)
    for x in np.asarray(batches, np.float64):
        mean = reference.running(mean, x.mean(0), 0.9)
    close(stats.mean, mean)


# Moments


@pytest.mark.parametrize("axes", [0, 1, -1, (0, 2), (-1, 0), (0, 1, 2), ()])
@pytest.mark.parametrize("masked", [False, True])
def test_moments_are_count_mean_and_biased_variance(axes, masked):
    x = 2 + 3 * normal(4, 5, 6)
    mask = jnp.asarray(np.random.default_rng(1).random(x.shape) < 0.7) if masked else None
    reduced = {a % 3 for a in np.atleast_1d(axes).astype(int)}
    features = tuple(a for a in range(3) if a not in reduced)
    _, mean, var = reference.batch_norm(x, mask=mask, axis=features)
    found = jax.jit(lambda x: jbn.moments(x, axes, mask=mask))(x)
    counted = np.broadcast_to(True if mask is None else mask, x.shape)
    np.testing.assert_array_equal(found.count, counted.sum(tuple(reduced), keepdims=True))
    close(found.mean, mean)
    close(found.var, var)


@pytest.mark.optimized
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 127, 128, 129, 4096])
def test_moments_are_accurate_far_from_zero_for_any_count(n):
    mean_over_std = np.array([0, 1, 1e2, 1e4, 1e5])
    x = jnp.asarray(mean_over_std + np.random.default_rng(n).normal(size=(n, 5)), jnp.float32)
    _, mean, var = reference.batch_norm(x)
    found = jax.jit(lambda x: jbn.moments(x, 0))(x)
    close(found.mean, mean, 2e-7)
    close(found.var, var)


@pytest.mark.optimized
@pytest.mark.parametrize("outlier", [0, 3, 16, 4095])
def test_one_entry_far_from_the_others_does_not_spoil_the_variance(outlier):
    x = 1e4 + normal(4096, 2)
    x = x.at[outlier].set(0)
    _, mean, var = reference.batch_norm(x)
    found = jbn.moments(x, 0)
    close(found.mean, mean, 2e-7)
    close(found.var, var, 2e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_sample_of_outliers_does_not_spoil_the_variance(axis):
    """The entries that the shift is taken from are the rare ones, a million away from the rest."""
    place = jnp.arange(4096)[:, None]
    sampled = place < 256 if axis else place % 16 == 0
    x = jnp.where(sampled, 1e6, 0) + normal(4096, 2)
    found = jbn.moments(x.T if axis else x, axis).var
    close(found.reshape(1, 2), reference.batch_norm(x).var, 2e-6)


def test_variance_is_never_negative():
    x = jnp.full((1000, 50), 0.1) * jnp.arange(50.0)[None]
    assert jnp.all(jbn.moments(x, 0).var >= 0)


def test_moments_where_nothing_counts_are_0():
    found = jbn.moments(jnp.full((4, 3), jnp.nan), 0, mask=jnp.zeros((4, 3), bool))
    for value in found:
        np.testing.assert_array_equal(value, np.zeros((1, 3)))


def test_count_is_exact_where_float32_sums_of_ones_stick():
    n = 2**24 + 2
    x, mask = jnp.zeros((n, 1), jnp.bfloat16), jnp.ones((1, 1), bool)
    found = jax.jit(lambda x, mask: jbn.moments(x, 0, mask=mask).count)(x, mask)
    np.testing.assert_array_equal(found, [[n]])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_moments_of_16_bits_are_float32(dtype):
    x = normal(4096, 2).astype(dtype)
    _, mean, var = reference.batch_norm(x)
    found = jbn.moments(x, 0)
    assert {value.dtype for value in found} == {jnp.dtype(jnp.float32)}
    close(found.mean, mean)
    close(found.var, var)


def test_moments_of_mapped_shards_are_those_of_the_whole():
    x = normal(4, 5, 3)
    mask = jnp.asarray(np.random.default_rng(1).random(x.shape) < 0.5).at[2].set(False)
    mapped = jax.vmap(lambda x, m: jbn.moments(x, 0, mask=m, axis_name="i"), axis_name="i")
    whole = jbn.moments(x.reshape(20, 3), 0, mask=mask.reshape(20, 3))
    for value, wanted in zip(mapped(x, mask), whole, strict=True):
        close(value, np.broadcast_to(np.asarray(wanted)[None], value.shape))


# Normalize


@pytest.mark.parametrize("with_scale", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_normalize_is_the_formula(with_scale, with_bias):
    x, mean, var = normal(5, 3), normal(1, 3, seed=1), jnp.exp(normal(1, 3, seed=2))
    scale, bias = normal(1, 3, seed=3), normal(1, 3, seed=4)
    y = jbn.normalize(
        x, mean, var, scale if with_scale else None, bias if with_bias else None, epsilon=0.5
    )
    x, mean, var, scale, bias = (np.asarray(v, np.float64) for v in (x, mean, var, scale, bias))
    wanted = (x - mean) / np.sqrt(var + 0.5)
    close(y, wanted * (scale if with_scale else 1) + (bias if with_bias else 0))


def test_normalize_keeps_the_dtype_and_computes_in_float32():
    x = (100 + normal(64, 3)).astype(jnp.bfloat16)
    _, mean, var = jbn.moments(x, 0)
    y = jbn.normalize(x, mean, var)
    assert y.dtype == jnp.bfloat16
    close(y, reference.batch_norm(x).y, float(jnp.finfo(jnp.bfloat16).eps))


def test_moments_at_constant_input_have_the_right_second_derivatives():
    """A clamp by jnp.maximum would halve them there."""
    hessian = jax.hessian(lambda x: jbn.moments(x, 0).var.sum())(jnp.ones(3))
    exact = 2 / 3 * (np.eye(3) - 1 / 3)
    np.testing.assert_allclose(np.asarray(hessian, np.float64), exact, atol=1e-6)


def test_statistics_of_another_size_are_an_error():
    moments = jbn.moments(jnp.ones((5, 4, 3)), 0)
    with pytest.raises(ValueError, match=r"stats: found shape \(3, 4\), wanted that of the"):
        jbn.update_batch_stats(jbn.init_batch_stats((3, 4)), moments)
    jbn.update_batch_stats(jbn.init_batch_stats((4, 3)), moments)


def test_a_channel_that_keeps_its_values_keeps_every_digit():
    with jax.enable_x64(True):
        stats = jbn.BatchStats(jnp.full(1, 1 / 3), jnp.full(1, 1 / 3))
        bad = jbn.moments(jnp.full((4, 1), jnp.nan, jnp.float32), 0)
        kept = jbn.update_batch_stats(stats, bad)
        assert kept.mean.dtype == jnp.float64
        assert (kept.mean[0], kept.var[0]) == (1 / 3, 1 / 3)


# Weights


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_an_entry_of_weight_n_is_as_good_as_n_entries(offset):
    rng = np.random.default_rng(0)
    x = jnp.asarray(offset + rng.normal(size=(20, 3)), jnp.float32)
    repeats = rng.integers(0, 4, 20)
    repeated = jnp.repeat(x, repeats, 0)
    weights = jnp.asarray(repeats, jnp.float32)[:, None]
    for weighed, wanted in zip(
        jbn.moments(x, 0, mask=weights), jbn.moments(repeated, 0), strict=True
    ):
        np.testing.assert_allclose(weighed, wanted, rtol=1e-6)
    step = functools.partial(jbn.batch_norm, use_running_average=False, momentum=0.5)
    y, stats = step(x, jbn.init_batch_stats(3), mask=weights)
    repeated_y, wanted = step(repeated, jbn.init_batch_stats(3))
    np.testing.assert_allclose(jnp.repeat(y, repeats, 0), repeated_y, atol=2e-6)
    np.testing.assert_allclose(stats.mean, wanted.mean, rtol=1e-6)
    np.testing.assert_allclose(stats.var, wanted.var, rtol=1e-6)


def test_weights_that_add_up_to_less_than_two_leave_the_state():
    x, stats = jnp.arange(8.0).reshape(4, 2), jbn.init_batch_stats(2)
    weights = jnp.array([[0.4, 0.5]] * 4)
    _, new = jbn.batch_norm(x, stats, use_running_average=False, mask=weights)
    assert new.mean[0] == 0
    assert new.mean[1] != 0
