"""Population statistics are those of all data, batch by batch, in float64."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from problems import close, normal

import jbn.linen
import jbn.nnx
from jbn.variables import recompute_batch_stats, recompute_nnx_batch_stats

KEY = jax.random.key(0)
X = normal(22, 4)
SIZES = (6, 6, 5, 5)  # of the batches that 22 examples make at a batch size of 6


class Network(nn.Module):
    """Two layers, without an activation between them."""

    norm: type

    @nn.compact
    def __call__(self, x, train, mask=None):
        for width in (5, 3):
            x = 3 + nn.Dense(width, name=f"dense_{width}")(x)
            x = self.norm(use_running_average=not train, name=f"norm_{width}")(x, mask=mask)
        return x


def training(model):
    """(variables, batch) -> (y, updates); a batch may be x and a mask."""

    def apply(variables, batch):
        x, mask = batch if isinstance(batch, tuple) else (batch, None)
        return model.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])

    return apply


def exact(params, x, mask=None):
    """Mean and variance of each layer's input over all batches, in float64."""
    x = np.asarray(x, np.float64)
    mask = np.ones((len(x), 1), bool) if mask is None else np.asarray(mask)
    stats = {}
    for width in (5, 3):
        dense = {k: np.asarray(v, np.float64) for k, v in params[f"dense_{width}"].items()}
        x = 3 + x @ dense["kernel"] + dense["bias"]
        counted = x[mask[:, 0]]
        stats[f"norm_{width}"] = {"mean": counted.mean(0), "var": counted.var(0)}
        ends = np.cumsum(SIZES)[:-1]
        batches = zip(np.split(x, ends), np.split(mask, ends), strict=True)
        x = np.concatenate(
            [(b - b[m[:, 0]].mean(0)) / np.sqrt(b[m[:, 0]].var(0) + 1e-5) for b, m in batches]
        )
    return stats


@pytest.mark.parametrize("norm", [jbn.linen.BatchNorm, nn.BatchNorm])
@pytest.mark.parametrize("masked", [False, True])
def test_statistics_are_those_of_all_batches_in_float64(norm, masked):
    model = Network(functools.partial(norm, use_fast_variance=False))
    variables = model.init(KEY, X, train=True)
    mask = jnp.arange(22)[:, None] % 7 > 1 if masked else None
    data = (X, mask) if masked else X
    compiled = jax.jit(
        lambda v, data: recompute_batch_stats(training(model), v, data, batch_size=6)
    )
    stats = compiled(variables, data)
    # What reaches the second layer is as good as the first layer's arithmetic.
    tolerance = 1e-6 if norm is jbn.linen.BatchNorm else 1e-4
    close(stats, exact(variables["params"], X, mask), tolerance)


def test_one_batch_of_all_is_a_training_step_with_momentum_0():
    model = Network(functools.partial(jbn.linen.BatchNorm, momentum=0.0))
    variables = model.init(KEY, X, train=True)
    _, updates = training(model)(variables, X)
    stats = recompute_batch_stats(training(model), variables, X, batch_size=30)
    close(stats, updates["batch_stats"])


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "sizes"),
    [(127, 64, {64, 63}), (65, 64, {33, 32}), (128, 64, {64}), (7, 64, {7}), (5, 2, {2, 1})],
)
def test_batches_are_of_nearly_equal_size_and_none_is_larger_than_asked_for(
    num_examples, batch_size, sizes
):
    seen = set()

    def apply(variables, x):
        seen.add(len(x))
        return nn.BatchNorm(use_running_average=False).apply(variables, x, mutable=["batch_stats"])

    x = jnp.zeros((num_examples, 3, 1))
    variables = {"batch_stats": {"mean": jnp.zeros(1), "var": jnp.ones(1)}}
    variables["params"] = {"scale": jnp.ones(1), "bias": jnp.zeros(1)}
    jax.eval_shape(lambda x: recompute_batch_stats(apply, variables, x, batch_size=batch_size), x)
    assert seen == sizes


@pytest.mark.optimized
def test_far_from_zero_no_digits_are_lost():
    model = jbn.linen.BatchNorm(use_running_average=False)
    x = 1e4 + normal(1000, 4)
    apply = functools.partial(model.apply, mutable=["batch_stats"])
    stats = recompute_batch_stats(apply, model.init(KEY, x), x, batch_size=64)
    exact = np.asarray(x, np.float64)
    close(stats, {"mean": exact.mean(0), "var": exact.var(0)}, 1e-6)


class Shared(nn.Module):
    """One norm for two inputs, and a frozen one."""

    @nn.compact
    def __call__(self, x, train):
        shared = jbn.linen.BatchNorm(use_running_average=not train, name="shared")
        y = shared(x) + shared(3 * x[:2])[:1]
        return jbn.linen.BatchNorm(use_running_average=True, name="frozen")(y)


def test_a_reused_layer_counts_all_its_inputs_and_a_frozen_one_stays():
    model = Shared()
    variables = model.init(KEY, X, train=True)
    apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    stats = recompute_batch_stats(apply, variables, X, batch_size=22)
    both = np.concatenate([np.asarray(X, np.float64), 3 * np.asarray(X[:2], np.float64)])
    close(stats["shared"], {"mean": both.mean(0), "var": both.var(0)}, 1e-6)
    close(stats["frozen"], variables["batch_stats"]["frozen"], 0)


class Block(nn.Module):
    """As `nn.scan` takes it."""

    train: bool

    @nn.compact
    def __call__(self, x, _):
        x = nn.Dense(4)(x)
        return jbn.linen.BatchNorm(use_running_average=not self.train, momentum=0.0)(x), None


@pytest.mark.parametrize("remat", [False, True])
def test_layers_in_a_scan_have_their_own_statistics(remat):
    stack = nn.scan(
        nn.remat(Block) if remat else Block,
        variable_axes={"params": 0, "batch_stats": 0},
        split_rngs={"params": True},
        length=3,
    )
    model = stack(train=True)
    variables = model.init(KEY, X, None)

    def apply(variables, batch):
        return model.apply(variables, batch, None, mutable=["batch_stats"])

    _, updates = apply(variables, X)
    stats = recompute_batch_stats(apply, variables, X, batch_size=22)
    assert stats["BatchNorm_0"]["mean"].shape == (3, 4)
    close(stats, updates["batch_stats"])


def test_batches_over_devices_are_whole():
    mesh = Mesh(np.array(jax.devices()[:4]), "data")
    model = Network(jbn.linen.BatchNorm)
    x = X[:20]
    variables = model.init(KEY, x, train=True)
    recompute = jax.jit(lambda v, x: recompute_batch_stats(training(model), v, x, batch_size=10))
    sharded = jax.device_put(x, NamedSharding(mesh, P("data")))
    close(recompute(variables, sharded), recompute(variables, x))


class NNXNetwork(nnx.Module):
    def __init__(self, norm, rngs):
        self.dense_5, self.dense_3 = nnx.Linear(4, 5, rngs=rngs), nnx.Linear(5, 3, rngs=rngs)
        self.norm_5, self.norm_3 = norm(5, rngs=rngs), norm(3, rngs=rngs)

    def __call__(self, x):
        x = self.norm_5(3 + self.dense_5(x))
        return self.norm_3(3 + self.dense_3(x))


@pytest.mark.parametrize("norm", [jbn.nnx.BatchNorm, nnx.BatchNorm])
def test_an_nnx_model_is_measured_likewise_and_left_as_it_is(norm):
    model = NNXNetwork(functools.partial(norm, use_fast_variance=False), nnx.Rngs(0))
    model.train()
    before = nnx.to_pure_dict(nnx.state(model))
    recompute = nnx.jit(functools.partial(recompute_nnx_batch_stats, batch_size=6))
    stats = recompute(model, X)
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(model)), before)
    nnx.update(model, stats)
    tolerance = 1e-6 if norm is jbn.nnx.BatchNorm else 1e-4
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    close(nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)), exact(params, X), tolerance)


def test_what_can_not_be_measured_is_named():
    model = Network(jbn.linen.BatchNorm)
    variables = model.init(KEY, X, train=True)
    with pytest.raises(ValueError, match="batch_size: found 0, wanted at least 1"):
        recompute_batch_stats(training(model), variables, X, batch_size=0)
    with pytest.raises(ValueError, match=r"x: found shapes \[\(22, 4\), \(21,\)\]"):
        recompute_batch_stats(training(model), variables, (X, jnp.zeros(21)), batch_size=5)
    for empty in (X[:0], jnp.ones(()), ()):
        with pytest.raises(ValueError, match="at least one, along the first axis"):
            recompute_batch_stats(training(model), variables, empty, batch_size=5)

    def evaluate(variables, x):
        return model.apply(variables, x, train=False, mutable=["batch_stats"])

    with pytest.raises(ValueError, match="found no batch normalization that takes its batch's"):
        recompute_batch_stats(evaluate, variables, X, batch_size=5)
    network = NNXNetwork(jbn.nnx.BatchNorm, nnx.Rngs(0))
    network.eval()
    with pytest.raises(ValueError, match="found no batch normalization that takes its batch's"):
        recompute_nnx_batch_stats(network, X, batch_size=5)
