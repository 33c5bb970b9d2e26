"""The NNX layers that normalize each example are drop-ins for Flax's."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from problems import same_as_rounded

import jbn.linen
import jbn.nnx

# Numbers that are bfloat16 ones: Flax rounds what goes in to the dtype of the result.
X = jnp.round(16 + 24 * jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 5, 6)))) / 8
MASK = np.random.default_rng(1).random((4, 3, 5, 6)) < 0.6
KINDS = {
    "LayerNorm": {},
    "RMSNorm": {},
    "GroupNorm": {"num_groups": 3},
    "InstanceNorm": {},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def layers(kind, num_features=6, **arguments):
    """Flax's layer and jbn's, with an initial scale that can be told from 1."""
    given = {"scale_init": nnx.initializers.normal(1.0), **KINDS[kind]}
    if kind != "RMSNorm":
        given["use_fast_variance"] = False
    given |= arguments
    return tuple(
        getattr(module, kind)(num_features, **given, rngs=nnx.Rngs(0)) for module in (nnx, jbn.nnx)
    )


def assert_drop_in(flax, ours, x, **options):
    state, wanted = (nnx.state(layer, nnx.Param) for layer in (ours, flax))
    assert jax.tree.structure(state) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, state, wanted)
    run = nnx.jit(lambda layer, x: layer(x, **options))
    same_as_rounded(run(ours, x), run(flax, x), 4e-6)


COMMON = {
    "defaults": {},
    "no scale": {"use_scale": False},
    "bfloat16 parameters": {"param_dtype": jnp.bfloat16},
    "bfloat16 result": {"dtype": jnp.bfloat16, "scale_init": nnx.initializers.ones},
    "epsilon": {"epsilon": 0.1},
}
OWN = {
    "LayerNorm": [
        {"use_bias": False},
        {"reduction_axes": (1, 2, 3)},
        {"reduction_axes": (2, -1), "feature_axes": (2, 3), "num_features": 30},
    ],
    "RMSNorm": [{"reduction_axes": (2, 3), "feature_axes": (2, 3), "num_features": 30}],
    "GroupNorm": [{"use_bias": False}, {"num_groups": 1}],
    "InstanceNorm": [{"use_bias": False}, {"feature_axes": (1, 3), "num_features": 18}],
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
    flax, ours = getattr(nnx, kind), getattr(jbn.nnx, kind)
    assert inspect.signature(ours) == inspect.signature(flax)
    assert [
        (p.name, p.kind, p.default) for p in inspect.signature(ours.__call__).parameters.values()
    ] == [(p.name, p.kind, p.default) for p in inspect.signature(flax.__call__).parameters.values()]


@every_kind
@pytest.mark.parametrize("x_dtype", [jnp.bfloat16, jnp.uint8])
def test_every_dtype_of_x_is_taken_as_flax_takes_it(kind, x_dtype):
    for dtype in (None, jnp.float32):
        flax, ours = layers(kind, dtype=dtype)
        assert_drop_in(flax, ours, jnp.abs(X).astype(x_dtype))


@every_kind
@pytest.mark.parametrize("mask", [MASK, MASK.astype(np.float32) * 3], ids=["mask", "nonzero"])
def test_masks_count_an_entry_once_as_in_linen(kind, mask):
    _, ours = layers(kind)
    linen = getattr(jbn.linen, kind)(**KINDS[kind])
    wanted = linen.apply({"params": nnx.to_pure_dict(nnx.state(ours))}, X, mask=jnp.asarray(mask))
    same_as_rounded(ours(X, mask=jnp.asarray(mask)), wanted, 0)


@every_kind
def test_promote_dtype_chooses_the_dtype_of_the_result(kind):
    def to_bfloat16(arrays, *, dtype):
        return [None if a is None else a.astype(jnp.bfloat16) for a in arrays]

    flax, ours = layers(kind, promote_dtype=to_bfloat16)
    y = ours(X)
    assert y.dtype == flax(X).dtype == jnp.bfloat16
    exact = layers(kind)[1](X)
    same_as_rounded(y, exact.astype(jnp.bfloat16), 4e-6)  # x isn't rounded before it is normalized


@every_kind
def test_promote_dtype_is_given_x_scale_and_bias(kind):
    calls = []

    def promote_dtype(arrays, *, dtype):
        calls.append((arrays, dtype))
        return arrays

    for layer in layers(kind, promote_dtype=promote_dtype, dtype=jnp.float32):
        layer(X)
        (arrays, dtype) = calls.pop()
        wanted = (X, layer.scale[...]) + (() if kind == "RMSNorm" else (layer.bias[...],))
        assert (len(arrays), dtype) == (len(wanted), jnp.float32)
        for given, array in zip(arrays, wanted, strict=True):
            np.testing.assert_array_equal(np.ravel(given), np.ravel(array))


@every_kind
def test_metadata_of_the_parameters_is_kept(kind):
    names = ("scale",) if kind == "RMSNorm" else ("scale", "bias")
    metadata = {f"{name}_metadata": {"layer": f"{name} of the first"} for name in names}
    for layer in layers(kind, **metadata):
        for name in names:
            assert getattr(layer, name).get_metadata("layer") == f"{name} of the first"
