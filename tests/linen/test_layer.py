"""The layers that normalize each example are drop-ins for Flax's."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from problems import same_as_rounded

import jbn.linen

X = 2 + 3 * jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 5, 6)), jnp.float32)
MASK = np.random.default_rng(1).random((4, 3, 5, 6)) < 0.6
KEY = jax.random.key(0)
KINDS = {
    "LayerNorm": {},
    "RMSNorm": {},
    "GroupNorm": {"num_groups": 3},
    "InstanceNorm": {},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def layers(kind, **arguments) -> Any:
    """Flax's layer and jbn's, with an initial scale and bias that can be told apart."""
    given = {"scale_init": nn.initializers.normal(1.0), **KINDS[kind]}
    if kind != "RMSNorm":
        given |= {"bias_init": nn.initializers.normal(1.0), "use_fast_variance": False}
    given |= arguments
    return getattr(nn, kind)(**given), getattr(jbn.linen, kind)(**given)


def assert_drop_in(flax, ours, x):
    variables, wanted = jax.jit(lambda x: (ours.init(KEY, x), flax.init(KEY, x)))(x)
    same_as_rounded(variables, wanted, 0)
    y, wanted_y = jax.jit(lambda v, x: (ours.apply(v, x), flax.apply(v, x)))(wanted, x)
    same_as_rounded(y, wanted_y, 4e-6)


COMMON = {
    "defaults": {},
    "no scale": {"use_scale": False},
    "bfloat16 parameters": {"param_dtype": jnp.bfloat16},
    "bfloat16 result": {"dtype": jnp.bfloat16},
    "float16 result and parameters": {"dtype": jnp.float16, "param_dtype": jnp.float16},
    "no forced float32": {"force_float32_reductions": False},
    "epsilon": {"epsilon": 0.1},
}
OWN = {
    "LayerNorm": [
        {"use_bias": False},
        {"reduction_axes": (1, 2, 3)},
        {"reduction_axes": (-1, -2), "feature_axes": (1, -1)},
        {"feature_axes": ()},
    ],
    "RMSNorm": [{"reduction_axes": (1, 2), "feature_axes": (2, 3)}],
    "GroupNorm": [
        {"use_bias": False},
        {"num_groups": None, "group_size": 2},
        {"num_groups": 1},
        {"reduction_axes": (2, -1)},
    ],
    "InstanceNorm": [{"use_bias": False}, {"feature_axes": (1, 3)}],
}


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        pytest.param(kind, arguments, id=f"{kind}, {name}")
        for kind in KINDS
        for name, arguments in [*COMMON.items(), *enumerate(OWN[kind])]
    ],
)
def test_arguments_variables_and_numbers_are_those_of_flax(kind, arguments):
    flax, ours = layers(kind, **arguments)
    assert_drop_in(flax, ours, X)


@every_kind
def test_the_arguments_are_those_of_flax(kind):
    def described(layer):
        return [(f.name, f.type, f.default) for f in dataclasses.fields(layer)]

    assert described(getattr(jbn.linen, kind)) == described(getattr(nn, kind))


@every_kind
@pytest.mark.parametrize("x_dtype", [jnp.bfloat16, jnp.float16, jnp.uint8])
def test_every_dtype_of_x_is_taken_as_flax_takes_it(kind, x_dtype):
    x = (jnp.abs(X) * 10).astype(x_dtype)
    for dtype in (None, jnp.float32):
        flax, ours = layers(kind, dtype=dtype)
        assert_drop_in(flax, ours, x)


@every_kind
@pytest.mark.parametrize("mask", [MASK, MASK.astype(np.float32) * 3], ids=["mask", "nonzero"])
def test_masks_count_an_entry_once(kind, mask):
    flax, ours = layers(kind)
    variables = flax.init(KEY, X)
    wanted = flax.apply(variables, X, mask=jnp.asarray(mask, bool))
    same_as_rounded(ours.apply(variables, X, mask=jnp.asarray(mask)), wanted, 4e-6)


@every_kind
def test_partitioning_metadata_is_kept(kind):
    partitioned = nn.with_partitioning(nn.initializers.ones, ("model",))
    for layer in layers(kind, scale_init=partitioned):
        variables = layer.init(KEY, X)
        assert nn.get_partition_spec(variables)["params"]["scale"] == P("model")
        assert layer.apply(variables, X).shape == X.shape


@pytest.mark.parametrize("kind", ["LayerNorm", "RMSNorm"])
def test_features_may_be_spread_over_a_mapped_axis(kind):
    flax, ours = layers(kind, axis_name="a")
    parts = jnp.stack(jnp.split(X, 2, -1))
    variables = ours.init(KEY, parts[0])  # where no axis is mapped
    y, wanted = (
        jax.vmap(lambda x, layer=layer: layer.apply(variables, x), axis_name="a")(parts)
        for layer in (ours, flax)
    )
    same_as_rounded(y, wanted, 4e-6)


@pytest.mark.optimized
@every_kind
def test_far_from_zero_jbn_is_right_where_flax_is_wrong(kind):
    x = X + 1e4
    flax, ours = layers(kind, use_fast_variance=True)
    variables = flax.init(KEY, x)
    with jax.enable_x64(True):
        exact = np.asarray(flax.apply(variables, jnp.asarray(np.asarray(x, np.float64))))

    def error(layer):
        y = np.asarray(layer.apply(variables, x), np.float64)
        return np.max(np.abs(y - exact) / np.maximum(1, np.abs(exact)))

    assert error(ours) <= 1e-6
    if kind != "RMSNorm":  # in which there is no variance
        assert error(flax) > 1e-3


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("GroupNorm", {"num_groups": 4}, "num_groups: found 4, wanted a divisor"),
        ("GroupNorm", {"num_groups": 0}, "num_groups: found 0, wanted a divisor"),
        ("GroupNorm", {"num_groups": None, "group_size": 4}, "group_size: found 4, wanted a div"),
        ("GroupNorm", {"num_groups": None}, "num_groups, group_size: found None and None"),
        ("GroupNorm", {"group_size": 2}, "num_groups, group_size: found 3 and 2"),
        ("GroupNorm", {"reduction_axes": (1, 2)}, r"reduction_axes: found \(1, 2\), wanted the la"),
        ("InstanceNorm", {"feature_axes": (0, 3)}, "feature_axes: found .*first one is the batch"),
        ("LayerNorm", {"reduction_axes": 4}, "reduction_axes: found 4"),
    ],
    ids=str,
)
def test_what_flax_refuses_is_refused_in_words(kind, arguments, message):
    flax, ours = layers(kind, **arguments)
    with pytest.raises((ValueError, IndexError, AssertionError)):
        flax.init(KEY, X)
    with pytest.raises(ValueError, match=message):
        ours.init(KEY, X)
