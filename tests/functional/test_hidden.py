"""Layer, RMS, group and instance normalization, as they are used: numbers as Flax's, and laws."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import jbn
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from problems import close, equal, normal, problem, some_mask

SHAPE = (2, 4, 3, 6)


def arguments(shape=SHAPE):
    return problem(shape, -1, None)[:3]


def of_flax(layer, x, scale, bias, mask=None):
    params = {"scale": scale} if isinstance(layer, nn.RMSNorm) else {"scale": scale, "bias": bias}
    return layer.apply({"params": params}, x, mask=mask)


def rms_norm(x, scale, bias, **options):
    return jbn.rms_norm(x, scale, **options)


# Flax's layer, and jbn's function with the same arguments
PAIRS = {
    "layer": (nn.LayerNorm(use_fast_variance=False), jbn.layer_norm),
    "layer over an image": (
        nn.LayerNorm(reduction_axes=(1, 2, 3), use_fast_variance=False),
        functools.partial(jbn.layer_norm, reduction_axes=(1, 2, 3)),
    ),
    "rms": (nn.RMSNorm(), rms_norm),
    "rms over an image": (
        nn.RMSNorm(reduction_axes=(1, 2, 3)),
        functools.partial(rms_norm, reduction_axes=(1, 2, 3)),
    ),
    "group": (
        nn.GroupNorm(num_groups=3, use_fast_variance=False),
        functools.partial(jbn.group_norm, num_groups=3),
    ),
    "group within a row": (
        nn.GroupNorm(num_groups=2, reduction_axes=(2, 3), use_fast_variance=False),
        functools.partial(jbn.group_norm, num_groups=2, reduction_axes=2),
    ),
    "instance": (nn.InstanceNorm(use_fast_variance=False), jbn.instance_norm),
}
every_pair = pytest.mark.parametrize(("flax", "ours"), PAIRS.values(), ids=PAIRS)


@every_pair
@pytest.mark.parametrize("masked", [None, "mask"])
def test_numbers_and_gradients_are_those_of_flax(flax, ours, masked):
    x, scale, bias = arguments()
    mask = some_mask(masked, SHAPE)
    dy = normal(*SHAPE, seed=3)

    def with_gradients(norm):
        y, vjp = jax.vjp(lambda *args: norm(*args, mask=mask), x, scale, bias)
        return y, vjp(dy)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        wanted = jax.jit(lambda: with_gradients(functools.partial(of_flax, flax)))()
    close(jax.jit(lambda: with_gradients(ours))(), wanted, 2e-5)


@every_pair
def test_nothing_of_the_size_of_x_is_kept_but_x(flax, ours):
    x, scale, bias = arguments((2, 8, 8, 192))
    _, vjp = jax.vjp(jax.jit(ours), x, scale, bias)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(vjp)) <= 1.1 * x.nbytes


def test_group_norm_has_layer_and_instance_norm_at_its_ends():
    x, scale, bias = arguments()
    one = jbn.group_norm(x, scale, bias, num_groups=1)
    close(one, jbn.layer_norm(x, scale, bias, reduction_axes=(1, 2, 3)), 2e-6)
    close(jbn.group_norm(x, scale, bias, num_groups=6), jbn.instance_norm(x, scale, bias), 2e-6)


@pytest.mark.parametrize(
    "ours",
    [functools.partial(jbn.group_norm, num_groups=3), jbn.instance_norm],
    ids=["group", "instance"],
)
@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("mask_shape", [None, "full", "pixels"])
def test_channels_may_be_any_axis(ours, axis, mask_shape):
    x, scale, bias = arguments()
    mask = None
    if mask_shape:
        mask = some_mask("mask", SHAPE if mask_shape == "full" else (*SHAPE[:3], 1))
    wanted = ours(x, scale, bias, mask=mask)
    moved_mask = None if mask is None else jnp.moveaxis(mask, -1, axis)
    y = ours(jnp.moveaxis(x, -1, axis), scale, bias, axis=axis, mask=moved_mask)
    close(jnp.moveaxis(y, axis, -1), wanted, 2e-6)


@pytest.mark.parametrize("norm", [jbn.layer_norm, rms_norm], ids=["layer", "rms"])
@pytest.mark.parametrize("check_vma", [False, True])
def test_features_spread_over_shards_are_one_layer_and_have_its_gradient(norm, check_vma):
    sharded = jax.shard_map(
        functools.partial(norm, axis_name="a"),
        mesh=Mesh(np.array(jax.devices()[:4]), "a"),
        in_specs=(P(None, "a"), P("a"), P("a")),
        out_specs=P(None, "a"),
        check_vma=check_vma,
    )

    def with_gradient(norm, *args):
        y, vjp = jax.vjp(norm, *args)
        return y, vjp(normal(4, 12, seed=3))

    args = arguments((4, 12))
    found = jax.jit(with_gradient, static_argnums=0)(sharded, *args)
    close(found, with_gradient(norm, *args), 2e-6)


def test_an_example_of_which_nothing_counts_is_finite():
    x, scale, bias = arguments((4, 6))
    mask = jnp.arange(4)[:, None] > 0
    for norm in (jbn.layer_norm, rms_norm):
        y, vjp = jax.vjp(lambda x, norm=norm: norm(x, scale, bias, mask=mask), x)
        assert all(jnp.all(jnp.isfinite(v)) for v in (y, *vjp(y)))


def test_standardized_weights_have_mean_0_and_variance_1_per_output():
    kernel = 5 + 2 * normal(3, 3, 4, 8)
    w = np.asarray(jbn.weight_standardize(kernel, epsilon=0.0), np.float64)
    close(w.mean((0, 1, 2)), np.zeros(8))
    close(w.var((0, 1, 2)), np.ones(8))
    gain = normal(8, seed=1)
    close(jbn.weight_standardize(kernel, gain, epsilon=0.0), w * np.asarray(gain), 2e-6)
    close(
        jbn.weight_standardize(jnp.moveaxis(kernel, -1, 0), axis=0),
        jnp.moveaxis(jbn.weight_standardize(kernel), -1, 0),
        2e-6,
    )


LAYERS = {
    "batch": lambda x: jbn.batch_norm(
        x, jbn.init_batch_stats(8), use_running_average=False, epsilon=0.0
    )[0],
    "layer": lambda x: jbn.layer_norm(x, epsilon=0.0),
    "rms": lambda x: jbn.rms_norm(x, epsilon=0.0),
    "group": lambda x: jbn.group_norm(x, num_groups=2, epsilon=0.0),
    "instance": lambda x: jbn.instance_norm(x.reshape(4, 16, 8), epsilon=0.0).reshape(64, 8),
}


@pytest.mark.parametrize("norm", LAYERS)
def test_layers_are_right_where_squares_fit_and_say_nan_beyond(norm):
    x = normal(64, 8)
    wanted = LAYERS[norm](x)
    for exponent in (-48, 58):  # of 2: from 4e-15 to 3e17
        equal(LAYERS[norm](x * 2.0**exponent), wanted)
    too_large = x * 2.0**72
    assert jnp.isnan(LAYERS[norm](too_large)).all()
    _, backward = jax.vjp(LAYERS[norm], too_large)
    assert jnp.isnan(backward(x)[0]).all()


def test_statistics_that_overflow_move_no_running_ones():
    stats = jbn.init_batch_stats(8)
    _, new = jbn.batch_norm(normal(64, 8) * 2.0**72, stats, use_running_average=False)
    equal(new.mean, stats.mean)
    equal(new.var, stats.var)


@pytest.mark.parametrize(
    "norm",
    [
        lambda x: jbn.layer_norm(x[..., :1]),
        lambda x: jbn.group_norm(x[:, 0, 0], num_groups=4),
        lambda x: jbn.instance_norm(x[:, :1, :1]),
        lambda x: jbn.weight_standardize(x[0, 0, :1]),
    ],
    ids=["layer", "group", "instance", "weight"],
)
def test_one_value_per_mean_is_an_error(norm):
    with pytest.raises(ValueError, match=r"x: found one value per mean .* wanted at least two"):
        norm(normal(2, 3, 3, 4))


def test_of_one_value_that_a_mask_leaves_y_is_the_bias():
    mask = jnp.array([[True, False, False]])
    y = jbn.layer_norm(jnp.array([[5.0, 1.0, 2.0]]), bias=jnp.full(3, 7.0), mask=mask)
    assert y[0, 0] == 7


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_an_x_without_entries_has_such_a_y(shape):
    x = jnp.zeros(shape)
    assert jbn.layer_norm(x).shape == jbn.rms_norm(x).shape == shape
    assert jbn.instance_norm(x[:, None, None].repeat(2, 1)).shape == (shape[0], 2, 1, shape[1])
    stats = jbn.init_batch_stats(shape[1])
    assert jbn.batch_norm(x, stats, use_running_average=True)[0].shape == shape


@pytest.mark.parametrize("num_groups", [0, 4, 7])
def test_groups_that_do_not_divide_the_channels_are_named(num_groups):
    with pytest.raises(ValueError, match=f"num_groups: found {num_groups}, wanted a divisor"):
        jbn.group_norm(arguments()[0], num_groups=num_groups)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": jnp.ones(5)}, r"scale: found shape \(5,\), wanted \(6,\)"),
        ({"reduction_axes": 4}, "reduction_axes: found 4"),
        ({"feature_axes": (-1, 3)}, r"feature_axes: found \(-1, 3\)"),
        ({"epsilon": -1.0}, "epsilon: found -1.0"),
        ({"axis_name": "a"}, "axis_name: found 'a'"),
    ],
    ids=["scale", "reduction", "features", "epsilon", "name"],
)
def test_bad_arguments_are_named(options, message):
    for norm in (jbn.layer_norm, jbn.rms_norm):
        with pytest.raises(ValueError, match=message):
            norm(arguments()[0], **options)


@pytest.mark.parametrize("masked", [None, "weights"])
def test_derivatives_of_rms_norm_are_those_of_the_plain_composition(masked):
    def plain(x, scale, epsilon):
        weights = jnp.ones((5, 4)) if mask is None else mask.astype(x.dtype)
        square = jnp.sum(weights * x * x, -1, keepdims=True) / jnp.sum(weights, -1, keepdims=True)
        return x / jnp.sqrt(square + epsilon) * scale[None]

    def ours(x, scale, epsilon):
        return jbn.rms_norm(x, scale, epsilon=epsilon, mask=mask)

    def derivatives(norm):
        def loss(args):
            return jnp.sum(jnp.sin(norm(*args)) * normal(5, 4, seed=3))

        return loss(args), jax.grad(loss)(args), jax.hessian(loss)(args)

    with jax.enable_x64(True):
        args = (normal(5, 4) + 1, 1 + normal(4, seed=1) / 2, jnp.asarray(0.1))
        mask = some_mask(masked, (5, 4))
        close(jax.jit(lambda: derivatives(ours))(), jax.jit(lambda: derivatives(plain))(), 1e-9)


def test_rms_norm_takes_complex_numbers():
    x = jax.lax.complex(normal(4, 6), normal(4, 6, seed=1))
    exact = np.asarray(x, np.complex128)
    rms = np.sqrt(np.mean(np.abs(exact) ** 2, -1, keepdims=True) + 1e-6)
    close(jbn.rms_norm(x), exact / rms)
