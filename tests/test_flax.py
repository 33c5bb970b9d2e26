"""What Flax's documentation says of its norms holds for jbn's, in Linen and in NNX alike.

In our own words, of `flax.linen` and `flax.nnx` 0.12.8, judged by float64 NumPy or by a law. Here:

- each layer's formula, over the axes of its own; a mask says which positions the statistics are of
  and broadcasts to x
- what a layer holds: names, shapes, first values; initializers get the shape and `param_dtype`
- `use_scale`, `use_bias`; a scale can be left to the next layer, if that is linear or a ReLU
- epsilon keeps a division by zero away
- float64 and complex x stay what they are; `use_fast_variance` (and Linen's
  `force_float32_reductions`, of which jbn keeps the storage alone) choose no other program
- `axis_name`, `axis_index_groups`; a sharded x under `jit` needs neither
- batch norm: momentum, training that moves the statistics each time, evaluation that leaves them
- the others: an example by itself, whatever the batch, and no state
- group norm: 32 groups by default, `group_size`, any number of axes, leading axes that `init`
  didn't see, what it refuses; layer and instance norm at its ends, and as each other

What differs between the two, and what is Flax's layer over again, is in `linen/test_batch.py` and
`linen/test_layer.py`, `nnx/test_nnx_batch.py` and `nnx/test_nnx_layer.py`: arguments and defaults,
dtypes, `axis`, `reduction_axes`, `feature_axes`; that `init` moves nothing and needs no mapped
axis; where `use_running_average` may be given; `mutable`, `TrainState`; `train`, `eval`, `nnx.view`
and `set_attributes`; `promote_dtype` and metadata.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from problems import close, equal, normal, some_mask

import jbn.linen
import jbn.nnx

SHAPE = (4, 4, 2, 8)  # batch, height, width, channels
X = 2 + 3 * normal(*SHAPE)
KINDS = {
    "BatchNorm": {"use_running_average": False, "momentum": 0.75},
    "LayerNorm": {},
    "RMSNorm": {},
    "GroupNorm": {"num_groups": 4},
    "InstanceNorm": {},
}
LIBRARIES = {"linen": jbn.linen, "nnx": jbn.nnx}
LAYERS = [(library, kind) for library in LIBRARIES for kind in KINDS]
HIDDEN = [(library, kind) for library, kind in LAYERS if kind != "BatchNorm"]
every_library = pytest.mark.parametrize("library", LIBRARIES)
every_layer = pytest.mark.parametrize(("library", "kind"), LAYERS)
every_hidden_layer = pytest.mark.parametrize(("library", "kind"), HIDDEN)


def function(library, kind, num_features=8, **arguments):
    """(variables, x, **call) -> (y, variables), which are name -> array in either library."""
    arguments = {**KINDS[kind], **arguments}

    def linen(variables, x, **call):
        params = {name: variables[name] for name in ("scale", "bias") if name in variables}
        stats = {name: variables[name] for name in ("mean", "var") if name in variables}
        layer = getattr(jbn.linen, kind)(**arguments)
        y, updates = layer.apply(
            {"params": params, "batch_stats": stats}, x, **call, mutable=["batch_stats"]
        )
        return y, {**variables, **updates.get("batch_stats", {})}

    def of_nnx(variables, x, **call):
        layer = getattr(jbn.nnx, kind)(num_features, **arguments, rngs=nnx.Rngs(0))
        nnx.update(layer, variables)
        return layer(x, **call), dict(nnx.to_pure_dict(nnx.state(layer)))

    return linen if library == "linen" else of_nnx


@functools.cache
def compiled(library, kind, **arguments):
    return jax.jit(function(library, kind, **arguments))


def some_variables(kind, num_features=8):
    """Of such a layer; numbers that can be told apart."""
    values = {"scale": 1 + normal(num_features, seed=1) / 4, "bias": normal(num_features, seed=2)}
    if kind == "RMSNorm":
        del values["bias"]
    if kind == "BatchNorm":
        values |= {"mean": normal(num_features, seed=3), "var": jnp.exp(normal(num_features))}
    return values


def affine(x_hat, variables):
    scale, bias = (np.asarray(variables.get(name, 0), np.float64) for name in ("scale", "bias"))
    return x_hat * scale + bias


def judged(kind, x, mask=None, num_groups=4, epsilon=None):
    """x normalized in float64 NumPy, before scale and bias; each kind by the axes that stay."""
    x = np.asarray(x)
    mask = np.broadcast_to(True if mask is None else mask, x.shape)
    epsilon = epsilon or (1e-5 if kind == "BatchNorm" else 1e-6)
    channel = x.ndim - 1
    axis = {
        "BatchNorm": channel,
        "InstanceNorm": (0, channel),
        "LayerNorm": tuple(range(channel)),
        "RMSNorm": tuple(range(channel)),
        "GroupNorm": (0, channel),  # of the groups, which are before the channels of each
    }[kind]
    norm = reference.rms_norm if kind == "RMSNorm" else reference.batch_norm
    shape = (*x.shape[:-1], num_groups, -1) if kind == "GroupNorm" else x.shape
    y = norm(x.reshape(shape), mask=mask.reshape(shape), axis=axis, epsilon=epsilon).y
    return y.reshape(x.shape)


# What a layer does


@every_layer
def test_the_formula_is_each_kinds_own_and_masks_broadcast(library, kind):
    variables, mask = some_variables(kind), some_mask("mask", SHAPE)
    # Counted are some positions of each channel, or some channels of each position.
    broadcast = mask[0, 0, 0] if kind in ("LayerNorm", "RMSNorm") else mask[..., :1]
    layer = function(library, kind)
    run = jax.jit(lambda x: [layer(variables, x, mask=m)[0] for m in (None, mask, broadcast)])
    whole, masked, broadcast_to_x = run(X)
    assert whole.shape == masked.shape == SHAPE
    close(whole, affine(judged(kind, X), variables), 2e-6)
    # Positions that the mask hides are normalized with the statistics of the others.
    close(masked, affine(judged(kind, X, mask), variables), 4e-6)
    close(broadcast_to_x, affine(judged(kind, X, broadcast), variables), 4e-6)


@every_hidden_layer
def test_an_example_is_normalized_by_itself_and_nothing_is_kept(library, kind):
    variables = some_variables(kind)
    run = compiled(library, kind)
    y, kept = run(variables, X)
    others_changed, _ = run(variables, X.at[1:].multiply(-3))
    equal(y[0], others_changed[0])
    assert kept.keys() == variables.keys()
    jax.tree.map(equal, dict(kept), variables)


@every_layer
def test_epsilon_keeps_a_division_by_zero_away(library, kind):
    variables = some_variables(kind)
    run = compiled(library, kind)
    for value in (0.0, 3.0, -1e4):
        y, _ = run(variables, jnp.full(SHAPE, value))
        root_mean_square = (value**2 + 1e-6) ** 0.5
        x_hat = value / root_mean_square if kind == "RMSNorm" else 0
        close(y, np.broadcast_to(affine(x_hat, variables), SHAPE))


@every_layer
def test_a_scale_or_bias_can_be_left_out_and_the_scale_left_to_the_next_layer(library, kind):
    """To a linear one, which takes it into its kernel; to ReLU, which a positive scale passes."""
    variables = some_variables(kind)
    left_out = {"use_scale": False} | ({} if kind == "RMSNorm" else {"use_bias": False})
    stats = {name: variables[name] for name in ("mean", "var") if name in variables}
    plain, kept = compiled(library, kind, **left_out)(stats, X)
    assert kept.keys() == stats.keys()
    y, _ = compiled(library, kind)(variables, X)
    plain, y, scale = (np.asarray(v, np.float64) for v in (plain, y, variables["scale"]))
    close(y, affine(plain, variables), 2e-6)
    y -= np.asarray(variables.get("bias", 0))
    kernel = np.asarray(normal(8, 3, seed=4), np.float64)
    close(y @ kernel, plain @ (scale[:, None] * kernel), 1e-5)
    assert np.all(scale > 0)
    close(np.maximum(y, 0), scale * np.maximum(plain, 0), 2e-6)


@every_layer
def test_a_layer_holds_what_it_says_made_by_its_initializers(library, kind):
    made = []

    def initializer(name, default):
        def init(key, shape, dtype):
            made.append((name, tuple(shape), dtype))
            return default(key, shape, dtype)

        return init

    wanted = {"scale": 1, "bias": 0, "mean": 0, "var": 1}
    wanted = {name: wanted[name] for name in some_variables(kind)}
    initializers = {
        f"{name}_init": initializer(name, nn.initializers.constant(5.0))
        for name in ("scale", "bias")
        if name in wanted
    }

    def first(**arguments):
        arguments = {**KINDS[kind], **arguments}
        if library == "nnx":
            layer = getattr(jbn.nnx, kind)(8, **arguments, rngs=nnx.Rngs(0))
            return nnx.to_pure_dict(nnx.state(layer))
        layer = getattr(jbn.linen, kind)(**arguments)
        collections = jax.jit(layer.init)(jax.random.key(0), X)
        assert collections.keys() == {"params"} | ({"batch_stats"} if "var" in wanted else set())
        return {**collections["params"], **collections.get("batch_stats", {})}

    values = first()
    assert values.keys() == wanted.keys()
    for name, value in values.items():
        assert value.dtype == jnp.float32
        equal(value, np.full(8, wanted[name]))
    values = first(param_dtype=jnp.bfloat16, **initializers)
    assert sorted(made) == sorted((n[:-5], (8,), jnp.bfloat16) for n in initializers)
    for name in ("scale", "bias"):
        if name in wanted:
            assert values[name].dtype == jnp.bfloat16
            equal(values[name], np.full(8, 5.0))


@every_layer
def test_float64_and_complex_input_stay_what_they_are(library, kind):
    layer = function(library, kind)
    with jax.enable_x64(True):
        x = 1e4 + 3 * normal(*SHAPE, dtype=jnp.float64)
        z = x + 2j * jnp.flip(x)
        variables = jax.tree.map(lambda v: v.astype(jnp.float64), some_variables(kind))
        of_complex = dict(variables)
        if "mean" in variables:
            of_complex["mean"] = variables["mean"].astype(complex)
        y, of_z = jax.jit(lambda: (layer(variables, x)[0], layer(of_complex, z)[0]))()
        assert (y.dtype, of_z.dtype) == (jnp.float64, jnp.complex128)
        close(y, affine(judged(kind, x), variables), 1e-10)
        close(of_z, affine(judged(kind, z), variables), 1e-10)


@every_layer
def test_the_choice_of_a_variance_chooses_no_other_program(library, kind):
    options = [{}, {"use_fast_variance": False}]
    if library == "linen":
        options.append({"force_float32_reductions": False})
    programs = {
        str(jax.make_jaxpr(function(library, kind, **o))(some_variables(kind), X)) for o in options
    }
    assert len(programs) == 1


# Over devices


def mesh():
    return Mesh(np.array(jax.devices()[:4]), "a")


# The axis of x to spread: one that the layer averages over.
SPREAD = {"BatchNorm": 0, "LayerNorm": -1, "RMSNorm": -1, "GroupNorm": 1, "InstanceNorm": 1}


@every_layer
def test_a_mapped_axis_is_averaged_over_whole_or_in_groups(library, kind):
    axis, variables = SPREAD[kind], some_variables(kind)
    local = 8 // 4 if axis == -1 else 8
    whole, halves = (
        function(library, kind, local, axis_name="a", axis_index_groups=groups)
        for groups in (None, [[0, 1], [2, 3]])
    )
    spec = P(*(None,) * (axis % 4), "a")
    of_variables = P("a") if axis == -1 else P()
    run = jax.shard_map(
        lambda variables, x: (whole(variables, x), halves(variables, x)[0]),
        mesh=mesh(),
        in_specs=(of_variables, spec),
        out_specs=((spec, of_variables), spec),
        check_vma=False,
    )
    (y, moved), y_of_halves = jax.jit(run)(variables, X)
    close(y, affine(judged(kind, X), variables), 2e-6)
    x_hat = [judged(kind, half) for half in np.split(np.asarray(X), 2, axis)]
    close(y_of_halves, affine(np.concatenate(x_hat, axis), variables), 2e-6)
    close(moved, compiled(library, kind)(variables, X)[1])


@every_library
def test_pmap_is_a_mapped_axis_too(library):
    variables = some_variables("BatchNorm")
    layer = jax.pmap(function(library, "BatchNorm", axis_name="a"), "a", in_axes=(None, 0))
    y, moved = layer(variables, X[:, None])
    wanted, wanted_moved = compiled(library, "BatchNorm")(variables, X)
    close(y[:, 0], wanted, 2e-6)
    for replica in range(4):
        close(jax.tree.map(lambda v, replica=replica: v[replica], moved), wanted_moved)


@every_layer
def test_sharded_input_under_jit_needs_no_axis_name(library, kind):
    axis, variables = SPREAD[kind], some_variables(kind)
    x = jax.device_put(X, NamedSharding(mesh(), P(*(None,) * (axis % 4), "a")))
    run = compiled(library, kind)
    assert len(x.sharding.device_set) == 4
    close(run(variables, x), run(variables, X), 2e-6)


# Batch norm


@every_library
def test_each_training_step_moves_the_statistics_and_evaluation_uses_them(library):
    variables = some_variables("BatchNorm")
    train = compiled(library, "BatchNorm")
    evaluate = compiled(library, "BatchNorm", use_running_average=True)
    exact = np.asarray(X, np.float64)
    for _ in range(2):
        before = variables
        _, variables = train(variables, X)
        for name, of_batch in (("mean", exact.mean((0, 1, 2))), ("var", exact.var((0, 1, 2)))):
            assert np.all(variables[name] != before[name])
            close(variables[name], reference.running(before[name], of_batch, 0.75))
    y, after = evaluate(variables, X)
    mean, var = (np.asarray(variables[name], np.float64) for name in ("mean", "var"))
    close(y, affine((exact - mean) / np.sqrt(var + 1e-5), variables), 2e-6)
    jax.tree.map(equal, dict(after), dict(variables))


# Group norm, and the others as special cases of it and of each other


@every_library
def test_the_layers_are_each_other_where_their_axes_are(library):
    variables = some_variables("GroupNorm")

    def run(kind, **arguments):
        return function(library, kind, **arguments)(variables, X)[0]

    @jax.jit
    def pairs():
        of_an_image = run("LayerNorm", reduction_axes=(1, 2, 3))
        of_a_channel = run("InstanceNorm", feature_axes=-1)
        return [
            (run("GroupNorm", num_groups=1), of_an_image),
            (run("GroupNorm", num_groups=8), of_a_channel),
            (run("GroupNorm", num_groups=None, group_size=1), of_a_channel),
            (run("LayerNorm", reduction_axes=[1, 2], feature_axes=-1), of_a_channel),
        ]

    for one, other in pairs():
        close(one, other, 2e-6)


@every_library
def test_group_norm_takes_any_number_of_axes(library):
    rows, variables = X.reshape(4, 8, 8), some_variables("GroupNorm")
    layer = function(library, "GroupNorm")
    shapes = [rows[:, 0], rows, X.reshape(4, 2, 2, 2, 8)]
    ys = jax.jit(lambda: [layer(variables, x)[0] for x in shapes])()
    for x, y in zip(shapes, ys, strict=True):
        close(y, affine(judged("GroupNorm", x), variables), 2e-6)


@every_library
def test_group_norm_makes_groups_by_number_or_by_size_and_32_by_default(library):
    x, variables = 2 + 3 * normal(4, 6, 64), some_variables("GroupNorm", 64)
    by_size = {"num_groups": None, "group_size": 16}

    def default(x):
        if library == "linen":
            return jbn.linen.GroupNorm().apply({"params": variables}, x)
        layer = jbn.nnx.GroupNorm(64, rngs=nnx.Rngs(0))
        nnx.update(layer, variables)
        return layer(x)

    sized = function(library, "GroupNorm", 64, **by_size)
    within = function(library, "GroupNorm", 64, **by_size, reduction_axes=(2,))
    of_32, of_4, of_rows = jax.jit(
        lambda: (default(x), sized(variables, x)[0], within(variables, x)[0])
    )()
    close(of_32, affine(judged("GroupNorm", x, num_groups=32), variables), 4e-6)
    close(of_4, affine(judged("GroupNorm", x, num_groups=4), variables), 2e-6)
    rows = judged("GroupNorm", x.reshape(24, 64), num_groups=4).reshape(x.shape)
    close(of_rows, affine(rows, variables), 2e-6)


@every_library
def test_leading_axes_that_init_did_not_see_need_explicit_reduction_axes(library):
    variables = some_variables("GroupNorm")
    layer = function(library, "GroupNorm", reduction_axes=(-3, -2, -1))
    y, alone = jax.jit(lambda: (layer(variables, X)[0], layer(variables, X[1])[0]))()
    close(y, affine(judged("GroupNorm", X), variables), 2e-6)
    close(alone, y[1], 2e-6)


@every_library
@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("GroupNorm", {"group_size": 2}, "num_groups.*group_size"),
        ("GroupNorm", {"num_groups": None}, "num_groups.*group_size"),
        ("GroupNorm", {"num_groups": None, "group_size": 3}, r"group.size.*3"),
        ("GroupNorm", {"num_groups": 3}, r"groups.*3"),
        ("GroupNorm", {"num_groups": 32}, r"groups.*32"),
        ("GroupNorm", {"num_groups": 0}, r"groups.*0"),
        ("GroupNorm", {"reduction_axes": (1, 2)}, "last axis"),
        ("InstanceNorm", {"feature_axes": (0, -1)}, "batch"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(library, kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(function(library, kind, **arguments), some_variables(kind), X)
