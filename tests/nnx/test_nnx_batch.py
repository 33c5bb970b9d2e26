"""`jbn.nnx.BatchNorm` is a drop-in for Flax's; and has the numbers of Keras's layer."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import nnx
from held import variables

import jbn.linen
import jbn.nnx

X = 2 + 3 * jnp.asarray(np.random.default_rng(0).normal(size=(8, 5, 4)), jnp.float32)
MASK = np.random.default_rng(1).random((8, 5, 1)) < 0.6


def layers(num_features=4, **arguments) -> Any:
    """Flax's layer and jbn's, with an initial scale and bias that can be told apart."""
    arguments = {
        "scale_init": nnx.initializers.normal(1.0),
        "bias_init": nnx.initializers.normal(1.0),
        "use_fast_variance": False,
        **arguments,
    }
    return tuple(
        layer(num_features, **arguments, rngs=nnx.Rngs(0))
        for layer in (nnx.BatchNorm, jbn.nnx.BatchNorm)
    )


def close(actual, wanted, tolerance=2e-6):
    actual, wanted = jnp.asarray(actual), jnp.asarray(wanted)
    assert actual.dtype == wanted.dtype
    if wanted.dtype != jnp.float32:
        tolerance = float(jnp.finfo(wanted.dtype).eps)
    actual, wanted = (np.asarray(v, np.float64) for v in (actual, wanted))
    np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


def same_state(ours, flax, tolerance=2e-6):
    assert variables(ours) == variables(flax)
    for name in variables(flax):
        close(getattr(ours, name)[...], getattr(flax, name)[...], tolerance)


def assert_same_in_training_and_evaluation(flax, ours, x, **options):
    same_state(ours, flax, 0)
    for layer in (flax, ours):
        layer.train()
    close(ours(x, **options), flax(x, **options))
    same_state(ours, flax)
    for layer in (flax, ours):
        layer.eval()
    close(ours(x, **options), flax(x, **options))
    same_state(ours, flax)


ARGUMENTS = {
    "defaults": {},
    "no scale": {"use_scale": False},
    "no bias": {"use_bias": False},
    "neither": {"use_scale": False, "use_bias": False},
    "bfloat16 parameters": {"param_dtype": jnp.bfloat16},
    "axis 1": {"axis": 1, "num_features": 5},
    "axis -2": {"axis": -2, "num_features": 5},
    "momentum and epsilon": {"momentum": 0.5, "epsilon": 0.1},
}
every_argument = pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)


def test_the_arguments_are_those_of_flax():
    for name in ("__init__", "__call__", "set_view"):
        flax, ours = (
            [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
            for f in (getattr(nnx.BatchNorm, name), getattr(jbn.nnx.BatchNorm, name))
        )
        assert ours == flax


@every_argument
def test_variables_and_numbers_are_those_of_flax(arguments):
    flax, ours = layers(**arguments)
    assert_same_in_training_and_evaluation(flax, ours, X)


@pytest.mark.parametrize("x_dtype", [jnp.bfloat16, jnp.float16, jnp.int32])
def test_every_dtype_of_x_is_taken_as_flax_takes_it(x_dtype):
    x = (jnp.abs(X) * 10).astype(x_dtype)
    flax, ours = layers(momentum=0.5)
    assert_same_in_training_and_evaluation(flax, ours, x)


@pytest.mark.parametrize("x_dtype", [jnp.float32, jnp.bfloat16])
def test_a_bfloat16_result_is_that_of_float32_rounded_once(x_dtype):
    """Flax rounds x, scale and bias first; jbn only the result."""
    _, ours = layers(dtype=jnp.bfloat16)
    x = X.astype(x_dtype)
    y = ours(x)
    in_float32, _ = layers(dtype=jnp.float32)
    assert y.dtype == jnp.bfloat16
    wanted = np.asarray(in_float32(x), np.float64)
    unit = float(jnp.finfo(jnp.bfloat16).eps)
    np.testing.assert_allclose(np.asarray(y, np.float64), wanted, rtol=unit, atol=unit)


def test_masks_are_those_of_flax():
    flax, ours = layers(momentum=0.5)
    assert_same_in_training_and_evaluation(flax, ours, X, mask=jnp.asarray(MASK))


def test_gradients_are_those_of_flax():
    def gradients(layer):
        def loss(layer, x):
            return jnp.sum(jnp.sin(layer(x)) * jnp.arange(4.0))

        wrt_layer, wrt_x = nnx.jit(nnx.grad(loss, argnums=(0, 1)))(layer, X)
        return *jax.tree.leaves(wrt_layer), wrt_x

    flax, ours = layers()
    for actual, wanted in zip(gradients(ours), gradients(flax), strict=True):
        close(actual, wanted, 1e-5)
    same_state(ours, flax)


def test_a_mapped_axis_is_that_of_flax():
    def mapped(which):
        def shard(x):
            layer = layers(axis_name="batch", momentum=0.5)[which]
            return layer(x), layer.mean[...], layer.var[...]

        return jax.jit(jax.vmap(shard, axis_name="batch"))(X)

    jax.tree.map(close, mapped(1), mapped(0))


def test_constructing_needs_no_axis_name_and_moves_no_statistics():
    layer = jbn.nnx.BatchNorm(4, axis_name="batch", rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer.mean[...], np.zeros(4))
    np.testing.assert_array_equal(layer.var[...], np.ones(4))
    with pytest.raises(ValueError, match="axis_name: found 'batch'"):
        layer(X)


def test_state_moves_between_the_two():
    flax, ours = layers(momentum=0.5)
    flax(X)
    nnx.update(ours, nnx.state(flax))
    same_state(ours, flax, 0)
    ours(X)
    nnx.update(flax, nnx.state(ours))
    same_state(ours, flax, 0)
    for layer in (flax, ours):
        layer.eval()
    close(ours(X), flax(X))


def test_train_and_eval_and_the_call_choose_the_statistics():
    _, layer = layers()
    layer.eval()
    before = np.asarray(layer.mean[...])
    y = layer(X)
    np.testing.assert_array_equal(layer.mean[...], before)
    close(layer(X, use_running_average=True), y)
    np.testing.assert_array_equal(layer.mean[...], before)
    layer(X, use_running_average=False)
    assert np.all(layer.mean[...] != before)
    after = np.asarray(layer.mean[...])
    layer.train()
    layer(X)
    assert np.all(layer.mean[...] != after)


class Block(nnx.Module):
    """A batch norm within a module within a module, beside what has another mode."""

    def __init__(self, norm):
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
        self.inner: Any = nnx.Sequential(nnx.Linear(4, 4, rngs=nnx.Rngs(0)), norm)

    def modes(self):
        return self.dropout.deterministic, self.inner.layers[1].use_running_average


def test_a_models_mode_is_that_of_its_norms():
    """The whole model's, or that of one class: Flax's, of which ours is a subclass."""
    for norm in layers():
        block = Block(norm)
        assert block.modes() == (False, False)
        block.eval()
        assert block.modes() == (True, True)
        block.train()
        assert block.modes() == (False, False)
        view = nnx.view(block, deterministic=True, use_running_average=True)
        assert view.modes() == (True, True)
        view = nnx.view(block, only=nnx.BatchNorm, use_running_average=True)
        assert view.modes() == (False, True)
        assert block.modes() == (False, False)
        block.set_attributes(nnx.BatchNorm, use_running_average=True)
        assert block.modes() == (False, True)


def test_no_choice_is_an_error_that_says_so():
    for layer in layers(use_running_average=None):
        with pytest.raises(ValueError, match="use_running_average"):
            layer(X)


def test_a_view_shares_the_variables():
    _, layer = layers()
    view = nnx.view(layer, use_running_average=True)
    close(view(X), layer(X, use_running_average=True))
    np.testing.assert_array_equal(layer.mean[...], np.zeros(4))
    assert view.scale is layer.scale
    layer(X)
    np.testing.assert_array_equal(view.mean[...], layer.mean[...])


def test_split_and_merge_keep_it_whole():
    _, layer = layers(momentum=0.5)
    layer(X)
    merged = nnx.merge(*nnx.split(layer))
    assert isinstance(merged, jbn.nnx.BatchNorm)
    same_state(merged, layer, 0)
    close(merged(X), layer(X))


def test_nnx_jit_moves_the_statistics_as_eager_does():
    _, eager = layers(momentum=0.5)
    _, compiled = layers(momentum=0.5)
    step = nnx.jit(lambda layer, x: layer(x))
    for _ in range(2):
        close(step(compiled, X), eager(X))
    same_state(compiled, eager)


def test_no_derivative_reaches_the_statistics_that_are_held_by_reference():
    """`jax.grad` would find its own tracers in the layer, and refuse."""
    with nnx.var_defaults(ref=True):
        _, layer = layers(momentum=0.5)

        def loss(x):
            return jnp.sum(jnp.sin(layer(x)))

        gradient = jax.grad(loss)(X)
    assert np.isfinite(gradient).all()
    moved = 0.5 * np.asarray(X, np.float64).mean((0, 1))
    close(layer.mean[...], moved)


def test_metadata_of_the_parameters_is_kept():
    metadata = {"scale_metadata": {"tag": "gamma"}, "bias_metadata": {"tag": "beta"}}
    for layer in layers(**metadata):
        assert layer.scale.get_metadata()["tag"] == "gamma"
        assert layer.bias.get_metadata()["tag"] == "beta"


def test_promote_dtype_is_called_as_flax_calls_it_and_decides_the_results_dtype():
    calls = []

    def to_float16(arrays, *, dtype):
        calls.append((arrays, dtype))
        return tuple(None if array is None else array.astype(jnp.float16) for array in arrays)

    for dtype, wanted in [(None, jnp.float16), (jnp.float32, jnp.float32)]:
        for layer in layers(promote_dtype=to_float16, dtype=dtype):
            given = X, layer.mean[...], layer.var[...], layer.scale[...], layer.bias[...]
            assert layer(X).dtype == wanted
            arrays, asked_for = calls.pop()
            assert asked_for == dtype
            for array, wanted_array in zip(arrays, given, strict=True):
                np.testing.assert_array_equal(array, wanted_array)


def test_running_statistics_are_not_rounded_to_the_dtype_of_the_result():
    """Flax makes 0 of 19.1 here: in bfloat16 the running mean and x are both 1000."""
    x = jnp.full((2, 1), 1000.5)
    flax, ours = layers(1, dtype=jnp.bfloat16, use_scale=False, use_bias=False)
    for layer in (flax, ours):
        layer.mean[...], layer.var[...] = jnp.array([1000.3]), jnp.array([1e-4])
        layer.eval()
    exact = (1000.5 - float(np.float32(1000.3))) / np.sqrt(1e-4 + 1e-5)
    np.testing.assert_array_equal(np.asarray(flax(x), np.float64), np.zeros((2, 1)))
    np.testing.assert_allclose(np.asarray(ours(x), np.float64), exact, rtol=2**-8)


@pytest.mark.optimized
def test_far_from_zero_jbn_is_right_where_flax_is_wrong():
    x = jnp.asarray(1e4 + np.random.default_rng(0).normal(size=(512, 4)), jnp.float32)
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
    flax, ours = (
        np.max(np.abs(np.asarray(nnx.jit(lambda f, x: f(x))(layer, x), np.float64) - exact))
        for layer in layers(use_scale=False, use_bias=False)
    )
    assert flax > 1e-4
    assert ours <= 4e-6  # 1e-6 of max(1, |y|), for |y| < 4


def test_numbers_are_those_of_keras_over_several_steps():
    """In Keras's words: gamma, beta, moving mean and variance; epsilon 1e-3 by default."""
    theirs = keras.layers.BatchNormalization(momentum=0.9)
    theirs.build(X.shape)
    _, ours = layers(momentum=0.9, epsilon=1e-3)
    theirs.gamma.assign(ours.scale[...])
    theirs.beta.assign(ours.bias[...])
    for step in range(3):
        x = X * (step + 1) - step
        close(ours(x), theirs(x, training=True))
    close(ours.mean[...], theirs.moving_mean.value)
    close(ours.var[...], theirs.moving_variance.value)
    ours.eval()
    close(ours(X), theirs(X, training=False))


def test_the_running_mean_of_complex_input_keeps_its_imaginary_part():
    """Flax's loses it."""
    x = X + 1j * jnp.flip(X)
    layer = jbn.nnx.BatchNorm(X.shape[-1], momentum=0.5, rngs=nnx.Rngs(0))
    y = layer(x)
    linen = jbn.linen.BatchNorm(momentum=0.5, use_running_average=False)
    wanted, updates = linen.apply(linen.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(layer.mean[...], updates["batch_stats"]["mean"])
    assert layer(x, use_running_average=True).dtype == jnp.complex64


def cast(variables, dtype):
    """The variables with all floating ones in the dtype."""
    return jax.tree.map(lambda v: v.astype(dtype) if v.dtype == jnp.float32 else v, variables)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    ("layer_class", "options", "domain"),
    [
        (jbn.nnx.BatchNorm, {}, ()),
        (jbn.nnx.GhostBatchNorm, {"virtual_batch_size": 4}, ()),
        (jbn.nnx.BatchRenorm, {}, ()),
        (jbn.nnx.DomainBatchNorm, {"num_domains": 2}, (1,)),
    ],
    ids=["batch", "ghost", "renorm", "domain"],
)
def test_a_network_cast_to_16_bits_keeps_moving_its_statistics(layer_class, options, domain, dtype):
    """By the formula of the average, after 200 equal batches."""
    layer = layer_class(4, **options, rngs=nnx.Rngs(0))
    nnx.update(layer, cast(nnx.state(layer, nnx.BatchStat), dtype))
    step = nnx.jit(lambda layer, x: layer(x, *domain))
    for _ in range(200):
        step(layer, X)
    x = np.asarray(X, np.float64)
    kept = 0.99**200
    for name, first, batch in (("mean", 0, x.mean((0, 1))), ("var", 1, x.var((0, 1)))):
        moved = getattr(layer, name)[...]
        assert moved.dtype == jnp.float32
        wanted = kept * first + (1 - kept) * batch
        np.testing.assert_allclose(moved[domain] if domain else moved, wanted, 1e-4, 1e-4)
