"""Laws of every norm: each row of NORMS meets each of them."""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax.test_util import check_grads

import jbn


class Norm(NamedTuple):
    """How the laws call a norm, and the float64 NumPy that judges it."""

    apply: Callable  # (x, scale, bias, *, epsilon, mask, axis, dtype) -> y
    judge: Callable  # (x, scale, bias, *, epsilon, mask, axis) -> reference.Normalized
    judge_vjp: Callable  # (x, dy, scale, *, epsilon, mask, axis) -> (dx, dscale, dbias)


def batch_norm(x, scale=None, bias=None, *, axis=-1, **options):
    features = [x.shape[a] for a in sorted(np.atleast_1d(axis) % x.ndim)]
    stats = jbn.init_batch_stats(features)
    return jbn.batch_norm(x, stats, scale, bias, use_running_average=False, axis=axis, **options)[0]


NORMS = {
    "batch_norm": Norm(batch_norm, reference.batch_norm, reference.batch_norm_vjp),
}
every_norm = pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
with_and_without_mask = pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])

LAYOUTS = {
    "dense": ((6, 3), -1),
    "channel last": ((2, 4, 3, 5), -1),
    "channel first": ((2, 5, 4, 3), 1),
    "features first": ((3, 6), 0),
    "two feature axes": ((4, 3, 5), (0, 2)),
    "feature axes out of order": ((4, 3, 5), (-1, 1)),
    "vector": ((6,), ()),
    "size-1 dimensions": ((1, 6, 1, 1), -1),
}
layouts = pytest.mark.parametrize(("shape", "axis"), LAYOUTS.values(), ids=LAYOUTS)


def rng(*seed):
    return np.random.default_rng(zlib.crc32(repr(seed).encode()))


def normal(*shape, dtype=jnp.float32, seed=0):
    return jnp.asarray(rng(shape, seed).normal(size=shape), dtype)


def problem(shape, axis, masked, dtype=jnp.float32):
    """x, scale, bias and a mask, with some numbers in them."""
    features = [shape[a] for a in sorted(np.atleast_1d(axis).astype(int) % len(shape))]
    x = 3 * normal(*shape) + 2
    scale, bias = 1 + normal(*features, seed=1) / 2, normal(*features, seed=2)
    mask = jnp.asarray(rng(shape).random(shape) < 0.7) if masked else None
    return x.astype(dtype), scale, bias, mask


def equal(a, b):
    np.testing.assert_array_equal(np.asarray(a, np.float64), np.asarray(b, np.float64))


def close(actual, exact, tolerance=1e-6):
    """Within the tolerance relative to max(1, |exact|)."""
    actual, exact = np.asarray(actual, np.float64), np.asarray(exact, np.float64)
    assert actual.shape == exact.shape
    error = np.abs(actual - exact) / np.maximum(1, np.abs(exact))
    assert np.max(error, initial=0) <= tolerance


# Values


@every_norm
@layouts
@with_and_without_mask
def test_equals_the_reference_and_so_do_its_gradients(norm, shape, axis, masked):
    x, scale, bias, mask = problem(shape, axis, masked)
    options = {"epsilon": 1e-3, "mask": mask, "axis": axis}
    dy = normal(*shape, seed=3)

    @jax.jit
    def run(x, scale, bias, dy):
        y, vjp = jax.vjp(lambda *a: norm.apply(*a, **options), x, scale, bias)
        return y, *vjp(dy)

    y, *gradients = run(x, scale, bias, dy)
    assert y.dtype == x.dtype
    close(y, norm.judge(x, scale, bias, **options).y)
    for actual, exact in zip(gradients, norm.judge_vjp(x, dy, scale, **options), strict=True):
        close(actual, exact, 1e-5)


@every_norm
@pytest.mark.parametrize("with_scale", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_scale_and_bias_may_be_left_out(norm, with_scale, with_bias):
    x, scale, bias, _ = problem((6, 3), -1, False)
    affine = (scale if with_scale else None, bias if with_bias else None)
    close(norm.apply(x, *affine), norm.judge(x, *affine).y)


@every_norm
def test_result_has_mean_0_and_variance_1(norm):
    y = np.asarray(norm.apply(100 + 5 * normal(64, 3), epsilon=0.0), np.float64)
    close(np.mean(y, 0), np.zeros(3))
    close(np.var(y, 0), np.ones(3))


@every_norm
@pytest.mark.parametrize("factor", [1.0, 2.0, 1024.0])
@pytest.mark.parametrize("shift", [0.0, 1024.0])
def test_shift_and_positive_scale_leave_it_unmoved(norm, factor, shift):
    x = jnp.round(512 * normal(40, 3)) / 512  # shifted without rounding
    close(norm.apply(x * factor + shift, epsilon=0.0), norm.apply(x, epsilon=0.0))


@every_norm
def test_negative_scale_changes_the_sign(norm):
    x = normal(40, 3)
    close(norm.apply(-x), -norm.apply(x))


# Accuracy

MEAN_OVER_STD, STD = (
    values.ravel() for values in np.meshgrid([0, 1, 10, 1e2, 1e3, 1e4, 1e5], [0.01, 1, 10])
)


def far_from_zero(n, form):
    """A column for each mean and std; and the mask."""
    x = STD * (MEAN_OVER_STD + rng(n, form).normal(size=(n, STD.size)))
    if form == "first sample 0":
        x[0] = 0
    if not form.startswith("masked"):
        return jnp.asarray(x, jnp.float32), None
    mask = rng(n).random((n, 1) if form == "masked rows" else x.shape) < 0.7
    return jnp.asarray(np.where(mask, x, np.nan), jnp.float32), jnp.asarray(mask)


@every_norm
@pytest.mark.parametrize("form", ["plain", "first sample 0", "masked", "masked rows"])
@pytest.mark.parametrize("n", [33, 4096])
@pytest.mark.parametrize("transform", [jax.jit, lambda f: f], ids=["compiled", "eager"])
def test_float32_is_accurate_far_from_zero(norm, form, n, transform):
    x, mask = far_from_zero(n, form)
    scale, bias = 1 + normal(STD.size, seed=1) / 2, normal(STD.size, seed=2)
    dy = normal(*x.shape, seed=3)

    # In one program: there the compiler may use one number twice and round it differently.
    @transform
    def forward_and_backward(x, scale, bias, mask, dy):
        y, vjp = jax.vjp(lambda *a: norm.apply(*a, mask=mask), x, scale, bias)
        return y, *vjp(dy)

    y, dx, dscale, dbias = forward_and_backward(x, scale, bias, mask, dy)
    close(y, norm.judge(x, scale, bias, mask=mask).y, 1e-6)
    exact_dx, exact_dscale, exact_dbias = norm.judge_vjp(x, dy, scale, mask=mask)
    close(dx, exact_dx, 1e-5)
    # Sums of n random numbers: of order 1 after this division, as the bound supposes.
    close(dscale / n**0.5, exact_dscale / n**0.5, 1e-5)
    close(dbias / n**0.5, exact_dbias / n**0.5, 1e-5)


@every_norm
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@with_and_without_mask
def test_16_bits_are_within_one_unit_in_the_last_place(norm, dtype, masked):
    bits = jnp.finfo(dtype).nmant
    mean_over_std, std = np.meshgrid([0, 1, 8, 2 ** (bits - 2), 2**bits], [0.01, 1, 10])
    x = std * (mean_over_std + rng(bits).normal(size=(257, *std.shape)))
    x, dy = jnp.asarray(x, dtype), normal(*x.shape, dtype=dtype, seed=3)
    scale, bias = 1 + normal(*std.shape, seed=1) / 2, normal(*std.shape, seed=2)
    options = {"mask": problem(x.shape, (1, 2), masked)[3], "axis": (1, 2)}

    def ulps(actual, exact):
        assert actual.dtype == dtype
        unit = 2.0 ** (np.floor(np.log2(np.maximum(1, np.abs(exact)))) - bits)
        return np.max(np.abs(np.asarray(actual, np.float64) - exact) / unit)

    @jax.jit
    def run(x, dy):
        y, vjp = jax.vjp(lambda x: norm.apply(x, scale, bias, **options), x)
        return y, *vjp(dy)

    y, dx = run(x, dy)
    assert ulps(y, norm.judge(x, scale, bias, **options).y) <= 1
    assert ulps(dx, norm.judge_vjp(x, dy, scale, **options)[0]) <= 1


@every_norm
@pytest.mark.parametrize("x_dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("y_dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_result_has_the_dtype_asked_for_and_its_accuracy(norm, x_dtype, y_dtype):
    x = normal(40, 3, dtype=x_dtype) + jnp.asarray(100, x_dtype)
    y = norm.apply(x, dtype=y_dtype)
    assert y.dtype == y_dtype
    eps = max(1e-6, float(jnp.finfo(y_dtype).eps) * (y_dtype != jnp.float32))
    close(y, norm.judge(x).y, eps)


@every_norm
def test_float64_is_computed_in_float64(norm):
    with jax.enable_x64(True):
        x = 1e6 + normal(40, 3, dtype=jnp.float64)
        close(norm.apply(x, epsilon=1e-5), norm.judge(x).y, 1e-9)
        y = norm.apply(x.astype(jnp.float32), dtype=jnp.float64)
        close(y, norm.judge(x.astype(jnp.float32)).y, 1e-9)


# Edges


@every_norm
@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30, -300.1, 12345.678])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_constant_input_gives_the_bias_and_finite_gradients(norm, value, dtype):
    x = jnp.full((33, 2), value, dtype)
    bias = jnp.array([0.5, -0.25])

    @jax.jit
    def run(x, bias):
        y, vjp = jax.vjp(lambda *a: norm.apply(*a), x, jnp.ones(2), bias)
        return y, *vjp(normal(33, 2, dtype=dtype))

    y, *gradients = run(x, bias)
    tolerance = 1e-6 if dtype == jnp.float32 else float(jnp.finfo(dtype).eps)
    close(y, jnp.broadcast_to(bias, x.shape), tolerance)
    for gradient in gradients:
        assert jnp.all(jnp.isfinite(gradient))


@every_norm
@pytest.mark.parametrize("value", [0.0, 12345.678])
def test_constant_input_has_finite_second_derivatives(norm, value):
    def loss(x):
        return jnp.sum(norm.apply(x) * normal(4, 2, seed=1))

    assert jnp.all(jnp.isfinite(jax.jit(jax.hessian(loss))(jnp.full((4, 2), value))))


# Masks

UNREADABLE = [np.nan, np.inf, -np.inf]
FILLS = [*UNREADABLE, 0.0, -7.0, 1e4, 1e30]
largest = float(np.finfo(np.float32).max)


def hidden(fill, dtype=jnp.float32):
    """x with the fill wherever the mask is False, and the mask."""
    x, _, _, mask = problem((12, 3), -1, True)
    return jnp.where(mask, x, fill).astype(dtype), mask


@every_norm
@pytest.mark.parametrize("fill", FILLS)
def test_masked_entries_are_normalized_with_the_others_or_are_0(norm, fill):
    x, mask = hidden(fill)
    scale, bias = jnp.array([1.0, 2.0, -1.0]), jnp.array([0.0, 1.0, 2.0])
    y = norm.apply(x, scale, bias, mask=mask)
    close(y, norm.judge(x, scale, bias, mask=mask).y)
    if fill in UNREADABLE or np.isnan(fill):
        equal(y[~mask], np.zeros(int(jnp.sum(~mask))))


@every_norm
@pytest.mark.parametrize("fill", [*FILLS[:3], 1e30, largest])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_masked_entries_change_nothing_for_the_others(norm, fill, dtype):
    weight = normal(12, 3, seed=4)

    @jax.jit
    def run(x, mask):
        def loss(x, scale, bias):
            y = norm.apply(x, scale, bias, mask=mask, dtype=jnp.float32)
            return jnp.sum(jnp.where(mask, jnp.sin(y) * weight, 0)), y

        def gradient_norm(*args):
            gradients, y = jax.grad(loss, (0, 1, 2), has_aux=True)(*args)
            squares = [jnp.sum(jnp.square(g.astype(jnp.float32))) for g in gradients]
            return sum(squares), (gradients, jnp.where(mask, y, 0))

        args = (x, jnp.array([1.0, 2.0, -1.0]), jnp.array([0.0, 1.0, 2.0]))
        return jax.grad(gradient_norm, (0, 1, 2), has_aux=True)(*args)

    filled, plain = run(*hidden(fill, dtype)), run(*hidden(0.0, dtype))
    for actual, wanted in zip(jax.tree.leaves(filled), jax.tree.leaves(plain), strict=True):
        close(actual, wanted, 1e-6)


@every_norm
@pytest.mark.parametrize("fill", UNREADABLE)
def test_unreadable_entries_poison_no_gradient_where_the_loss_looks_at_them(norm, fill):
    x, mask = hidden(fill)
    scale, bias = jnp.array([1.0, 2.0, -1.0]), jnp.array([0.0, 1.0, 2.0])
    dy = normal(12, 3, seed=3)
    _, vjp = jax.vjp(jax.jit(lambda *a: norm.apply(*a, mask=mask)), x, scale, bias)
    for actual, exact in zip(vjp(dy), norm.judge_vjp(x, dy, scale, mask=mask), strict=True):
        close(actual, exact, 1e-5)


@every_norm
@pytest.mark.parametrize("mask_shape", [(12, 1), (1, 3), (3,), (1, 1), (1,), ()])
def test_mask_broadcasts(norm, mask_shape):
    x = normal(12, 3)
    mask = jnp.ones(mask_shape, bool)
    mask = mask.at[0].set(False) if mask_shape[:1] == (12,) else mask
    close(norm.apply(x, mask=mask), norm.judge(x, mask=mask).y)


@every_norm
def test_mask_of_ones_is_no_mask(norm):
    x = normal(12, 3)
    close(norm.apply(x, mask=jnp.ones((12, 3), bool)), norm.apply(x))


@every_norm
def test_nothing_counted_gives_finite_results_and_gradients(norm):
    @jax.jit
    @jax.value_and_grad
    def loss_and_gradient(x):
        return jnp.sum(norm.apply(x, mask=jnp.zeros((12, 3), bool)) ** 2)

    loss, gradient = loss_and_gradient(normal(12, 3))
    assert jnp.isfinite(loss)
    assert jnp.all(jnp.isfinite(gradient))


# Transformations


@every_norm
@with_and_without_mask
def test_jit_equals_eager(norm, masked):
    x, scale, bias, mask = problem((2, 4, 3), 1, masked)

    def apply(*a):
        return norm.apply(*a, mask=mask, axis=1)

    close(jax.jit(apply)(x, scale, bias), apply(x, scale, bias))


@every_norm
@with_and_without_mask
def test_vmap_equals_a_loop(norm, masked):
    x, _, bias, mask = problem((4, 6, 3), -1, masked)
    scales = 1 + normal(4, 3, seed=1)
    masks = jnp.ones(x.shape, bool) if mask is None else mask

    def apply(x, scale, mask):
        return norm.apply(x, scale, bias, mask=mask)

    looped = jnp.stack([apply(*args) for args in zip(x, scales, masks, strict=True)])
    close(jax.jit(jax.vmap(apply))(x, scales, masks), looped)


@every_norm
@with_and_without_mask
@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_gradients_agree_with_finite_differences(norm, masked, mode):
    with jax.enable_x64(True):
        x, scale, bias, mask = (
            v if v is None or v.dtype == bool else v.astype(jnp.float64)
            for v in problem((5, 2), -1, masked)
        )
        check_grads(
            jax.jit(lambda *a: norm.apply(*map(jnp.asarray, a), mask=mask)),
            (x, scale, bias),
            order=2,
            modes=[mode],
            atol=1e-6,
            rtol=1e-6,
        )


# State: norms that keep running statistics


def train(x, stats, momentum=0.9, **options):
    return jbn.batch_norm(x, stats, use_running_average=False, momentum=momentum, **options)[1]


def some_stats(dtype=jnp.float32):
    return jbn.BatchStats(jnp.array([1.0, -2.0, 3.0], dtype), jnp.array([0.5, 2.0, 3.0], dtype))


@with_and_without_mask
def test_training_moves_the_state_towards_the_batch(masked):
    x, _, _, mask = problem((6, 3), -1, masked)
    stats, (_, mean, var) = some_stats(), reference.batch_norm(x, mask=mask)
    new = train(x, stats, mask=mask)
    close(new.mean, reference.running(stats.mean, mean, 0.9))
    close(new.var, reference.running(stats.var, var, 0.9))


def test_momentum_0_takes_the_batch_and_momentum_1_the_old_state():
    x, stats = problem((6, 3), -1, False)[0], some_stats()
    _, mean, var = reference.batch_norm(x)
    close(train(x, stats, 0.0), (mean.squeeze(0), var.squeeze(0)))
    equal(train(x, stats, 1.0), stats)


def test_momentum_and_epsilon_may_be_traced():
    x, scale, bias, _ = problem((6, 3), -1, False)

    @jax.jit
    def traced(momentum, epsilon):
        return jbn.batch_norm(
            x,
            some_stats(),
            scale,
            bias,
            use_running_average=False,
            momentum=momentum,
            epsilon=epsilon,
        )

    for momentum, epsilon in [(0.9, 1e-5), (0.0, 0.1), (1.0, 2.0)]:
        y, stats = traced(jnp.float32(momentum), jnp.float32(epsilon))
        close(y, reference.batch_norm(x, scale, bias, epsilon=epsilon).y)
        close(stats, train(x, some_stats(), momentum))


@pytest.mark.parametrize("use_running_average", [False, True])
@pytest.mark.parametrize("x_dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("stats_dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_state_keeps_shape_and_dtype(use_running_average, x_dtype, stats_dtype):
    x, stats = normal(6, 3, dtype=x_dtype), some_stats(stats_dtype)
    _, new = jbn.batch_norm(x, stats, use_running_average=use_running_average)
    assert isinstance(new, jbn.BatchStats)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, stats)
    assert {value.dtype for value in new} == {jnp.dtype(stats_dtype)}


def test_state_keeps_the_shape_of_several_feature_axes():
    stats = jbn.init_batch_stats((4, 5))
    new = train(normal(4, 3, 5), stats, axis=(0, 2))
    assert (new.mean.shape, new.var.shape) == ((4, 5), (4, 5))


def test_statistics_of_16_bit_data_are_those_of_float32():
    x, stats = normal(4096, 3, dtype=jnp.bfloat16), some_stats()
    _, mean, var = reference.batch_norm(x)
    new = train(x, stats, 0.5)
    close(new.mean, reference.running(stats.mean, mean, 0.5))
    close(new.var, reference.running(stats.var, var, 0.5))


@pytest.mark.parametrize("bad", UNREADABLE)
def test_a_channel_with_a_bad_batch_keeps_its_state(bad):
    x, stats = normal(6, 3), some_stats()
    clean, new = train(x, stats), train(x.at[2, 1].set(bad), stats)
    equal(new.mean[1], stats.mean[1])
    equal(new.var[1], stats.var[1])
    equal(new.mean[::2], clean.mean[::2])
    equal(new.var[::2], clean.var[::2])


def test_a_channel_with_fewer_than_two_counted_entries_keeps_its_state():
    mask = jnp.ones((6, 3), bool).at[1:, 0].set(False).at[:, 1].set(False)
    stats, new = some_stats(), train(normal(6, 3), some_stats(), mask=mask)
    equal(new.mean[:2], stats.mean[:2])
    equal(new.var[:2], stats.var[:2])
    assert new.mean[2] != stats.mean[2]


@layouts
@with_and_without_mask
def test_evaluation_normalizes_with_the_state_and_leaves_it(shape, axis, masked):
    x, scale, bias, mask = problem(shape, axis, masked)
    stats = jbn.BatchStats(bias, jnp.exp(scale))
    y, new = jbn.batch_norm(
        x, stats, scale, bias, use_running_average=True, axis=axis, mask=mask, epsilon=0.5
    )
    beside = [1 if a in reference.reduction_axes(x.ndim, axis) else n for a, n in enumerate(shape)]
    mean, var, scale, bias = (np.reshape(v, beside) for v in (*stats, scale, bias))
    close(y, (np.asarray(x, np.float64) - mean) / np.sqrt(var + 0.5) * scale + bias)
    assert new is stats


@pytest.mark.parametrize("fill", UNREADABLE)
def test_unreadable_masked_entries_are_0_in_evaluation_too(fill):
    x, mask = hidden(fill)

    def evaluate(x, scale):
        return jbn.batch_norm(x, some_stats(), scale, use_running_average=True, mask=mask)[0]

    y, vjp = jax.vjp(evaluate, x, jnp.ones(3))
    equal(y[~mask], np.zeros(int(jnp.sum(~mask))))
    close(jnp.where(mask, y, 0), jnp.where(mask, evaluate(hidden(0.0)[0], jnp.ones(3)), 0))
    assert all(jnp.all(jnp.isfinite(g)) for g in vjp(jnp.ones_like(x)))
