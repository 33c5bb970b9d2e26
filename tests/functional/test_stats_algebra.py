"""Running statistics: their warm-up, their merging, their blends; against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbn


def float64(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
def test_warmed_up_statistics_are_the_plain_average_first_and_never_remember_the_start(momentum):
    rng = np.random.default_rng(0)
    means = rng.normal(5, 1, 40)
    stats = jbn.BatchStats(jnp.full(1, 1e6), jnp.full(1, 1e6))
    num_alike = int(np.floor(momentum / (1 - momentum) + 1e-9)) + 1
    for step, mean in enumerate(means):
        batch = jbn.Moments(*(jnp.full(1, v, jnp.float32) for v in (9, mean, 2)))
        warm = jbn.ema_momentum(jnp.asarray(step), jnp.asarray(momentum, jnp.float32))
        stats = jbn.update_batch_stats(stats, batch, momentum=warm)
        if step < num_alike:
            np.testing.assert_allclose(stats.mean, means[: step + 1].mean(), rtol=1e-5)
    np.testing.assert_allclose(stats.var, 2, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.75, 0.9, 0.99, 0.999])
def test_effective_number_of_batches_is_one_over_the_sum_of_squared_weights(momentum):
    weights = np.zeros(0)
    for step in range(300):
        m = min(np.float32(momentum), step / (step + 1))
        weights = np.append(m * weights, 1 - m)
        found = float(jbn.effective_num_batches(step + 1, momentum))
        np.testing.assert_allclose(found, 1 / (weights**2).sum(), rtol=2e-3)
    assert jbn.effective_num_batches(0, momentum) == 0


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_merged_statistics_are_those_of_all_data(offset):
    rng = np.random.default_rng(1)
    parts = [offset + rng.normal(i, 1 + i, (n, 3)) for i, n in enumerate((7, 1, 40))]
    parts = [part.astype(np.float32).astype(np.float64) for part in parts]
    stacked = jbn.BatchStats(
        jnp.asarray([part.mean(0) for part in parts] + [[jnp.nan] * 3], jnp.float32),
        jnp.asarray([part.var(0) for part in parts] + [[jnp.inf] * 3], jnp.float32),
    )
    counts = jnp.asarray([7.0, 1.0, 40.0, 0.0])
    whole = np.concatenate(parts)
    for counts_given in (counts, jnp.tile(counts[:, None], (1, 3))):
        merged = float64(jax.jit(jbn.merge_batch_stats)(stacked, counts_given))
        np.testing.assert_allclose(merged.mean, whole.mean(0), rtol=2e-7, atol=1e-6)
        # The parts' means come in as float32: their rounding is all that the variance may feel.
        np.testing.assert_allclose(merged.var, whole.var(0), rtol=1e-5 + offset * 1e-7)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [bool, jnp.float32], ids=["mask", "weights"])
def test_moments_of_uneven_batches_merge_to_those_of_all_data(offset, dtype):
    """As a scan over batches returns them: the last one is short, another counts nothing."""
    rng = np.random.default_rng(2)
    x = jnp.asarray(offset + rng.normal(2, 3, (5, 8, 3)), jnp.float32)
    rows = np.arange(8)[:, None] < np.array([8, 8, 0, 8, 3])[:, None, None]
    weights = np.broadcast_to(rows, x.shape) * rng.choice([0, 1, 2.5], x.shape)
    mask = jnp.asarray(weights, dtype)

    def one_batch(carry, batch):
        x, mask = batch
        return carry, jbn.moments(x, 0, mask=mask)

    _, parts = jax.lax.scan(one_batch, None, (x, mask))
    count, mean, var = jax.jit(jbn.merge_moments)(parts)
    exact, weights = float64(x).reshape(40, 3), np.asarray(mask, np.float64).reshape(40, 3)
    total = weights.sum(0)
    exact_mean = (weights * exact).sum(0) / total
    np.testing.assert_allclose(count, total[None])
    np.testing.assert_allclose(mean, exact_mean[None], rtol=2e-7, atol=1e-6)
    exact_var = (weights * (exact - exact_mean) ** 2).sum(0) / total
    # The parts' means come in as float32: their rounding is all that the variance may feel.
    np.testing.assert_allclose(var, exact_var[None], rtol=1e-5 + offset * 1e-7)


def test_micro_batches_of_a_layer_merge_to_the_moments_of_the_batch():
    x = jnp.asarray(np.random.default_rng(3).normal(5, 2, (4, 6, 3)), jnp.float32)
    stats = jbn.init_batch_stats(3)
    merged = jbn.merge_moments(jax.vmap(lambda part: jbn.moments(part, 0))(x))
    once = jbn.update_batch_stats(stats, merged, momentum=0.9)
    whole = x.reshape(24, 3)
    _, wanted = jbn.batch_norm(whole, stats, use_running_average=False, momentum=0.9)
    np.testing.assert_allclose(once.mean, wanted.mean, rtol=1e-6)
    np.testing.assert_allclose(once.var, wanted.var, rtol=1e-6)


def test_merge_moments_names_parts_that_are_not_stacked():
    count, mean, var = jbn.moments(jnp.ones((4, 3)), 0)
    for parts in (
        jbn.Moments(count[0], mean, var),
        jbn.Moments(*(jnp.float32(v) for v in (1, 2, 3))),
    ):
        with pytest.raises(ValueError, match="parts: found shapes"):
            jbn.merge_moments(parts)


def test_a_part_whose_weights_are_bad_shows_in_the_merged_moments():
    parts = jbn.Moments(jnp.array([3.0, jnp.nan]), jnp.ones(2), jnp.ones(2))
    assert all(jnp.isnan(value) for value in jbn.merge_moments(parts))


def test_merging_nothing_is_finite_and_merging_one_part_is_that_part():
    part = jbn.BatchStats(jnp.array([[3.0, 4.0]]), jnp.array([[1.0, 2.0]]))
    nothing = jbn.merge_batch_stats(part, jnp.zeros(1))
    assert float64(nothing).mean.tolist() == float64(nothing).var.tolist() == [0, 0]
    one = jbn.merge_batch_stats(part, jnp.full(1, 0.5))
    np.testing.assert_array_equal(one.mean, part.mean[0])
    np.testing.assert_array_equal(one.var, part.var[0])


def test_micro_batches_move_the_statistics_once_as_the_whole_batch_does():
    x = jnp.asarray(np.random.default_rng(2).normal(3, 2, (48, 4)), jnp.float32)
    running = jbn.BatchStats(jnp.arange(4.0), 1 + jnp.arange(4.0))
    _, wanted = jbn.batch_norm(x, running, use_running_average=False, momentum=0.9)

    def micro_batch(x):
        return jbn.batch_norm(x, running, use_running_average=False, momentum=0.0)[1]

    parts = jax.vmap(micro_batch)(x.reshape(3, 16, 4))
    merged = jbn.merge_batch_stats(parts, jnp.full(3, 16.0))
    moved = jbn.interpolate_batch_stats(running, merged, 1 - 0.9)
    for actual, exact in zip(moved, wanted, strict=True):
        np.testing.assert_allclose(actual, exact, rtol=1e-6)


def test_a_blend_is_between_and_keeps_dtypes():
    a = jbn.BatchStats(jnp.zeros(2, jnp.bfloat16), jnp.ones(2, jnp.bfloat16))
    b = jbn.BatchStats(jnp.full(2, 4.0), jnp.full(2, 3.0))
    for weight, mean, var in [(0.0, 0, 1), (0.25, 1, 1.5), (1.0, 4, 3)]:
        blend = jax.jit(jbn.interpolate_batch_stats)(a, b, jnp.float32(weight))
        assert blend.mean.dtype == blend.var.dtype == jnp.bfloat16
        assert float64(blend).mean.tolist() == [mean] * 2
        assert float64(blend).var.tolist() == [var] * 2


def test_skipped_updates_can_be_counted_in_a_loop():
    x = jnp.asarray(np.random.default_rng(3).normal(size=(5, 8, 2)), jnp.float32)
    x = x.at[1, 0, 0].set(jnp.nan).at[3].set(jnp.inf)

    def step(skips, x):
        return skips + jnp.sum(~jbn.is_valid_batch(jbn.moments(x, 0)), dtype=jnp.int32), None

    skips, _ = jax.lax.scan(step, jnp.int32(0), x)
    assert skips == 3


ONE = jbn.init_batch_stats(2)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: jbn.ema_momentum(0, 1.5), "momentum: found 1.5"),
        (lambda: jbn.effective_num_batches(1, -0.5), "momentum: found -0.5"),
        (lambda: jbn.interpolate_batch_stats(ONE, ONE, 1.5), "weight: found"),
        (
            lambda: jbn.merge_batch_stats(jbn.init_batch_stats((3, 2)), jnp.ones(2)),
            r"counts: found shape \(2,\), wanted \(3,\) or \(3, 2\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, line):
    with pytest.raises(ValueError, match=line):
        call()
