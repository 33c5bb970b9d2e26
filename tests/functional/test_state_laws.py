"""Laws of the norms that keep running statistics: each row of STATEFUL_NORMS meets each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from norms import STATEFUL_NORMS
from problems import KINDS_OF_MASK, LAYOUTS, UNUSABLE, close, equal, normal, problem

import jbn

every_norm = pytest.mark.parametrize("norm", STATEFUL_NORMS.values(), ids=STATEFUL_NORMS)
with_and_without_mask = pytest.mark.parametrize("masked", KINDS_OF_MASK)


def train(norm, x, stats, momentum=0.9, **options):
    return norm(x, stats, use_running_average=False, momentum=momentum, **options)[1]


def some_stats(dtype=jnp.float32):
    return jbn.BatchStats(jnp.array([1.0, -2.0, 3.0], dtype), jnp.array([0.5, 2.0, 3.0], dtype))


# Training


@every_norm
@with_and_without_mask
def test_training_moves_the_state_towards_the_batch(norm, masked):
    x, _, _, mask = problem((12, 3), -1, masked)
    stats, (_, mean, var) = some_stats(), reference.batch_norm(x, mask=mask)
    new = train(norm, x, stats, mask=mask)
    close(new.mean, reference.running(stats.mean, mean, 0.9))
    close(new.var, reference.running(stats.var, var, 0.9))


@every_norm
def test_momentum_0_takes_the_batch_and_momentum_1_the_old_state(norm):
    x, stats = problem((6, 3), -1, None)[0], some_stats()
    _, mean, var = reference.batch_norm(x)
    close(train(norm, x, stats, 0.0), (mean.squeeze(0), var.squeeze(0)))
    equal(train(norm, x, stats, 1.0), stats)


@every_norm
def test_momentum_and_epsilon_may_be_traced(norm):
    x, scale, bias, _ = problem((5, 3), -1, None)

    @jax.jit
    def traced(momentum, epsilon):
        options = {"momentum": momentum, "epsilon": epsilon}
        return norm(x, some_stats(), scale, bias, use_running_average=False, **options)

    for momentum, epsilon in [(0.9, 1e-5), (0.0, 0.1), (1.0, 2.0)]:
        y, stats = traced(jnp.float32(momentum), jnp.float32(epsilon))
        close(y, reference.batch_norm(x, scale, bias, epsilon=epsilon).y)
        close(stats, train(norm, x, some_stats(), momentum))


@every_norm
@pytest.mark.parametrize(
    ("use_running_average", "stats_dtype"),
    [(False, jnp.float32), (True, jnp.float32), (True, jnp.bfloat16), (True, jnp.float16)],
)
def test_state_keeps_shape_and_dtype(norm, use_running_average, stats_dtype):
    stats = some_stats(stats_dtype)
    for x_dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        x = normal(6, 3, dtype=x_dtype)
        _, new = norm(x, stats, use_running_average=use_running_average)
        assert isinstance(new, jbn.BatchStats)
        assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, stats)
        assert {value.dtype for value in new} == {jnp.dtype(stats_dtype)}


@every_norm
@pytest.mark.parametrize("stats_dtype", [jnp.bfloat16, jnp.float16])
def test_16_bit_state_is_refused_in_training(norm, stats_dtype):
    """At momentum 0.99 it would stop moving within a few percent of the batches' statistics."""
    with pytest.raises(TypeError, match=r"stats\.mean: found dtype .*float16, wanted float32"):
        train(norm, normal(6, 3), some_stats(stats_dtype))
    half = some_stats()._replace(var=some_stats(stats_dtype).var)
    with pytest.raises(TypeError, match=r"stats\.var: found dtype .*float16, wanted float32"):
        train(norm, normal(6, 3), half)


@every_norm
def test_state_keeps_the_shape_of_several_feature_axes(norm):
    stats = jbn.init_batch_stats((4, 5))
    new = train(norm, normal(4, 3, 5), stats, axis=(0, 2))
    assert (new.mean.shape, new.var.shape) == ((4, 5), (4, 5))


@every_norm
def test_statistics_of_16_bit_data_are_those_of_float32(norm):
    x, stats = normal(4096, 3, dtype=jnp.bfloat16), some_stats()
    _, mean, var = reference.batch_norm(x)
    new = train(norm, x, stats, 0.5)
    close(new.mean, reference.running(stats.mean, mean, 0.5))
    close(new.var, reference.running(stats.var, var, 0.5))


@every_norm
@with_and_without_mask
def test_vmap_of_the_state_equals_a_loop(norm, masked):
    x, _, _, mask = problem((4, 6, 3), -1, masked)
    masks = jnp.ones(x.shape, bool) if mask is None else mask
    stats = jbn.BatchStats(normal(4, 3), jnp.exp(normal(4, 3, seed=1)))

    def step(x, stats, mask):
        return train(norm, x, stats, mask=mask)

    looped = [step(x[i], jax.tree.map(lambda v, i=i: v[i], stats), masks[i]) for i in range(4)]
    for actual, *wanted in zip(jax.jit(jax.vmap(step))(x, stats, masks), *looped, strict=True):
        close(actual, jnp.stack(wanted))


# The guard


@every_norm
@pytest.mark.parametrize("bad", UNUSABLE)
def test_a_channel_with_a_bad_batch_keeps_its_state(norm, bad):
    x, stats = normal(6, 3), some_stats()
    clean, new = train(norm, x, stats), train(norm, x.at[::2, 1].set(bad), stats)
    equal(new.mean[1], stats.mean[1])
    equal(new.var[1], stats.var[1])
    equal(new.mean[::2], clean.mean[::2])
    equal(new.var[::2], clean.var[::2])


@every_norm
@pytest.mark.parametrize("dtype", [bool, jnp.float32])
def test_a_channel_with_fewer_than_two_counted_entries_keeps_its_state(norm, dtype):
    mask = jnp.ones((6, 3), bool).at[1:, 0].set(False).at[:, 1].set(False).astype(dtype)
    stats, new = some_stats(), train(norm, normal(6, 3), some_stats(), mask=mask)
    equal(new.mean[:2], stats.mean[:2])
    equal(new.var[:2], stats.var[:2])
    assert new.mean[2] != stats.mean[2]


@every_norm
def test_a_weight_below_0_leaves_the_state(norm):
    stats = some_stats()
    weights = jnp.ones((6, 3)).at[::2, 1].set(-1)
    new = train(norm, normal(6, 3), stats, mask=weights)
    equal(new.mean[1], stats.mean[1])
    assert new.mean[0] != stats.mean[0]


# Evaluation


@every_norm
@pytest.mark.parametrize(("shape", "axis"), LAYOUTS.values(), ids=LAYOUTS)
def test_evaluation_normalizes_with_the_state_and_leaves_it(norm, shape, axis):
    x, scale, bias, mask = problem(shape, axis, "mask")
    stats = jbn.BatchStats(bias, jnp.exp(scale))
    beside = [1 if a in reference.reduction_axes(x.ndim, axis) else n for a, n in enumerate(shape)]
    mean, var, exact_scale, exact_bias = (
        np.asarray(v, np.float64).reshape(beside) for v in (*stats, scale, bias)
    )
    exact = (np.asarray(x, np.float64) - mean) / np.sqrt(var + 0.5) * exact_scale + exact_bias
    for some in (None, mask, mask.astype(jnp.float32)):
        options = {"axis": axis, "mask": some, "epsilon": 0.5}
        y, new = norm(x, stats, scale, bias, use_running_average=True, **options)
        close(y, exact)
        equal(new.mean, stats.mean)
        equal(new.var, stats.var)


@every_norm
def test_unusable_masked_entries_are_0_in_evaluation_too(norm):
    x, _, _, mask = problem((12, 3), -1, "mask")

    @jax.jit
    def evaluate(x, scale):
        y, vjp = jax.vjp(
            lambda *a: norm(a[0], some_stats(), a[1], use_running_average=True, mask=mask)[0],
            x,
            scale,
        )
        return y, vjp(jnp.ones_like(x))

    plain, _ = evaluate(x, jnp.ones(3))
    for fill in UNUSABLE:
        y, gradients = evaluate(jnp.where(mask, x, fill), jnp.ones(3))
        close(y, jnp.where(mask, plain, 0))
        assert all(jnp.all(jnp.isfinite(gradient)) for gradient in gradients)
