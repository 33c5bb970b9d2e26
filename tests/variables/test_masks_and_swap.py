"""Which parameters decay, and what carries over to another norm."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from problems import same

import jbn.linen
import jbn.nnx
from jbn.config import ModelConfig, NormConfig
from jbn.models import build_model
from jbn.models.mlp import MLP
from jbn.variables import batch_norm_mask, decay_mask, swap_norm

X = jnp.ones((5, 4))
KEY = jax.random.key(0)
FROZEN = "FrozenBatchNorm"
CLASSES = {"layer": "LayerNorm", "rms": "RMSNorm", "group": "GroupNorm"}


def network(kind):
    config = NormConfig(kind=kind, num_groups=2)
    return build_model(ModelConfig(hidden_sizes=(8, 4)), config, 3, momentum=0.9, epsilon=1e-3)


def test_weight_decay_moves_kernels_alone():
    params = network("batch").init(KEY, X, train=True)["params"]
    optimizer = optax.adamw(1e-3, weight_decay=0.1, mask=decay_mask)
    no_gradient = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(no_gradient, optimizer.init(params), params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        assert bool(jnp.any(update != 0)) == ("kernel" in str(path)), path


def test_weight_decay_moves_kernels_alone_in_nnx():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), jbn.nnx.BatchNorm(8, rngs=rngs))
    mask = decay_mask(nnx.state(model, nnx.Param))
    mask = nnx.to_pure_dict(mask)["layers"]
    assert mask == {0: {"kernel": True, "bias": False}, 1: {"scale": False, "bias": False}}


def test_batch_norms_parameters_are_told_by_their_statistics():
    variables = network("batch").init(KEY, X, train=True)
    for path, is_norms in jax.tree_util.tree_leaves_with_path(batch_norm_mask(variables)):
        assert is_norms == ("BatchNorm" in str(path)), path


@pytest.mark.parametrize("kind", CLASSES)
def test_scale_and_bias_carry_over(kind):
    variables = trained_variables()
    swapped = swap_norm(variables, CLASSES[kind])
    network_of_kind = network(kind).init(KEY, X, train=True)
    assert jax.tree.structure(swapped) == jax.tree.structure(network_of_kind)
    for name, layer in variables["params"].items():
        of_kind = swapped["params"][name.replace("BatchNorm", CLASSES[kind])]
        is_rms = kind == "rms" and "BatchNorm" in name
        assert set(of_kind) == set(layer) - ({"bias"} if is_rms else set())
        for key, value in of_kind.items():
            np.testing.assert_array_equal(value, layer[key])


def trained_variables():
    """Of the batch norm network, with statistics, scales and biases of no special value."""
    variables = network("batch").init(KEY, X, train=True)
    return jax.tree.map(lambda v: v + np.linspace(0.1, 1, v.size).reshape(v.shape), variables)


def test_a_frozen_norm_gives_what_batch_norm_gives_in_evaluation():
    batch, frozen = (MLP((8, 4), 3, getattr(jbn.linen, k)) for k in ("BatchNorm", FROZEN))
    variables = trained_variables()
    swapped = swap_norm(variables, FROZEN)
    assert jax.tree.structure(swapped) == jax.tree.structure(frozen.init(KEY, X, train=True))
    wanted = batch.apply(variables, X, train=False)
    for train in (False, True):
        y, updates = frozen.apply(swapped, X, train=train, mutable=["batch_stats"])
        np.testing.assert_array_equal(y, wanted)
        same(updates["batch_stats"], swapped["batch_stats"], 0)


def test_no_optimizer_sees_a_frozen_norm():
    swapped = swap_norm(trained_variables(), FROZEN)
    assert list(swapped["params"]) == ["Dense_0", "Dense_1", "Dense_2"]
    frozen = MLP((8, 4), 3, jbn.linen.FrozenBatchNorm)
    gradient = jax.grad(lambda v: frozen.apply(v, X, train=True).sum())(swapped)
    for leaf in jax.tree.leaves(gradient["batch_stats"]):
        np.testing.assert_array_equal(leaf, 0)
    assert jnp.any(gradient["params"]["Dense_0"]["kernel"] != 0)


def test_a_frozen_norm_in_nnx_takes_the_variables_as_they_are():
    def model(kind):
        rngs = nnx.Rngs(0)
        return nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), getattr(jbn.nnx, kind)(8, rngs=rngs))

    batch, frozen = model("BatchNorm"), model(FROZEN)
    shifted = jax.tree.map(lambda v: v + np.linspace(0.1, 1, v.shape[-1]), nnx.state(batch))
    nnx.update(batch, shifted)
    nnx.update(frozen, nnx.to_pure_dict(nnx.state(batch)))
    batch.eval()
    before = nnx.to_pure_dict(nnx.state(frozen))
    np.testing.assert_array_equal(frozen(X), batch(X))
    same(nnx.to_pure_dict(nnx.state(frozen)), before, 0)
    assert list(nnx.to_pure_dict(nnx.state(frozen, nnx.Param))["layers"]) == [0]


@pytest.mark.parametrize("options", [{"use_scale": False}, {"use_bias": False}])
def test_a_frozen_norm_has_what_it_was_made_with(options):
    variables = jbn.linen.FrozenBatchNorm(**options).init(KEY, X)
    layer = jbn.nnx.FrozenBatchNorm(4, **options, rngs=nnx.Rngs(0))
    (left_out,) = options
    assert left_out.removeprefix("use_") not in variables["batch_stats"]
    same(nnx.to_pure_dict(nnx.state(layer)), dict(variables["batch_stats"]), 0)


class Named(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm(name="LayerNorm_0")(x)
        return jbn.linen.BatchNorm(use_running_average=True)(x)


def test_siblings_are_swapped_by_flaxs_names_too():
    stats = {"mean": X[0], "var": X[0]}
    names = ("GhostBatchNorm_0", "BatchRenorm_1", "my_BatchNorm_2", "BatchNorm_x")
    variables = {"params": {n: {"scale": X[0]} for n in names}, "batch_stats": {}}
    variables["batch_stats"] = dict.fromkeys(names, stats)
    swapped = swap_norm(variables, "GroupNorm")["params"]
    assert list(swapped) == ["GroupNorm_0", "GroupNorm_1", "my_BatchNorm_2", "BatchNorm_x"]


def test_what_can_not_be_swapped_is_named():
    with pytest.raises(ValueError, match="variables: found no layer with batch statistics"):
        swap_norm(network("layer").init(KEY, X, train=True), "GroupNorm")
    with pytest.raises(ValueError, match="kind: LayerNorm_0 is there already"):
        swap_norm(Named().init(KEY, X), "LayerNorm")


def test_the_name_of_the_array_decides_on_decay_not_that_of_a_module():
    array = jnp.ones(2)
    params = {"scale": {"kernel": array, "bias": array}, "bias": {"scale": array}}
    assert decay_mask(params) == {
        "scale": {"kernel": True, "bias": False},
        "bias": {"scale": False},
    }

    class Film(nnx.Module):
        def __init__(self, rngs):
            self.scale = nnx.Linear(2, 2, rngs=rngs)

    mask = decay_mask(nnx.state(Film(nnx.Rngs(0)), nnx.Param))
    assert [bool(leaf) for leaf in jax.tree.leaves(mask)] == [False, True]  # bias, kernel
