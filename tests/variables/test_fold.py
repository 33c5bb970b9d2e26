"""A model whose batch normalizations are folded says what it said."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from problems import close, normal

import jbn.linen
import jbn.nnx
from jbn.models import MLP
from jbn.variables import Fold, find_folds, fold_batch_norm, fold_into_layers

KEY = jax.random.key(0)


class Chain(nn.Module):
    """A layer, a norm, an activation: `layer` is called with its name and whether it has a bias."""

    layer: object
    norm: object
    use_bias: bool = False

    @nn.compact
    def __call__(self, x):
        x = self.layer(name="layer", use_bias=self.use_bias or self.norm is None)(x)
        if self.norm is not None:
            x = self.norm(name="norm")(x)
        return nn.relu(x)


def trained(variables):
    """With statistics, scales and biases that can be told from the initial ones."""

    def moved(path, leaf):
        if jnp.issubdtype(leaf.dtype, jnp.integer):  # a number of steps
            return leaf
        noise = normal(*leaf.shape, seed=len(str(path)))
        more = jnp.abs(noise) if "var" in str(path) else noise / 2
        return leaf + more.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(moved, variables)


def evaluating(norm, **options):
    return functools.partial(norm, use_running_average=True, **options)


LAYERS = {
    "dense": (functools.partial(nn.Dense, 6), (5, 4)),
    "conv": (functools.partial(nn.Conv, 6, (3, 3)), (2, 5, 5, 4)),
    "strided conv without padding": (
        functools.partial(nn.Conv, 6, (3, 3), strides=2, padding="VALID"),
        (2, 7, 7, 4),
    ),
    "conv of one dimension": (functools.partial(nn.Conv, 6, 3), (2, 5, 4)),
    "grouped": (functools.partial(nn.Conv, 6, (3, 3), feature_group_count=2), (2, 5, 5, 4)),
    "depthwise": (functools.partial(nn.Conv, 8, (3, 3), feature_group_count=4), (2, 5, 5, 4)),
    "transposed": (functools.partial(nn.ConvTranspose, 6, (3, 3), strides=(2, 2)), (2, 5, 5, 4)),
    "transposed kernel": (
        functools.partial(nn.ConvTranspose, 6, (3, 3), strides=(2, 2), transpose_kernel=True),
        (2, 5, 5, 4),
    ),
}


@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("use_bias", [False, True])
def test_a_norm_is_folded_into_the_layer_before_it(layer, shape, use_bias):
    x = normal(*shape)
    model = Chain(layer, evaluating(jbn.linen.BatchNorm, epsilon=1e-3), use_bias)
    plain = Chain(layer, None)
    variables = trained(model.init(KEY, x))
    folded = fold_batch_norm(model.apply, plain.apply, variables, x)
    assert folded.unfolded == {}
    assert jax.tree.structure(folded.variables) == jax.tree.structure(plain.init(KEY, x))
    y, wanted = plain.apply(folded.variables, x), model.apply(variables, x)
    close(y, wanted, 1e-5)
    assert folded.largest_difference == jnp.max(jnp.abs(y - wanted))


@pytest.mark.parametrize(
    "options",
    [{"use_scale": False}, {"use_bias": False}, {"use_scale": False, "use_bias": False}],
    ids=str,
)
def test_a_norm_may_be_flaxs_and_have_no_scale_or_bias(options):
    x = normal(5, 4)
    layer = functools.partial(nn.Dense, 6)
    model = Chain(layer, evaluating(nn.BatchNorm, **options))
    variables = trained(model.init(KEY, x))
    folded = fold_batch_norm(model.apply, Chain(layer, None).apply, variables, x)
    assert folded.largest_difference <= 1e-5


def test_of_a_batch_renorm_nothing_is_left():
    x = normal(5, 4)
    layer = functools.partial(nn.Dense, 6)
    model, plain = Chain(layer, evaluating(jbn.linen.BatchRenorm)), Chain(layer, None)
    variables = trained(model.init(KEY, x))
    folded = fold_batch_norm(model.apply, plain.apply, variables, x)
    assert folded.largest_difference <= 1e-5
    assert set(folded.variables) == {"params"}
    close(plain.apply(folded.variables, x), model.apply(variables, x), 1e-5)


def test_a_folded_layer_has_the_dtype_that_it_had():
    x = normal(5, 4)
    layer = functools.partial(nn.Dense, 6, param_dtype=jnp.bfloat16)
    model = Chain(layer, evaluating(jbn.linen.BatchNorm))
    variables = trained(model.init(KEY, x))
    folded = fold_batch_norm(model.apply, Chain(layer, None).apply, variables, x).variables
    assert {leaf.dtype for leaf in jax.tree.leaves(folded)} == {jnp.dtype(jnp.bfloat16)}


def test_after_an_activation_it_is_folded_into_the_next_dense_layer():
    """The article's network: Dense, ReLU, norm."""
    x = normal(20, 6)
    model, plain = MLP((8, 4), 3, jbn.linen.BatchNorm), MLP((8, 4), 3, None)
    variables = trained(model.init(KEY, x, train=True))
    evaluate = functools.partial(model.apply, train=False)
    folds, left = find_folds(evaluate, variables, x)
    assert left == {}
    assert [(f.norm, f.layer, f.layer_is_before) for f in folds] == [
        ("BatchNorm_0", "Dense_1", False),
        ("BatchNorm_1", "Dense_2", False),
    ]
    folded = fold_batch_norm(evaluate, functools.partial(plain.apply, train=False), variables, x)
    logits = evaluate(variables, x)
    assert folded.largest_difference <= 1e-5 * jnp.max(jnp.abs(logits))
    assert set(folded.variables) == {"params"}


class Block(nn.Module):
    """One or the other order of norm and Dense, to be scanned; with partitioned parameters."""

    norm: object
    norm_is_first: bool = False

    @nn.compact
    def __call__(self, x, _=None):
        init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
        dense = nn.Dense(4, kernel_init=init, name="dense")
        norm = (lambda x: x) if self.norm is None else self.norm(name="norm")
        return (dense(norm(x)) if self.norm_is_first else norm(dense(x))), None


STACKS = {
    "scan": lambda: functools.partial(nn.scan, Block, length=3),
    "scan of remat": lambda: functools.partial(nn.scan, nn.remat(Block), length=3),
    "vmap": lambda: functools.partial(nn.vmap, Block, in_axes=None, axis_size=3),
}


class Stacked(nn.Module):
    """Three blocks whose variables are stacked along `axis`."""

    stack: str
    norm: object
    norm_is_first: bool = False
    axis: int = 0

    @nn.compact
    def __call__(self, x):
        blocks = STACKS[self.stack]()(
            variable_axes={"params": self.axis, "batch_stats": self.axis},
            split_rngs={"params": True},
            metadata_params={nn.PARTITION_NAME: "layer"},
        )
        return blocks(self.norm, self.norm_is_first, name="blocks")(x)[0]


@pytest.mark.parametrize("norm_is_first", [False, True])
@pytest.mark.parametrize("stack", STACKS)
def test_stacked_layers_are_folded_one_by_one(stack, norm_is_first):
    x = normal(5, 4)
    model = Stacked(stack, evaluating(jbn.linen.BatchNorm), norm_is_first)
    plain = Stacked(stack, None, norm_is_first)
    variables = trained(model.init(KEY, x))
    folded = fold_batch_norm(model.apply, plain.apply, variables, x)
    assert folded.unfolded == {}
    assert jax.tree.structure(folded.variables) == jax.tree.structure(plain.init(KEY, x))
    close(plain.apply(folded.variables, x), model.apply(variables, x), 1e-5)
    assert folded.variables["params"]["blocks"]["dense"]["kernel"].names[0] == "layer"


def test_layers_stacked_along_another_axis_are_refused():
    x = normal(5, 4)
    model = Stacked("scan", evaluating(jbn.linen.BatchNorm), axis=1)
    variables = model.init(KEY, x)
    with pytest.raises(ValueError, match=r"folds: found blocks/norm/var of shape .* first axis"):
        fold_batch_norm(model.apply, model.apply, variables, x)


class Repeated(nn.Module):
    """A layer and its norm, called together `num_calls` times."""

    norm: object
    num_calls: int = 2

    @nn.compact
    def __call__(self, x):
        dense = nn.Dense(4, name="dense")
        norm = (lambda x: x) if self.norm is None else self.norm(name="norm")
        for _ in range(self.num_calls):
            x = norm(dense(x))
        return x


def test_a_layer_that_is_always_called_with_its_norm_is_folded():
    x = normal(5, 4)
    model, plain = Repeated(evaluating(jbn.linen.BatchNorm)), Repeated(None)
    variables = trained(model.init(KEY, x))
    folded = fold_batch_norm(model.apply, plain.apply, variables, x)
    assert folded.unfolded == {}
    close(plain.apply(folded.variables, x), model.apply(variables, x), 1e-5)


class Unfoldable(nn.Module):
    """Norms that no layer can take in, as their names say; and one that goes."""

    @nn.compact
    def __call__(self, x):
        norm = evaluating(jbn.linen.BatchNorm)
        x = norm(name="of_a_sum")(nn.Dense(4, name="first")(x) + x)
        shared = nn.Dense(4, name="shared")
        x = nn.relu(norm(name="of_a_shared_layer")(shared(shared(x))))
        x = nn.relu(norm(name="over_rows", axis=0)(nn.Dense(4, name="second")(x)))
        # Its kernel is standardized: what is folded into it would be divided out again.
        dense = jbn.linen.WeightStandardizedDense(4, name="standardized")
        x = nn.relu(norm(name="of_standardized_weights")(dense(x)))
        hidden = nn.remat(jbn.linen.BatchNorm)(use_running_average=True, name="in_its_own_remat")
        x = nn.relu(hidden(nn.Dense(4, name="fourth")(x)))
        x = nn.relu(nn.Conv(4, (3,), name="conv")(norm(name="before_a_padded_conv")(x)))
        x = norm(name="before_two")(x)
        x = nn.Dense(4, name="left")(x) * nn.Dense(4, name="right")(x)
        return norm(name="goes")(nn.Dense(4, name="third")(x))


def test_what_no_layer_can_take_in_is_left_and_named():
    x = normal(5, 4)
    model = Unfoldable()
    variables = trained(model.init(KEY, x))
    folds, left = find_folds(model.apply, variables, x)
    assert [(fold.norm, fold.layer) for fold in folds] == [("goes", "third")]
    none_beside = "no Dense, Conv or ConvTranspose is right before it and no Dense right after it"
    assert {path: reason.partition(", or the")[0] for path, reason in left.items()} == {
        "of_a_sum": "shared is beside it in some calls, but not in all",
        "of_a_shared_layer": "shared is beside it in some calls, but not in all",
        "over_rows": "it normalizes axis 0, not the last",
        "of_standardized_weights": none_beside,
        "in_its_own_remat": none_beside,
        "before_a_padded_conv": none_beside,
        "before_two": "it has several layers beside it: left, right",
    }
    folded = fold_into_layers(variables, folds)
    assert set(folded["batch_stats"]) == set(left)


def test_an_nnx_model_is_folded_by_names():
    x = normal(5, 4)
    conv = nnx.Linear(4, 6, rngs=nnx.Rngs(0))
    norm = jbn.nnx.BatchNorm(6, use_running_average=True, rngs=nnx.Rngs(0))
    model = nnx.Sequential(conv, norm)
    nnx.update(model, trained(nnx.state(model)))
    y = model(x)
    variables = {
        "params": {"conv": nnx.to_pure_dict(nnx.state(conv)), "norm": {}},
        "batch_stats": {"norm": nnx.to_pure_dict(nnx.state(norm, nnx.BatchStat))},
    }
    variables["params"]["norm"] = nnx.to_pure_dict(nnx.state(norm, nnx.Param))
    folds = [Fold("norm", "conv", layer_is_before=True, epsilon=norm.epsilon)]
    folded = fold_into_layers(variables, folds)["params"]["conv"]
    close(x @ folded["kernel"] + folded["bias"], y, 1e-5)


def test_what_can_not_be_folded_is_named():
    x = normal(5, 4)
    layer = functools.partial(nn.Dense, 6)
    training = Chain(layer, functools.partial(jbn.linen.BatchNorm, use_running_average=False))
    variables = training.init(KEY, x)

    def train(variables, x):
        return training.apply(variables, x, mutable=["batch_stats"])

    with pytest.raises(ValueError, match="found norm normalizing with its batch's statistics"):
        fold_batch_norm(train, train, variables, x)
    plain = Chain(layer, None)
    with pytest.raises(ValueError, match=r"wanted at least one .the model has no"):
        fold_batch_norm(plain.apply, plain.apply, plain.init(KEY, x), x)
    fold = Fold("norm", "other", layer_is_before=True, epsilon=1e-5)
    with pytest.raises(ValueError, match="folds: found 'other/kernel', wanted one of layer/kernel"):
        fold_into_layers(variables, [fold])
