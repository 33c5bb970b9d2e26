"""`jbn.linen.BatchNorm` is a drop-in for Flax's; and has the numbers of Keras's layer."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
from flax.errors import ModifyScopeVariableError
from flax.training import train_state
from jax.sharding import PartitionSpec as P

import jbn.linen

X = 2 + 3 * jnp.asarray(np.random.default_rng(0).normal(size=(8, 5, 4)), jnp.float32)
MASK = np.random.default_rng(1).random((8, 5, 1)) < 0.6
KEY = jax.random.key(0)


def layers(**arguments):
    """Flax's layer and jbn's, with an initial scale and bias that can be told apart."""
    arguments = {
        "scale_init": nn.initializers.normal(1.0),
        "bias_init": nn.initializers.normal(1.0),
        "use_fast_variance": False,
        **arguments,
    }
    return nn.BatchNorm(**arguments), jbn.linen.BatchNorm(**arguments)


def leaves(variables):
    """Path, shape and dtype of each variable."""
    return [
        (jax.tree_util.keystr(path), leaf.shape, leaf.dtype)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    ]


def assert_same(actual, wanted, tolerance=2e-6):
    """Same tree, shapes, dtypes, and numbers within the tolerance."""
    assert leaves(actual) == leaves(wanted)
    for a, w in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
        close(a, w, tolerance if w.dtype == jnp.float32 else float(jnp.finfo(w.dtype).eps))


def close(actual, wanted, tolerance=2e-6):
    actual, wanted = (np.asarray(v, np.float64) for v in (actual, wanted))
    np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


def train(layer, variables, x, **options):
    options = {"use_running_average": False, "mutable": ["batch_stats"], **options}
    return jax.jit(lambda v, x: layer.apply(v, x, **options))(variables, x)


def evaluate(layer, variables, x, **options):
    return layer.apply(variables, x, use_running_average=True, **options)


ARGUMENTS = {
    "defaults": {},
    "no scale": {"use_scale": False},
    "no bias": {"use_bias": False},
    "neither": {"use_scale": False, "use_bias": False},
    "bfloat16 parameters": {"param_dtype": jnp.bfloat16},
    "bfloat16 result": {"dtype": jnp.bfloat16},
    "float16 result and parameters": {"dtype": jnp.float16, "param_dtype": jnp.float16},
    "axis 1": {"axis": 1},
    "two axes": {"axis": (0, 2)},
    "negative axes": {"axis": (-1, 0)},
    "no forced float32": {"force_float32_reductions": False},
    "momentum and epsilon": {"momentum": 0.5, "epsilon": 0.1},
}
every_argument = pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)


def test_the_arguments_are_those_of_flax():
    def described(layer):
        return [(f.name, f.type, f.default) for f in dataclasses.fields(layer)]

    assert described(jbn.linen.BatchNorm) == described(nn.BatchNorm)


@every_argument
def test_variables_are_those_of_flax(arguments):
    flax, ours = layers(**arguments)
    ours, flax = (layer.init(KEY, X, use_running_average=False) for layer in (ours, flax))
    assert_same(ours, flax, tolerance=0)


@every_argument
def test_numbers_are_those_of_flax_in_training_and_evaluation(arguments):
    flax, ours = layers(**arguments)
    variables = flax.init(KEY, X, False)
    (y, updates), wanted = train(ours, variables, X), train(flax, variables, X)
    assert_same((y, updates), wanted)
    trained = {**variables, **wanted[1]}
    assert_same(evaluate(ours, trained, X), evaluate(flax, trained, X))


def test_statistics_in_param_dtype_are_float32_after_the_first_step():
    flax, ours = layers(force_float32_reductions=False, param_dtype=jnp.bfloat16, momentum=0.5)
    variables = flax.init(KEY, X, False)
    assert_same(ours.init(KEY, X, False), variables, tolerance=0)
    (y, updates), (wanted_y, wanted) = train(ours, variables, X), train(flax, variables, X)
    assert_same((y, updates), (wanted_y, wanted))


@pytest.mark.parametrize("x_dtype", [jnp.bfloat16, jnp.float16, jnp.int32, jnp.uint8])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16, jnp.float32])
def test_every_dtype_of_x_is_taken_as_flax_takes_it(x_dtype, dtype):
    flax, ours = layers(dtype=dtype, momentum=0.5)
    x = (jnp.abs(X) * 10).astype(x_dtype)
    variables = flax.init(KEY, x, False)
    assert_same(ours.init(KEY, x, False), variables, tolerance=0)
    wanted = train(flax, variables, x)
    assert_same(train(ours, variables, x), wanted)
    trained = {**variables, **wanted[1]}
    assert_same(evaluate(ours, trained, x), evaluate(flax, trained, x))


@pytest.mark.parametrize("mask_dtype", [bool, np.float32, np.int32])
def test_masks_are_those_of_flax(mask_dtype):
    flax, ours = layers(momentum=0.5)
    variables, mask = flax.init(KEY, X, False), jnp.asarray(MASK.astype(mask_dtype))
    assert_same(train(ours, variables, X, mask=mask), train(flax, variables, X, mask=mask))
    assert_same(evaluate(ours, variables, X, mask=mask), evaluate(flax, variables, X, mask=mask))


@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.complex64])
def test_complex_input_is_taken_as_flax_takes_it(param_dtype):
    """But for the running mean, which is complex from the start: Flax's becomes so by a step."""
    flax, ours = layers(momentum=0.5, param_dtype=param_dtype, scale_init=nn.initializers.ones)
    x = X + 1j * jnp.flip(X)
    variables = ours.init(KEY, x, False)
    assert variables["batch_stats"]["mean"].dtype == jnp.complex64
    (y, updates), wanted = train(ours, variables, x), train(flax, flax.init(KEY, x, False), x)
    complex_close((y, updates), (wanted[0], wanted[1]))
    trained = {**flax.init(KEY, x, False), **wanted[1]}
    complex_close(evaluate(ours, trained, x), evaluate(flax, trained, x))
    complex_close(train(ours, flax.init(KEY, x, False), x), wanted)


def test_a_complex_running_mean_is_not_cut_to_a_real_one():
    _, ours = layers()
    variables = ours.init(KEY, X + 1j * X, False)
    with pytest.raises(TypeError, match=r"stats\.mean: found dtype complex64"):
        train(ours, variables, X)


def complex_close(actual, wanted, tolerance=4e-6):
    assert leaves(actual) == leaves(wanted)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance),
        actual,
        wanted,
    )


def test_gradients_are_those_of_flax():
    def gradients(layer):
        def loss(params, x):
            y, updates = layer.apply({**variables, "params": params}, x, False, mutable=True)
            return jnp.sum(jnp.sin(y)) + jnp.sum(updates["batch_stats"]["var"])

        return jax.jit(jax.grad(loss, (0, 1)))(variables["params"], X)

    flax, ours = layers(momentum=0.5)
    variables = flax.init(KEY, X, False)
    assert_same(gradients(ours), gradients(flax), 1e-5)


def test_a_mapped_axis_is_that_of_flax():
    flax, ours = layers(axis_name="batch", momentum=0.5)
    variables = ours.init(KEY, X[0], False)

    def mapped(layer):

        def step(x):
            return layer.apply(variables, x, False, mutable=["batch_stats"])

        return jax.jit(jax.vmap(step, axis_name="batch"))(X)

    assert_same(mapped(ours), mapped(flax))


def test_init_moves_no_statistics_and_returns_what_flax_returns():
    flax, ours = layers()
    wanted = flax.init_with_output(KEY, X, use_running_average=False)
    assert_same(ours.init_with_output(KEY, X, use_running_average=False), wanted)
    stats = ours.init(KEY, X, False)["batch_stats"]
    np.testing.assert_array_equal(stats["mean"], np.zeros(4))
    np.testing.assert_array_equal(stats["var"], np.ones(4))


@pytest.mark.parametrize("names", ["batch", ("batch", "data")])
def test_init_needs_no_axis_name(names):
    layer = jbn.linen.BatchNorm(axis_name=names, use_running_average=False)
    assert leaves(layer.init(KEY, X)) == leaves(
        nn.BatchNorm(use_running_average=False).init(KEY, X)
    )


@pytest.mark.parametrize("shape", [(1, 4), (4,)])
def test_init_takes_one_value_per_channel(shape):
    layer = jbn.linen.BatchNorm(use_running_average=False)
    wanted = leaves(nn.BatchNorm(use_running_average=False).init(KEY, X))
    assert leaves(layer.init(KEY, jnp.ones(shape))) == wanted
    with pytest.raises(ValueError, match="one value per channel"):
        layer.apply(layer.init(KEY, X), jnp.ones(shape), mutable=["batch_stats"])


def test_use_running_average_comes_from_the_constructor_or_the_call():
    variables = jbn.linen.BatchNorm().init(KEY, X, False)
    in_constructor = jbn.linen.BatchNorm(use_running_average=True).apply(variables, X)
    np.testing.assert_array_equal(in_constructor, evaluate(jbn.linen.BatchNorm(), variables, X))
    for layer in layers():
        with pytest.raises(ValueError, match="use_running_average"):
            layer.apply(variables, X)
    for layer in layers(use_running_average=True):
        with pytest.raises(ValueError, match="use_running_average"):
            layer.apply(variables, X, use_running_average=False)


def test_training_without_mutable_statistics_is_flaxs_error():
    for layer in layers():
        variables = layer.init(KEY, X, False)
        with pytest.raises(ModifyScopeVariableError):
            layer.apply(variables, X, use_running_average=False)


def test_partitioning_metadata_is_kept():
    initializers = {
        "scale_init": nn.with_partitioning(nn.initializers.ones, ("model",)),
        "bias_init": nn.with_partitioning(nn.initializers.zeros, ("model",)),
    }
    for layer in layers(**initializers):
        variables = layer.init(KEY, X, False)
        specs = nn.get_partition_spec(variables)
        assert specs["params"] == {"scale": P("model"), "bias": P("model")}
        y, _ = train(layer, variables, X)
        assert y.shape == X.shape


class Network(nn.Module):
    """Two layers of one class, named automatically."""

    norm: type

    @nn.compact
    def __call__(self, x, train):
        for width in (6, 3):
            x = nn.Dense(width)(x)
            x = self.norm(use_running_average=not train, momentum=0.5)(x)
        return x


def test_networks_swap_layers_and_checkpoints():
    ours, flax = Network(jbn.linen.BatchNorm), Network(nn.BatchNorm)
    variables, wanted = (
        jax.jit(functools.partial(network.init, train=True))(KEY, X) for network in (ours, flax)
    )
    assert_same(variables, wanted, tolerance=0)
    assert set(variables["params"]) == {"Dense_0", "Dense_1", "BatchNorm_0", "BatchNorm_1"}
    (_, updates) = flax.apply(variables, X, train=True, mutable=["batch_stats"])
    (_, wanted) = ours.apply(variables, X, train=True, mutable=["batch_stats"])
    assert_same(updates, wanted)
    trained = {**variables, **updates}
    assert_same(ours.apply(trained, X, train=False), flax.apply(trained, X, train=False))


class State(train_state.TrainState):
    """As Flax's guide to batch normalization has it."""

    batch_stats: dict


def test_a_train_state_carries_the_statistics():
    @jax.jit
    def train_step(state, x):
        def loss(params):
            y, updates = state.apply_fn(
                {"params": params, "batch_stats": state.batch_stats},
                x,
                train=True,
                mutable=["batch_stats"],
            )
            return jnp.sum(jnp.sin(y)), updates

        gradients, updates = jax.grad(loss, has_aux=True)(state.params)
        return state.apply_gradients(grads=gradients).replace(batch_stats=updates["batch_stats"])

    variables = jax.jit(functools.partial(Network(nn.BatchNorm).init, train=False))(KEY, X)
    trained = []
    for norm in (jbn.linen.BatchNorm, nn.BatchNorm):
        state = State.create(apply_fn=Network(norm).apply, tx=optax.sgd(0.01), **variables)
        for _ in range(2):
            state = train_step(state, X)
        trained.append({"params": state.params, "batch_stats": state.batch_stats})
    ours, wanted = trained
    assert_same(ours, wanted, 1e-5)


@pytest.mark.optimized
@pytest.mark.parametrize("use_fast_variance", [False, True])
def test_far_from_zero_jbn_is_right_where_flax_is_wrong(use_fast_variance):
    x = jnp.asarray(1e4 + np.random.default_rng(0).normal(size=(512, 4)), jnp.float32)
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)

    def error(layer):
        y, _ = train(layer, layer.init(KEY, x, False), x)
        return np.max(np.abs(np.asarray(y, np.float64) - exact))

    arguments = {"use_scale": False, "use_bias": False, "use_fast_variance": use_fast_variance}
    flax, ours = layers(**arguments)
    assert error(flax) > 1e-4
    assert error(ours) <= 4e-6  # 1e-6 of max(1, |y|), for |y| < 4


@pytest.mark.parametrize(
    ("center", "scale"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_numbers_are_those_of_keras_over_several_steps(center, scale):
    """In Keras's words: gamma, beta, moving mean and variance; epsilon 1e-3 by default."""
    theirs = keras.layers.BatchNormalization(center=center, scale=scale, momentum=0.9)
    theirs.build(X.shape)
    values = np.random.default_rng(2)
    params = {}
    if scale:
        params["scale"] = jnp.asarray(values.normal(size=4), jnp.float32)
        theirs.gamma.assign(params["scale"])
    if center:
        params["bias"] = jnp.asarray(values.normal(size=4), jnp.float32)
        theirs.beta.assign(params["bias"])
    ours = jbn.linen.BatchNorm(momentum=0.9, epsilon=1e-3, use_bias=center, use_scale=scale)
    variables = {**ours.init(KEY, X, False), "params": params}
    for step in range(3):
        x = X * (step + 1) - step
        y, updates = train(ours, variables, x)
        variables.update(updates)
        close(y, theirs(x, training=True))
    close(variables["batch_stats"]["mean"], theirs.moving_mean.value)
    close(variables["batch_stats"]["var"], theirs.moving_variance.value)
    close(evaluate(ours, variables, X), theirs(X, training=False))


def cast(variables, dtype):
    """The variables with all floating ones in the dtype."""
    return jax.tree.map(lambda v: v.astype(dtype) if v.dtype == jnp.float32 else v, variables)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    ("layer", "domain"),
    [
        (jbn.linen.BatchNorm(), ()),
        (jbn.linen.GhostBatchNorm(virtual_batch_size=4), ()),
        (jbn.linen.BatchRenorm(), ()),
        (jbn.linen.DomainBatchNorm(num_domains=2), (1,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_network_cast_to_16_bits_keeps_moving_its_statistics(layer, domain, dtype):
    """By the formula of the average, after 200 equal batches."""
    variables = layer.init(KEY, X, *domain, use_running_average=True)
    variables = cast(variables, dtype)
    options = {"use_running_average": False, "mutable": ["batch_stats"]}
    step = jax.jit(lambda v, x: layer.apply(v, x, *domain, **options)[1])
    for _ in range(200):
        variables = {**variables, **step(variables, X)}
    x = np.asarray(X, np.float64)
    kept = 0.99**200
    stats = variables["batch_stats"]
    for name, first, batch in (("mean", 0, x.mean((0, 1))), ("var", 1, x.var((0, 1)))):
        assert stats[name].dtype == jnp.float32
        moved = stats[name][domain] if domain else stats[name]
        close(moved, kept * first + (1 - kept) * batch, 1e-4)


def test_a_step_cast_to_16_bits_is_refused():
    """In bfloat16 it would stay at 256, and the limits of renormalization with it."""
    layer = jbn.linen.BatchRenorm(use_running_average=False)
    variables = jax.tree.map(lambda v: v.astype(jnp.bfloat16), layer.init(KEY, X))
    with pytest.raises(TypeError, match="step: found dtype bfloat16, wanted an integer"):
        layer.apply(variables, X, mutable=["batch_stats"])
