"""The Linen modules of batch norm's siblings, inputs and weights: their functions, with variables.

Under Flax's transformations they are in test_transforms_linen.py.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from problems import same

import jbn
import jbn.linen
from jbn.variables import recompute_batch_stats

X = 2 + 3 * jnp.asarray(np.random.default_rng(0).normal(size=(8, 5, 4)), jnp.float32)
MASK = jnp.asarray(np.random.default_rng(1).random((8, 5, 4)) < 0.6)
KEY = jax.random.key(0)
LIMITS = functools.partial(jbn.renorm_limits, num_plain_steps=0, num_r_steps=3, num_d_steps=3)
# Arguments of the layer, of its call, and the function that does the same at a step.
SIBLINGS: dict[str, Any] = {
    "GhostBatchNorm": (
        {"virtual_batch_size": 2},
        {},
        lambda step: functools.partial(jbn.ghost_batch_norm, virtual_batch_size=2),
    ),
    "BatchRenorm": (
        {"limits": LIMITS},
        {},
        lambda step: functools.partial(jbn.batch_renorm, limits=LIMITS(step)),
    ),
    "DomainBatchNorm": (
        {"num_domains": 3},
        {"domain": 1},
        lambda step: functools.partial(jbn.domain_batch_norm, domain=1),
    ),
}
every_sibling = pytest.mark.parametrize("kind", SIBLINGS)


def make(kind, **arguments):
    return getattr(jbn.linen, kind)(**SIBLINGS[kind][0], **arguments)


def init(kind, layer, x=X, **options):
    options = {"use_running_average": False, **SIBLINGS[kind][1], **options}
    return jax.jit(functools.partial(layer.init, **options))(KEY, x)


def leaves(variables):
    """Path -> shape and dtype of each variable."""
    flat = jax.tree_util.tree_leaves_with_path(variables)
    return {
        jax.tree_util.keystr(p, simple=True, separator="/"): (v.shape, v.dtype) for p, v in flat
    }


CASES = {
    "defaults": ({}, {}),
    "arguments and a mask": ({"axis": 1, "momentum": 0.5, "epsilon": 0.1}, {"mask": MASK}),
    "bfloat16 result": ({"dtype": jnp.bfloat16, "momentum": 0.5}, {}),
}


@every_sibling
@pytest.mark.parametrize("case", CASES)
def test_training_and_evaluation_are_the_functions_by_hand(kind, case):
    arguments, given = CASES[case]
    _, call, function = SIBLINGS[kind]
    initializers = {n: nn.initializers.normal(1.0) for n in ("scale_init", "bias_init")}
    layer = make(kind, **arguments, **initializers)
    variables = init(kind, layer)
    params, stats = (
        variables["params"],
        jbn.BatchStats(variables["batch_stats"]["mean"], variables["batch_stats"]["var"]),
    )
    counts_twice = {name: 2.0 * value for name, value in given.items()}  # once all the same

    @functools.partial(jax.jit, static_argnames="use_running_average")
    def apply(variables, x, use_running_average):
        return layer.apply(
            variables,
            x,
            use_running_average=use_running_average,
            mutable=["batch_stats"],
            **call,
            **counts_twice,
        )

    @functools.partial(jax.jit, static_argnames="use_running_average")
    def by_hand(stats, step, x, use_running_average):
        options = {**arguments, **given, "use_running_average": use_running_average}
        return function(step)(x, stats, scale=params["scale"], bias=params["bias"], **options)

    for step in range(3):
        x = X * (step + 1) - step
        y, updates = apply(variables, x, False)
        variables = {**variables, **updates}
        wanted, stats = by_hand(stats, step, x, False)
        same(y, wanted, 2**-7 if "bfloat16" in case else 2e-6)
    moved = {name: variables["batch_stats"][name] for name in ("mean", "var")}
    same(moved, stats._asdict(), 1e-6)
    if kind == "BatchRenorm":
        assert variables["batch_stats"]["step"] == 3
    y, updates = apply(variables, X, True)
    same(updates, {"batch_stats": variables["batch_stats"]}, 0)
    same(y, by_hand(stats, 3, X, True)[0], 2**-7 if "bfloat16" in case else 2e-6)


@every_sibling
def test_variables_are_those_of_batch_norm_and_its_own(kind):
    layer = make(kind, param_dtype=jnp.bfloat16, axis_name="batch")  # an axis that nothing maps
    variables = init(kind, layer)
    rows = (3,) if kind == "DomainBatchNorm" else ()
    wanted = {
        "params/scale": ((4,), jnp.bfloat16),
        "params/bias": ((4,), jnp.bfloat16),
        "batch_stats/mean": ((*rows, 4), jnp.float32),
        "batch_stats/var": ((*rows, 4), jnp.float32),
    }
    if kind == "BatchRenorm":
        wanted["batch_stats/step"] = ((), jnp.int32)
    assert leaves(variables) == wanted
    stats = variables["batch_stats"]
    assert not jnp.any(stats["mean"])
    assert jnp.all(stats["var"] == 1)
    assert stats.get("step", 0) == 0


@every_sibling
def test_init_takes_one_example(kind):
    layer = make(kind)
    assert leaves(init(kind, layer, X[:1, 0])) == leaves(init(kind, layer))


@every_sibling
def test_arguments_are_those_of_batch_norm_and_its_own(kind):
    def described(layer):
        return {f.name: f.default for f in dataclasses.fields(layer)}

    wanted = described(jbn.linen.BatchNorm)
    if kind == "DomainBatchNorm":
        del wanted["use_fast_variance"]
    (own,) = SIBLINGS[kind][0]
    ours = described(getattr(jbn.linen, kind))
    assert {name: default for name, default in ours.items() if name != own} == wanted


@every_sibling
def test_a_mapped_axis_is_the_whole_batch(kind):
    """Ghost norm's groups are spread over it: one example of each group on each shard."""
    layer = make(kind, axis_name="batch", momentum=0.5)
    variables = init(kind, layer)
    size = SIBLINGS["GhostBatchNorm"][0]["virtual_batch_size"]
    parts = jnp.stack([X[n::4] for n in range(4)])  # (shards, 2, 5, 4)

    def shard(x):
        return layer.apply(
            variables, x, use_running_average=False, mutable=True, **SIBLINGS[kind][1]
        )

    y, updated = jax.jit(jax.vmap(shard, axis_name="batch"))(parts)
    whole = make(kind, momentum=0.5)
    if kind == "GhostBatchNorm":
        whole = jbn.linen.GhostBatchNorm(virtual_batch_size=4 * size, momentum=0.5)
    apply = functools.partial(whole.apply, use_running_average=False, mutable=True)
    wanted, updates = jax.jit(functools.partial(apply, **SIBLINGS[kind][1]))(variables, X)
    same(y, jnp.stack([wanted[n::4] for n in range(4)]), 2e-6)
    for n in (0, 3):
        same(jax.tree.map(lambda v, n=n: v[n], updated), updates, 2e-6)


@every_sibling
def test_partitioning_metadata_is_kept(kind):
    layer = make(kind, scale_init=nn.with_partitioning(nn.initializers.ones, ("model",)))
    variables = layer.init(KEY, X, use_running_average=False, **SIBLINGS[kind][1])
    assert nn.get_partition_spec(variables)["params"]["scale"] == P("model")
    y = layer.apply(variables, X, use_running_average=True, **SIBLINGS[kind][1])
    assert y.shape == X.shape


@pytest.mark.parametrize("kind", ["GhostBatchNorm", "BatchRenorm"])
def test_statistics_recomputed_are_those_of_all_data(kind):
    layer = make(kind, use_running_average=False)
    assert isinstance(layer, nn.BatchNorm)
    variables = init(kind, layer, use_running_average=None)
    apply = functools.partial(layer.apply, mutable=["batch_stats"])
    stats = recompute_batch_stats(apply, variables, X, batch_size=4)
    wanted = {"mean": X.mean((0, 1)), "var": X.var((0, 1))}
    if kind == "BatchRenorm":
        wanted["step"] = jnp.int32(0)
    same(stats, wanted, 1e-5)


def test_statistics_of_domains_are_not_taken_for_those_of_all_data():
    layer = make("DomainBatchNorm", use_running_average=False)
    variables = init("DomainBatchNorm", layer, use_running_average=None)
    apply = functools.partial(layer.apply, domain=0, mutable=["batch_stats"])
    with pytest.raises(ValueError, match="found no batch normalization"):
        recompute_batch_stats(apply, variables, X, batch_size=4)


def test_a_domain_may_be_traced_and_moves_its_row_alone():
    layer = make("DomainBatchNorm", use_running_average=False)
    variables = init("DomainBatchNorm", layer, use_running_average=None)

    @jax.jit
    def moved_by(domain):
        _, updates = layer.apply(variables, X, domain, mutable=["batch_stats"])
        return updates["batch_stats"]["mean"]

    for domain in range(3):
        assert np.flatnonzero(np.any(np.asarray(moved_by(domain)) != 0, 1)).tolist() == [domain]


@pytest.mark.parametrize(
    ("layer", "call", "error", "message"),
    [
        (("GhostBatchNorm", 3), {}, ValueError, "virtual_batch_size: found 3, wanted a divisor"),
        (("GhostBatchNorm", 0), {}, ValueError, "virtual_batch_size: found 0, wanted a divisor"),
        (
            ("BatchRenorm", jbn.RenormLimits(3.0, 5.0)),
            {},
            TypeError,
            r"limits: found RenormLimits\(.*, wanted a function",
        ),
        (("DomainBatchNorm", 0), {"domain": 0}, ValueError, "num_domains: found 0, wanted at lea"),
        (("DomainBatchNorm", 2), {}, TypeError, "missing .* argument: 'domain'"),
        (("DomainBatchNorm", 2), {"domain": None}, TypeError, "domain: found None, wanted one int"),
        (("DomainBatchNorm", 2), {"domain": False}, TypeError, "domain: found False, wanted one"),
        (("DomainBatchNorm", 2), {"domain": 1.0}, TypeError, "domain: found 1.0, wanted one int"),
        (("DomainBatchNorm", 3), {"domain": 3}, ValueError, "domain: found 3, wanted one from 0"),
        (
            ("DomainBatchNorm", 2),
            {"domain": jnp.zeros(8, int)},
            ValueError,
            r"domain: found shape \(8,\), wanted one integer",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_words(layer, call, error, message):
    kind, value = layer
    (own,) = SIBLINGS[kind][0]
    layer = getattr(jbn.linen, kind)(**{own: value}, use_running_average=False)
    variables = init(kind, make(kind))
    with pytest.raises(error, match=message):
        layer.apply(variables, X, **call, mutable=["batch_stats"])


# Inputs


def adapted(layer, batches, **options):
    """The variables after so many batches."""

    @jax.jit
    def adapt(variables, batch):
        _, updates = layer.apply(
            variables, batch, update_stats=True, mutable=["input_stats"], **options
        )
        return updates

    return functools.reduce(adapt, batches, jax.jit(layer.init)(KEY, batches[0]))


@pytest.mark.parametrize("axis", [-1, (0, 1), ()], ids=str)
def test_inputs_are_standardized_by_the_stream_so_far(axis):
    layer = jbn.linen.InputNorm(axis=axis)
    variables = jax.jit(layer.init)(KEY, X)
    features = variables["input_stats"]["mean"].shape
    stats = jbn.init_input_stats(features)

    @functools.partial(jax.jit, static_argnames="update_stats")
    def apply(variables, x, update_stats):
        return layer.apply(variables, x, update_stats=update_stats, mutable=["input_stats"])

    @functools.partial(jax.jit, static_argnames="update_stats")
    def by_hand(stats, x, update_stats):
        stats = jbn.update_input_stats(stats, x, axis=axis) if update_stats else stats
        return jbn.standardize(x, stats, axis=axis), stats

    for step, update_stats in enumerate([True, True, True, False]):
        x = X * (step + 1) - step
        y, variables = apply(variables, x, update_stats)
        wanted, stats = by_hand(stats, x, update_stats)
        same(y, wanted, 1e-6)
    names = ("count", "mean", "std", "min", "max")
    kept = {f"input_stats/{name}": (features, jnp.float32) for name in names}
    kept["input_stats/num_nonfinite"] = (features, jnp.int32)
    left = {f"input_stats/{name}_remainder": (features, jnp.float32) for name in names[:3]}
    assert leaves(variables) == {**kept, **left}
    for name in names:
        same(variables["input_stats"][name], getattr(stats, name), 0)
    for name in names[:3]:
        left = getattr(stats.remainders, name)
        same(variables["input_stats"][f"{name}_remainder"], left, 1e-6)


def test_inputs_are_those_of_keras_after_adapt():
    theirs = keras.layers.Normalization()
    theirs.adapt(np.asarray(X))
    layer = jbn.linen.InputNorm()
    y = layer.apply(adapted(layer, [X[:3], X[3:]]), X)
    np.testing.assert_allclose(y, theirs(X), rtol=1e-5, atol=1e-5)


def test_inputs_stay_as_they_are_in_init_and_before_any_data():
    layer = jbn.linen.InputNorm(axis_name="batch")  # an axis that nothing maps
    y, variables = layer.init_with_output(KEY, X, update_stats=True)
    np.testing.assert_array_equal(y, X)
    assert not jnp.any(variables["input_stats"]["count"])
    pointers = {v.unsafe_buffer_pointer() for v in jax.tree.leaves(variables)}
    assert len(pointers) == 9  # none is another, so that all can be donated


def test_inputs_are_counted_over_a_mapped_axis_and_under_a_mask():
    layer, whole = jbn.linen.InputNorm(axis_name="batch"), jbn.linen.InputNorm()
    variables = whole.init(KEY, X)

    def shard(x, mask):
        return layer.apply(variables, x, update_stats=True, mask=3 * mask, mutable=["input_stats"])

    y, updates = jax.jit(jax.vmap(shard, axis_name="batch"))(X, MASK)
    wanted = adapted(whole, [X], mask=MASK)
    same(jax.tree.map(lambda v: v[0], updates), wanted, 2e-6)
    same(y, whole.apply(wanted, X), 2e-6)


@pytest.mark.parametrize("dtype", [None, jnp.float32])
@pytest.mark.parametrize("x_dtype", [jnp.uint8, jnp.bfloat16])
def test_inputs_of_any_dtype_are_rounded_once(x_dtype, dtype):
    x = jnp.abs(10 * X).astype(x_dtype)
    layer, exact = jbn.linen.InputNorm(dtype=dtype), jbn.linen.InputNorm()
    y = layer.apply(adapted(layer, [x]), x)
    in_float32 = x.astype(jnp.float32)
    wanted = exact.apply(adapted(exact, [in_float32]), in_float32)
    unrounded = x_dtype == jnp.uint8 or dtype == jnp.float32
    same(y, wanted.astype(jnp.float32 if unrounded else x_dtype), 1e-6)


def test_no_gradient_goes_through_the_statistics_of_inputs():
    layer = jbn.linen.InputNorm()
    variables = adapted(layer, [X])

    def total(x, update_stats):
        y, _ = layer.apply(variables, x, update_stats=update_stats, mutable=["input_stats"])
        return jnp.sum(y**2)

    once, twice = (jax.grad(total)(X, update_stats) for update_stats in (False, True))
    same(once, 2 * layer.apply(variables, X) / jnp.sqrt(X.var((0, 1))), 1e-4)
    same(twice, once, 1e-4)  # of the same data once more the statistics stay


# Weights

WEIGHTED = {
    "WeightStandardizedDense": ({"features": 6}, 4),
    "WeightStandardizedConv": ({"features": 6, "kernel_size": (3,)}, 12),
}
every_weighted = pytest.mark.parametrize("kind", WEIGHTED)


def weighted(kind, **arguments):
    return getattr(jbn.linen, kind)(**WEIGHTED[kind][0], **arguments)


def plain(kind, **arguments):
    return getattr(nn, kind.removeprefix("WeightStandardized"))(**WEIGHTED[kind][0], **arguments)


@every_weighted
@pytest.mark.parametrize("use_gain", [True, False])
def test_weights_are_those_of_weight_standardize(kind, use_gain):
    fan_in = WEIGHTED[kind][1]
    arguments = {"bias_init": nn.initializers.normal(1.0), "param_dtype": jnp.float32}
    layer = weighted(kind, **arguments, use_gain=use_gain, epsilon=0.1)
    params = jax.jit(layer.init)(KEY, X)["params"]
    kernel = jax.jit(plain(kind).init)(KEY, X)["params"]["kernel"]
    np.testing.assert_array_equal(params["kernel"], kernel)  # raw, and as Flax makes it
    assert set(params) == {"kernel", "bias"} | ({"gain"} if use_gain else set())
    gain = jnp.ones(6)
    if use_gain:
        np.testing.assert_array_equal(params["gain"], gain)
        gain = params["gain"] = jnp.arange(1.0, 7.0)
    w = jbn.weight_standardize(kernel, gain / fan_in**0.5, epsilon=0.1 / fan_in)
    wanted = plain(kind).apply({"params": {"kernel": w, "bias": params["bias"]}}, X)
    same(layer.apply({"params": params}, X), wanted, 1e-5)
    assert isinstance(layer, type(plain(kind)))


@every_weighted
def test_outputs_keep_the_variance_of_inputs_whatever_the_kernel(kind):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 32, 4)), jnp.float32)
    arguments = {"use_bias": False, "epsilon": 1e-12}
    if kind == "WeightStandardizedConv":
        arguments["padding"] = "VALID"
    layer = weighted(kind, **arguments)
    params = layer.init(KEY, x)["params"]
    y = layer.apply({"params": params}, x)
    np.testing.assert_allclose(y.var((0, 1)), 1, atol=0.1)
    moved = {**params, "kernel": 7 * params["kernel"] + 3}
    np.testing.assert_allclose(layer.apply({"params": moved}, x), y, rtol=1e-4, atol=1e-4)


@every_weighted
def test_gradients_reach_the_raw_kernel_and_leave_its_mean_and_size(kind):
    layer = weighted(kind, epsilon=1e-12)
    params = layer.init(KEY, X)["params"]

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sum(jnp.sin(layer.apply({"params": params}, X)))

    grads = gradient(params)
    axes = tuple(range(grads["kernel"].ndim - 1))
    assert jnp.all(jnp.max(jnp.abs(grads["kernel"]), axes) > 0.1)
    np.testing.assert_allclose(grads["kernel"].sum(axes), 0, atol=1e-3)
    np.testing.assert_allclose((grads["kernel"] * params["kernel"]).sum(axes), 0, atol=1e-3)
    assert jnp.all(grads["gain"] != 0)


def test_weights_that_a_convolution_masks_have_no_part_in_the_others():
    mask = jnp.asarray([1, 1, 0], jnp.float32)[:, None, None] * jnp.ones((3, 4, 6))
    masked = weighted("WeightStandardizedConv", mask=mask, padding="VALID")
    params = masked.init(KEY, X)["params"]
    smaller = jbn.linen.WeightStandardizedConv(6, kernel_size=(2,), padding="VALID")
    wanted = smaller.apply({"params": {**params, "kernel": params["kernel"][:2]}}, X[:, :-1])
    same(masked.apply({"params": params}, X), wanted, 1e-5)


def test_kernels_of_channel_groups_have_their_own_fan_in():
    layer = jbn.linen.WeightStandardizedConv(4, (3,), feature_group_count=4, padding="VALID")
    params = layer.init(KEY, X)["params"]
    w = jbn.weight_standardize(params["kernel"], jnp.full(4, 3**-0.5), epsilon=1e-5 / 3)
    flax = nn.Conv(4, (3,), feature_group_count=4, padding="VALID")
    wanted = flax.apply({"params": {"kernel": w, "bias": params["bias"]}}, X)
    same(layer.apply({"params": params}, X), wanted, 1e-5)


def test_partitioning_metadata_of_a_standardized_kernel_is_kept():
    kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
    layer = jbn.linen.WeightStandardizedDense(6, kernel_init=kernel_init)
    variables = layer.init(KEY, X)
    assert nn.get_partition_spec(variables)["params"]["kernel"] == P(None, "model")
    unboxed = layer.apply(nn.unbox(variables), X)
    np.testing.assert_array_equal(layer.apply(variables, X), unboxed)
