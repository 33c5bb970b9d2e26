"""What JAX can check as it goes: tracers that leak, NaN, and float64 where float32 was meant."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from norms import NORMS, STATEFUL_NORMS

import jbn
import jbn.linen
import jbn.nnx
from jbn.config import ArmConfig, DataConfig, ModelConfig, NormConfig, TrainConfig
from jbn.data import load
from jbn.diagnose import norm_report
from jbn.train import Hypers, make_task, run_training
from jbn.variables import fold_batch_norm, recompute_batch_stats

X = np.random.default_rng(0).normal(3, 2, (8, 4)).astype(np.float32)
IMAGES = np.random.default_rng(1).normal(3, 2, (4, 5, 4)).astype(np.float32)
TRAINING = {"use_running_average": False}
# By the name: what the module takes, and what its call takes.
LAYERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "BatchNorm": (TRAINING, {}),
    "BatchRenorm": (TRAINING, {}),
    "GhostBatchNorm": ({"virtual_batch_size": 2, **TRAINING}, {}),
    "DomainBatchNorm": ({"num_domains": 3, **TRAINING}, {"domain": 1}),
    "FrozenBatchNorm": (TRAINING, {}),
    "InputNorm": ({}, {"update_stats": True}),
    "LayerNorm": ({}, {}),
    "RMSNorm": ({}, {}),
    "GroupNorm": ({"num_groups": 2}, {}),
    "InstanceNorm": ({}, {}),
    "WeightStandardizedDense": ({"features": 3}, {}),
    "WeightStandardizedConv": ({"features": 3, "kernel_size": (3,)}, {}),
}


@pytest.fixture
def checking_leaks():
    """Whatever was traced before is traced again: else nobody looks."""
    jax.clear_caches()
    with jax.checking_leaks():
        yield


def of_transforms(function, x):
    """jit of grad of a scan of vmap: each traces within the others."""

    def loss(x):
        def step(carry, row):
            return carry + function(row).astype(x.dtype).sum(), None

        return jax.lax.scan(step, jnp.zeros((), x.dtype), jnp.stack([x, 2 * x]))[0]

    return jax.jit(jax.grad(loss))(x), jax.jit(jax.vmap(function))(jnp.stack([x, 2 * x]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMS)
def test_no_norm_leaks(checking_leaks, name):
    found = of_transforms(lambda x: NORMS[name].eager(x, None, None), jnp.asarray(X))
    assert all(np.isfinite(leaf).all() for leaf in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_no_linen_module_leaks(checking_leaks, name):
    options, of_call = LAYERS[name]
    layer = getattr(jbn.linen, name)(**options)
    variables = jax.jit(functools.partial(layer.init, **of_call))(jax.random.key(0), IMAGES)
    others = [collection for collection in variables if collection != "params"]

    def function(x):
        return layer.apply(variables, x, mutable=others, **of_call)[0]

    found = of_transforms(function, jnp.asarray(IMAGES))
    assert all(np.isfinite(leaf).all() for leaf in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_no_nnx_module_leaks(checking_leaks, name):
    options, of_call = LAYERS[name]
    make = getattr(jbn.nnx, name.replace("Dense", "Linear"))
    sizes = (4, options["features"]) if "features" in options else (4,)
    options = {key: value for key, value in options.items() if key != "features"}
    if name != "InputNorm":  # which draws nothing
        options["rngs"] = nnx.Rngs(0)
    definition, state = nnx.split(make(*sizes, **options))

    def function(x):
        return nnx.merge(definition, state, copy=True)(x, **of_call)

    found = of_transforms(function, jnp.asarray(IMAGES))
    assert all(np.isfinite(leaf).all() for leaf in found)


def test_the_table_has_every_module():
    for module, of_flax in ((jbn.linen, "Dense"), (jbn.nnx, "Linear")):
        public = {name for name in dir(module) if isinstance(getattr(module, name), type)}
        names = {name.replace("Dense", of_flax) for name in LAYERS}
        assert names == public - {"InputStat"}  # a kind of variable


def small_task(**options):
    config = ArmConfig(
        data=DataConfig(name="wine"),
        model=ModelConfig(hidden_sizes=(4,)),
        norm=NormConfig(**options),
        train=TrainConfig(num_epochs=2, batch_size=16),
    )
    dataset = load(config.data)
    spec = dataset.spec._replace(input_stats=dataset.input_stats)
    examples = jax.tree.map(jnp.asarray, (dataset.train, dataset.val))
    return make_task(config, spec), examples, Hypers.of(config)


def train(**options):
    task, examples, hypers = small_task(**options)
    return jax.jit(lambda key, *of: run_training(task, key, *of))(
        jax.random.key(0), *examples, hypers
    )


def test_no_training_leaks(checking_leaks):
    _, metrics = train()
    assert np.isfinite(metrics.train["loss"]).all()


def test_what_reads_a_network_does_not_leak(checking_leaks):
    dense, norm = nn.Dense(3), jbn.linen.BatchNorm()

    def apply(variables, x, train):
        x = dense.apply({"params": variables["params"]["dense"]}, x)
        of_norm = {name: of["norm"] for name, of in variables.items()}
        options = {"use_running_average": not train, "mutable": ["batch_stats"]}
        y, new = norm.apply(of_norm, x, **options)
        return y, {"batch_stats": {"norm": new["batch_stats"]}}

    x = jnp.asarray(X)
    of_dense = dense.init(jax.random.key(0), x)
    of_norm = norm.init(jax.random.key(0), dense.apply(of_dense, x), use_running_average=True)
    variables = {
        "params": {"dense": of_dense["params"], "norm": of_norm["params"]},
        "batch_stats": {"norm": of_norm["batch_stats"]},
    }
    training = functools.partial(apply, train=True)
    stats = recompute_batch_stats(training, variables, x, batch_size=4)
    close = jax.tree.leaves(stats)[0]
    np.testing.assert_allclose(close, dense.apply(of_dense, x).mean(0), 1e-5)

    model = nn.Sequential([nn.Dense(3), jbn.linen.BatchNorm(use_running_average=True)])
    plain = nn.Sequential([nn.Dense(3)])
    whole = model.init(jax.random.key(1), x)
    assert fold_batch_norm(model.apply, plain.apply, whole, x).largest_difference < 1e-5

    def observed(variables, x, train):
        return norm.apply(variables, x, use_running_average=not train, mutable=["batch_stats"])

    report = norm_report(observed, of_norm, dense.apply(of_dense, x), batch_size=4)
    assert np.isfinite(report.output_gap)


def test_a_leak_would_be_found(checking_leaks):
    kept = []
    with pytest.raises(Exception, match="Leaked"):
        jax.jit(lambda x: kept.append(x + 1))(X)


def test_a_healthy_training_makes_no_nan():
    with jax.debug_nans(True), jax.debug_infs(True):
        for kind in ("batch", "ghost", "renorm", "layer"):
            options = {"virtual_batch_size": 8} if kind == "ghost" else {}
            _, metrics = train(kind=kind, **options)
            assert np.isfinite(metrics.train["loss"]).all()


@pytest.mark.parametrize("name", NORMS)
def test_float32_stays_float32_where_x64_is_on(name):
    def y_and_gradient(x):
        y, back = jax.vjp(lambda x: NORMS[name].eager(x, None, None), x)
        return y, *back(y * y)

    wanted = jax.jit(y_and_gradient)(jnp.asarray(X))
    with jax.enable_x64(True):
        found = jax.jit(y_and_gradient)(jnp.asarray(X))
        double = jax.jit(y_and_gradient)(jnp.asarray(X, jnp.float64))
    for a, b, c in zip(found, wanted, double, strict=True):
        assert (a.dtype, c.dtype) == (jnp.float32, jnp.float64)
        np.testing.assert_allclose(a, b, 2e-5, 2e-5)
        np.testing.assert_allclose(a, c, 2e-5, 2e-5)


@pytest.mark.parametrize("name", STATEFUL_NORMS)
def test_statistics_of_float32_are_float32_where_x64_is_on(name):
    def stats_of(x, dtype):
        stats = jbn.init_batch_stats(4, dtype)
        return STATEFUL_NORMS[name](x, stats, use_running_average=False)[1]

    wanted = stats_of(jnp.asarray(X), jnp.float32)
    with jax.enable_x64(True):
        found = stats_of(jnp.asarray(X), jnp.float32)
        double = stats_of(jnp.asarray(X, jnp.float64), jnp.float64)
    for a, b, c in zip(found, wanted, double, strict=True):
        assert (a.dtype, c.dtype) == (jnp.float32, jnp.float64)
        np.testing.assert_allclose(a, b, 1e-6)
        np.testing.assert_allclose(a, c, 1e-6)
