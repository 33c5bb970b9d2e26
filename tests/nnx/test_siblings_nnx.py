"""The NNX modules of batch norm's siblings, inputs and weights have the numbers of Linen's.

Under NNX's transformations they are in test_transforms_nnx.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from held import variables
from problems import same

import jbn
import jbn.linen
import jbn.nnx
from jbn.variables import recompute_nnx_batch_stats

X = 2 + 3 * jnp.asarray(np.random.default_rng(0).normal(size=(8, 5, 4)), jnp.float32)
MASK = 3 * jnp.asarray(np.random.default_rng(1).random((8, 5, 4)) < 0.6, jnp.float32)
KEY = jax.random.key(0)
LIMITS = functools.partial(jbn.renorm_limits, num_plain_steps=0, num_r_steps=3, num_d_steps=3)
# Arguments of the layer and of its call.
SIBLINGS = {
    "GhostBatchNorm": ({"virtual_batch_size": 2}, {}),
    "BatchRenorm": ({"limits": LIMITS}, {}),
    "DomainBatchNorm": ({"num_domains": 3}, {"domain": 1}),
}
every_sibling = pytest.mark.parametrize("kind", SIBLINGS)


def make(kind, num_features=4, **arguments):
    arguments = {**SIBLINGS[kind][0], **arguments}
    return getattr(jbn.nnx, kind)(num_features, **arguments, rngs=nnx.Rngs(0))


def pure(layer, kind):
    return nnx.to_pure_dict(nnx.state(layer, kind))


@every_sibling
@pytest.mark.parametrize(
    ("num_features", "arguments", "masked"),
    [(5, {"axis": 1, "epsilon": 0.1}, True), (4, {"dtype": jnp.bfloat16}, False)],
    ids=["arguments and a mask", "bfloat16 result"],
)
def test_training_and_evaluation_are_linens(kind, num_features, arguments, masked):
    own, call = SIBLINGS[kind]
    call = {**call, **({"mask": MASK} if masked else {})}
    scaled = {"momentum": 0.5, "scale_init": nnx.initializers.normal(1.0)}
    layer = make(kind, num_features, **arguments, **scaled)
    linen = getattr(jbn.linen, kind)(**own, **arguments, momentum=0.5)
    step = nnx.jit(lambda layer, x: layer(x, **call))

    @functools.partial(jax.jit, static_argnames="use_running_average")
    def linen_step(variables, x, use_running_average):
        options = {"use_running_average": use_running_average, "mutable": ["batch_stats"]}
        return linen.apply(variables, x, **options, **call)

    tolerance = 2**-7 if "dtype" in arguments else 2e-6
    linen_variables = {
        "params": pure(layer, nnx.Param),
        "batch_stats": jax.tree.map(jnp.array, pure(layer, nnx.BatchStat)),
    }
    for n in range(3):
        x = X * (n + 1) - n
        wanted, updates = linen_step(linen_variables, x, False)
        linen_variables.update(updates)
        same(step(layer, x), wanted, tolerance)
        same(pure(layer, nnx.BatchStat), updates["batch_stats"], 2e-6)
    layer.eval()
    same(step(layer, X), linen_step(linen_variables, X, True)[0], tolerance)
    same(pure(layer, nnx.BatchStat), updates["batch_stats"], 2e-6)


@every_sibling
def test_variables_are_those_of_batch_norm_and_its_own(kind):
    arguments = {"param_dtype": jnp.bfloat16, "axis_name": "batch"}  # an axis that nothing maps
    layer = make(kind, **arguments, scale_metadata={"tag": "gamma"})
    wanted = variables(jbn.nnx.BatchNorm(4, **arguments, rngs=nnx.Rngs(0)))
    if kind == "BatchRenorm":
        wanted["step"] = (nnx.BatchStat, (), jnp.int32)
    if kind == "DomainBatchNorm":
        wanted |= dict.fromkeys(("mean", "var"), (nnx.BatchStat, (3, 4), jnp.float32))
    assert variables(layer) == wanted
    assert layer.scale.get_metadata()["tag"] == "gamma"
    assert isinstance(layer, nnx.BatchNorm) == (kind != "DomainBatchNorm")


@every_sibling
def test_no_choice_is_an_error_that_says_so(kind):
    with pytest.raises(ValueError, match="use_running_average: found none"):
        make(kind, use_running_average=None)(X, **SIBLINGS[kind][1])


@every_sibling
def test_derivatives_reach_parameters_and_not_the_statistics(kind):
    layer = make(kind)

    @nnx.jit
    @nnx.grad
    def gradient(layer):
        return jnp.sum(jnp.sin(layer(X, **SIBLINGS[kind][1])))

    grads = gradient(layer)
    assert set(grads) == {"scale", "bias"}
    assert all(jnp.any(g[...] != 0) for g in grads.values())
    assert jnp.any(layer.mean[...] != 0)


@pytest.mark.parametrize("kind", ["GhostBatchNorm", "BatchRenorm"])
def test_statistics_recomputed_are_those_of_all_data(kind):
    layer = make(kind)
    nnx.update(layer, recompute_nnx_batch_stats(layer, X, batch_size=4))
    same(layer.mean[...], X.mean((0, 1)), 1e-5)
    same(layer.var[...], X.var((0, 1)), 1e-5)
    assert kind != "BatchRenorm" or layer.step[...] == 0


@pytest.mark.parametrize(
    ("make_and_call", "error", "message"),
    [
        (
            lambda: make("GhostBatchNorm", virtual_batch_size=3)(X),
            ValueError,
            "virtual_batch_size: found 3, wanted a divisor",
        ),
        (
            lambda: make("BatchRenorm", limits=jbn.RenormLimits(3.0, 5.0))(X),
            TypeError,
            "limits: found RenormLimits.*, wanted a function",
        ),
        (
            lambda: make("DomainBatchNorm", num_domains=0),
            ValueError,
            "num_domains: found 0, wanted at least 1",
        ),
        (lambda: make("DomainBatchNorm")(X), TypeError, "missing .* argument: 'domain'"),
        (lambda: make("DomainBatchNorm")(X, True), TypeError, "domain: found True, wanted one"),
        (lambda: make("DomainBatchNorm")(X, 3), ValueError, "domain: found 3, wanted one from 0"),
    ],
    ids=["group", "limits", "domains", "no domain", "bool domain", "large domain"],
)
def test_what_is_wrong_is_said_in_words(make_and_call, error, message):
    with pytest.raises(error, match=message):
        make_and_call()


# Inputs


@pytest.mark.parametrize(
    ("num_features", "axis"), [(4, -1), ((8, 5), (0, 1)), ((), ())], ids=["one", "two", "none"]
)
def test_inputs_are_linens(num_features, axis):
    layer = jbn.nnx.InputNorm(num_features, axis=axis)
    linen = jbn.linen.InputNorm(axis=axis)
    linen_variables = jax.jit(linen.init)(KEY, X)
    step = nnx.jit(lambda layer, x: layer(x, update_stats=True, mask=MASK))
    linen_step = jax.jit(
        functools.partial(linen.apply, update_stats=True, mask=MASK, mutable=["input_stats"])
    )
    same(pure(layer, jbn.nnx.InputStat), linen_variables["input_stats"], 0)
    for n in range(3):
        x = X * (n + 1) - n
        wanted, linen_variables = linen_step(linen_variables, x)
        same(step(layer, x), wanted, 2e-6)
        same(pure(layer, jbn.nnx.InputStat), linen_variables["input_stats"], 2e-6)
    same(nnx.jit(lambda layer, x: layer(x))(layer, X), linen.apply(linen_variables, X), 2e-6)
    assert pure(layer, (nnx.Param, nnx.BatchStat)) == {}


def test_inputs_are_counted_over_a_mapped_axis_and_under_a_mask():
    def shard(x, mask):
        layer = jbn.nnx.InputNorm(4, axis_name="batch")
        return layer(x, update_stats=True, mask=mask), pure(layer, jbn.nnx.InputStat)

    y, stats = jax.jit(jax.vmap(shard, axis_name="batch"))(X, MASK)
    whole = jbn.nnx.InputNorm(4)
    same(y, whole(X, update_stats=True, mask=MASK), 2e-6)
    same(jax.tree.map(lambda v: v[0], stats), pure(whole, jbn.nnx.InputStat), 2e-6)


def test_no_gradient_goes_through_the_statistics_of_inputs():
    layer = jbn.nnx.InputNorm(4)
    layer(X, update_stats=True)

    @functools.partial(nnx.grad, argnums=1)
    def gradient(layer, x):
        return jnp.sum(layer(x, update_stats=True) ** 2)

    grads = gradient(layer, X)  # of the same data once more the statistics stay
    np.testing.assert_allclose(grads, 2 * layer(X) / jnp.sqrt(X.var((0, 1))), rtol=1e-4, atol=1e-4)
    assert layer.count[0] == 2 * 8 * 5  # type: ignore[attr-defined]  # set by name


# Weights

WEIGHTED = {
    "Linear": ((4, 6), "Dense", {"features": 6}),
    "Conv": ((4, 6, 3), "Conv", {"features": 6, "kernel_size": (3,)}),
}


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize(("use_gain", "use_bias"), [(True, True), (False, False)])
def test_weights_are_linens_and_gradients_too(kind, use_gain, use_bias):
    sizes, name, linen_sizes = WEIGHTED[kind]
    common = {"use_gain": use_gain, "use_bias": use_bias, "epsilon": 0.1}
    layer = getattr(jbn.nnx, f"WeightStandardized{kind}")(*sizes, **common, rngs=nnx.Rngs(0))
    flax = getattr(nnx, kind)(*sizes, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer.kernel[...], flax.kernel[...])  # raw, as Flax makes it
    if use_gain:
        layer.gain[...] = jnp.arange(1.0, 7.0)
    linen = getattr(jbn.linen, f"WeightStandardized{name}")(**linen_sizes, **common)
    names = {"kernel"} | ({"gain"} if use_gain else set()) | ({"bias"} if use_bias else set())
    params = pure(layer, nnx.Param)
    assert set(params) == names

    @nnx.jit
    @nnx.value_and_grad
    def ours(layer):
        return jnp.sum(jnp.sin(layer(X)))

    @jax.jit
    @jax.value_and_grad
    def wanted(params):
        return jnp.sum(jnp.sin(linen.apply({"params": params}, X)))

    value, grads = ours(layer)
    same((value, nnx.to_pure_dict(grads)), wanted(params), 1e-5)
    assert jnp.all(jnp.any(grads["kernel"][...] != 0, tuple(range(len(sizes) - 1))))
    assert isinstance(layer, type(flax))


def test_weights_that_a_convolution_masks_have_no_part_in_the_others():
    mask = jnp.asarray([1, 1, 0], jnp.float32)[:, None, None] * jnp.ones((3, 4, 6))
    layer = jbn.nnx.WeightStandardizedConv(4, 6, 3, mask=mask, padding="VALID", rngs=nnx.Rngs(0))
    linen = jbn.linen.WeightStandardizedConv(6, (3,), mask=mask, padding="VALID")
    wanted = linen.apply({"params": pure(layer, nnx.Param)}, X)
    same(layer(X), wanted, 1e-5)
    assert isinstance(linen, nn.Conv)
