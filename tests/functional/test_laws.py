"""Laws of every norm: each row of NORMS meets each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from norms import NORMS
from problems import (
    LAYOUTS,
    UNUSABLE,
    close,
    equal,
    normal,
    problem,
    rng,
    some_mask,
    some_scale_and_bias,
)

CENTERING = {name: norm for name, norm in NORMS.items() if norm.centers}
every_norm = pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
every_centering_norm = pytest.mark.parametrize("norm", CENTERING.values(), ids=CENTERING)


# Values


@every_norm
@pytest.mark.parametrize(
    ("shape", "axis", "masked"),
    [
        *((*layout, "weights") for layout in LAYOUTS.values()),
        pytest.param(*LAYOUTS["channel last"], None, marks=pytest.mark.quick),
        (*LAYOUTS["channel last"], "mask"),
    ],
    ids=[*LAYOUTS, "without mask", "with a mask of booleans"],
)
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


@pytest.mark.quick
@every_norm
@pytest.mark.parametrize("with_scale", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_scale_and_bias_may_be_left_out(norm, with_scale, with_bias):
    x, scale, bias, _ = problem((6, 3), -1, None)
    affine = (scale if with_scale else None, bias if with_bias else None)
    close(norm.apply(x, *affine), norm.judge(x, *affine).y)


@pytest.mark.quick
@every_centering_norm
def test_result_has_mean_0_and_variance_1(norm):
    y = np.asarray(norm.apply(100 + 5 * normal(64, 3), epsilon=0.0), np.float64)
    close(np.mean(y, 0), np.zeros(3))
    close(np.var(y, 0), np.ones(3))


@pytest.mark.quick
@every_centering_norm
@pytest.mark.parametrize("factor", [1.0, 2.0, 1024.0])
@pytest.mark.parametrize("shift", [0.0, 1024.0])
def test_shift_and_positive_scale_leave_it_unmoved(norm, factor, shift):
    x = jnp.round(512 * normal(40, 3)) / 512  # shifted without rounding
    close(norm.apply(x * factor + shift, epsilon=0.0), norm.apply(x, epsilon=0.0))


@pytest.mark.quick
@every_norm
@pytest.mark.parametrize("factor", [2.0, 1024.0])
def test_positive_scale_leaves_it_unmoved(norm, factor):
    x = normal(40, 3)
    close(norm.apply(x * factor, epsilon=0.0), norm.apply(x, epsilon=0.0))


@pytest.mark.quick
@every_norm
def test_negative_scale_changes_the_sign(norm):
    x = normal(40, 3)
    close(norm.apply(-x), -norm.apply(x))


# Accuracy

MEAN_OVER_STD, STD, FIRST_IS_0 = (
    values.ravel()
    for values in np.meshgrid([0, 1, 10, 1e2, 1e3, 1e4, 1e5], [0.01, 1, 10], [False, True])
)


def far_from_zero(n, form):
    """Two columns for each mean and std, one of which begins with 0; and the mask."""
    x = STD * (MEAN_OVER_STD + rng(n, form).normal(size=(n, STD.size)))
    x[0, FIRST_IS_0] = 0
    mask = some_mask(form, x.shape)
    if mask is None:
        return jnp.asarray(x, jnp.float32), None
    return jnp.asarray(np.where(mask, x, np.nan), jnp.float32), mask


@pytest.mark.optimized
@every_norm
# 4099 is a prime number: a CPU finds no blocks, and does what an accelerator does.
@pytest.mark.parametrize(
    ("form", "n"), [(None, 4096), (None, 4099), ("mask", 33), ("weights", 4096)]
)
def test_float32_is_accurate_far_from_zero(norm, form, n):
    x, mask = far_from_zero(n, form)
    scale, bias = some_scale_and_bias(STD.size)
    dy = normal(*x.shape, seed=3)

    # In one program: there the compiler may use one number twice and round it differently.
    @jax.jit
    def forward_and_backward(x, scale, bias, mask, dy):
        y, vjp = jax.vjp(lambda *a: norm.eager(*a, mask=mask), x, scale, bias)
        return y, *vjp(dy)

    y, dx, dscale, dbias = forward_and_backward(x, scale, bias, mask, dy)
    exact_y, _, var = norm.judge(x, scale, bias, mask=mask)
    close(y, exact_y, 1e-6)
    exact_dx, exact_dscale, exact_dbias = norm.judge_vjp(x, dy, scale, mask=mask)
    # Relative to the numbers that it is the difference of.
    largest = np.abs(scale) * np.max(np.abs(dy), 0) / np.sqrt(var + 1e-5)
    x_hat = norm.judge(x, mask=mask)[0]
    error = np.abs(dx - exact_dx) / np.maximum(largest, np.abs(exact_dx))
    assert (error <= 1e-6 + norm.dx_bound_per_x_hat * np.abs(x_hat)).all()
    # Sums of n random numbers: of order 1 after this division, as the bound supposes.
    close(dscale / n**0.5, exact_dscale / n**0.5, 1e-5)
    close(dbias / n**0.5, exact_dbias / n**0.5, 1e-5)


@pytest.mark.optimized
@every_norm
@pytest.mark.parametrize(("dtype", "masked"), [(jnp.bfloat16, None), (jnp.float16, "weights")])
def test_16_bits_are_within_one_unit_in_the_last_place(norm, dtype, masked):
    bits = jnp.finfo(dtype).nmant
    mean_over_std, std = np.meshgrid([0, 1, 8, 2 ** (bits - 2), 2**bits], [0.01, 1, 10])
    x = std * (mean_over_std + rng(bits).normal(size=(257, *std.shape)))
    x, dy = jnp.asarray(x, dtype), normal(*x.shape, dtype=dtype, seed=3)
    scale, bias = some_scale_and_bias(*std.shape)
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


FLOATS = [jnp.bfloat16, jnp.float16, jnp.float32]


@pytest.mark.optimized
@every_norm
def test_result_has_the_dtype_asked_for_and_its_accuracy(norm):
    inputs = [jnp.asarray(100 + normal(40, 3), dtype) for dtype in FLOATS]

    @jax.jit
    def run(inputs):
        return [[norm.apply(x, dtype=dtype) for dtype in FLOATS] for x in inputs]

    for x, results in zip(inputs, run(inputs), strict=True):
        for y, dtype in zip(results, FLOATS, strict=True):
            assert y.dtype == dtype
            close(y, norm.judge(x).y, 1e-6 if dtype == jnp.float32 else float(jnp.finfo(dtype).eps))


@every_norm
def test_float64_is_computed_in_float64(norm):
    with jax.enable_x64(True):
        x = 1e6 + normal(40, 3, dtype=jnp.float64)
        close(norm.apply(x, epsilon=1e-5), norm.judge(x).y, 1e-9)
        y = norm.apply(x.astype(jnp.float32), dtype=jnp.float64)
        close(y, norm.judge(x.astype(jnp.float32)).y, 1e-9)


# Edges


@every_centering_norm
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_constant_input_gives_the_bias_and_finite_gradients(norm, dtype):
    values = jnp.array([0.0, 1.0, 1e-30, -300.1, 12345.678], dtype)
    x, bias = jnp.tile(values, (33, 1)), normal(5, seed=2)

    @jax.jit
    def run(x, bias):
        y, vjp = jax.vjp(lambda *a: norm.apply(*a), x, jnp.ones(5), bias)
        return y, *vjp(normal(33, 5, dtype=dtype))

    y, *gradients = run(x, bias)
    tolerance = 1e-6 if dtype == jnp.float32 else float(jnp.finfo(dtype).eps)
    close(y, jnp.broadcast_to(bias, x.shape), tolerance)
    for gradient in gradients:
        assert jnp.all(jnp.isfinite(gradient))


@every_norm
def test_constant_input_has_finite_second_derivatives(norm):
    def loss(x):
        return jnp.sum(norm.apply(x) * normal(4, 2, seed=1))

    x = jnp.tile(jnp.array([0.0, 12345.678]), (4, 1))
    assert jnp.all(jnp.isfinite(jax.jit(jax.hessian(loss))(x)))


# Masks

LARGEST = float(np.finfo(np.float32).max)


def hidden(fill, dtype=jnp.float32):
    """x with the fill wherever the mask is False, and the mask."""
    x, _, _, mask = problem((12, 3), -1, "mask")
    return jnp.where(mask, x, fill).astype(dtype), mask


@pytest.mark.quick
@every_norm
def test_masked_entries_are_normalized_with_the_others_or_are_0(norm):
    scale, bias = jnp.array([1.0, 2.0, -1.0]), jnp.array([0.0, 1.0, 2.0])
    apply = jax.jit(lambda x, mask: norm.apply(x, scale, bias, mask=mask))
    for fill in [*UNUSABLE, 0.0, -7.0, 1e4, 1e30, LARGEST]:
        x, mask = hidden(fill)
        y = apply(x, mask)
        close(y, norm.judge(x, scale, bias, mask=mask).y)
        if not abs(fill) < 1e19:
            equal(y[~mask], np.zeros(int(jnp.sum(~mask))))


@every_norm
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_masked_entries_change_nothing_for_the_others(norm, dtype):
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

    plain = run(*hidden(0.0, dtype))
    for fill in [*UNUSABLE, 1e30, LARGEST]:
        filled = run(*hidden(fill, dtype))
        for actual, wanted in zip(jax.tree.leaves(filled), jax.tree.leaves(plain), strict=True):
            close(actual, wanted, 1e-6)


@every_norm
def test_unusable_entries_poison_no_gradient_where_the_loss_looks_at_them(norm):
    scale, bias = jnp.array([1.0, 2.0, -1.0]), jnp.array([0.0, 1.0, 2.0])
    dy = normal(12, 3, seed=3)

    @jax.jit
    def gradients(x, mask):
        return jax.vjp(lambda *a: norm.apply(*a, mask=mask), x, scale, bias)[1](dy)

    for fill in UNUSABLE:
        x, mask = hidden(fill)
        exact = norm.judge_vjp(x, dy, scale, mask=mask)
        for actual, wanted in zip(gradients(x, mask), exact, strict=True):
            close(actual, wanted, 1e-5)


@every_norm
def test_mask_broadcasts(norm):
    x = normal(12, 3)
    rows, columns, one = jnp.arange(12)[:, None] > 0, jnp.arange(3) != 1, jnp.ones((), bool)
    masks = [rows, columns, columns[None], one, one[None], one[None, None]]
    masks += [mask.astype(jnp.float32) for mask in masks]

    @jax.jit
    def run(masks):
        return [norm.apply(x, mask=mask) for mask in masks]

    for mask, y in zip(masks, run(masks), strict=True):
        close(y, norm.judge(x, mask=mask).y)


@pytest.mark.quick
@every_norm
def test_mask_of_ones_is_no_mask(norm):
    x = normal(12, 3)
    close(norm.apply(x, mask=jnp.ones((12, 3), bool)), norm.apply(x))


@every_norm
@pytest.mark.parametrize("dtype", [bool, jnp.float32])
def test_nothing_counted_gives_finite_results_and_gradients(norm, dtype):
    @jax.jit
    @jax.value_and_grad
    def loss_and_gradient(x):
        return jnp.sum(norm.apply(x, mask=jnp.zeros((12, 3), dtype)) ** 2)

    loss, gradient = loss_and_gradient(normal(12, 3))
    assert jnp.isfinite(loss)
    assert jnp.all(jnp.isfinite(gradient))


# Weights


@pytest.mark.quick
@every_norm
@pytest.mark.parametrize("factor", [1e-30, 0.1, 1e10])
def test_weights_count_relative_to_each_other(norm, factor):
    x, _, _, weights = problem((12, 3), -1, "weights")
    close(norm.apply(x, mask=factor * weights), norm.apply(x, mask=weights))


@every_norm
def test_weights_may_have_any_floating_dtype(norm):
    x, _, _, weights = problem((12, 3), -1, "weights")
    for y in jax.jit(lambda: [norm.apply(x, mask=weights.astype(dtype)) for dtype in FLOATS])():
        close(y, norm.judge(x, mask=weights).y)


@every_norm
def test_weights_are_constants_to_differentiation(norm):
    x, _, _, weights = problem((12, 3), -1, "weights")
    gradient = jax.grad(lambda w: jnp.sum(jnp.sin(norm.apply(x, mask=w))))(weights)
    equal(gradient, jnp.zeros((12, 3)))


@pytest.mark.quick
@every_norm
def test_a_weight_below_0_shows(norm):
    x, weights = normal(12, 3), jnp.ones((12, 3)).at[5, 1].set(-1)
    y = norm.apply(x, mask=weights)
    assert jnp.all(jnp.isnan(y[5, 1]))
    close(y[:, ::2], norm.apply(x[:, ::2]))


# Transformations


@pytest.mark.optimized
@every_norm
def test_jit_equals_eager(norm):
    x, scale, bias, mask = problem((2, 4, 3), 1, "mask")
    options = {"mask": mask, "axis": 1}
    close(norm.apply(x, scale, bias, **options), norm.eager(x, scale, bias, **options))
    far = x + 1e4
    exact = norm.judge(far, scale, bias, **options).y
    close(norm.eager(far, scale, bias, **options), exact)


@every_norm
@pytest.mark.parametrize("masked", [None, "weights"])
def test_vmap_equals_a_loop(norm, masked):
    x, _, bias, mask = problem((4, 6, 3), -1, masked)
    scales = 1 + normal(4, 3, seed=1)
    masks = jnp.ones(x.shape, bool) if mask is None else mask

    def apply(x, scale, mask):
        return norm.apply(x, scale, bias, mask=mask)

    looped = jnp.stack([apply(*args) for args in zip(x, scales, masks, strict=True)])
    close(jax.jit(jax.vmap(apply))(x, scales, masks), looped)


@every_norm
def test_gradients_agree_with_finite_differences(norm):
    """In reverse mode, which JAX makes of the forward one."""
    with jax.enable_x64(True):
        x, scale, bias, mask = (
            v if v is None or v.dtype == bool else v.astype(jnp.float64)
            for v in problem((5, 2), -1, "weights")
        )
        check_grads(
            jax.jit(lambda *a: norm.apply(*map(jnp.asarray, a), mask=mask)),
            (x, scale, bias),
            order=2,
            modes=["rev"],
            atol=1e-6,
            rtol=1e-6,
        )
