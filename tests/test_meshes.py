"""Whatever takes data takes them sharded over a mesh, explicit as `jax.make_mesh` makes it.

The tables are checked against the public names: a new function, module or tool needs its row.
"""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from problems import close, normal

import jbn
import jbn.linen
import jbn.nnx
from jbn.diagnose import norm_report
from jbn.variables import fold_batch_norm, recompute_batch_stats, recompute_nnx_batch_stats

SHAPE = (24, 8, 4, 8)  # (batch, height, width, features); no sixteenth of a shard is whole
FEATURES = SHAPE[-1]
LAYOUTS = {
    "batch": P("a"),
    "height": P(None, "a"),
    "features": P(None, None, None, "a"),
    "batch and features": P("a", None, None, "b"),
    "batch over two axes": P(("a", "b")),
}


def some_stats():
    return jbn.BatchStats(normal(FEATURES, seed=3), jnp.exp(normal(FEATURES, seed=4)))


def some_domains():
    return jbn.BatchStats(*(jnp.stack([v, v + 1]) for v in some_stats()))


def with_scale(norm, **options):
    return lambda x: norm(x, normal(FEATURES, seed=1), normal(FEATURES, seed=2), **options)


def training(norm, stats=some_stats, **options):
    scale_and_bias = normal(FEATURES, seed=1), normal(FEATURES, seed=2)
    return lambda x: norm(x, stats(), *scale_and_bias, use_running_average=False, **options)


@functools.cache
def some_input_stats():
    with jax.ensure_compile_time_eval():
        return jax.jit(jbn.update_input_stats)(jbn.init_input_stats(FEATURES), data())


def with_input_stats(function):
    return lambda x: function(x, some_input_stats())


def input_stats_of_each(x):
    return jax.vmap(lambda v: jbn.update_input_stats(jbn.init_input_stats(FEATURES), v))(x)


# Each takes x and returns arrays. x stands for parts where a function merges parts.
FUNCTIONS = {
    "batch_norm": training(jbn.batch_norm),
    "batch_renorm": training(jbn.batch_renorm, limits=jbn.RenormLimits(1.1, 0.2)),
    "center": with_input_stats(jbn.center),
    "domain_batch_norm": training(jbn.domain_batch_norm, some_domains, domain=1),
    "ghost_batch_norm": training(jbn.ghost_batch_norm, virtual_batch_size=3),
    "group_norm": with_scale(jbn.group_norm, num_groups=4),
    "instance_norm": with_scale(jbn.instance_norm),
    "layer_norm": with_scale(jbn.layer_norm),
    "merge_batch_stats": lambda x: jbn.merge_batch_stats(
        jbn.BatchStats(x, jnp.abs(x)), jnp.arange(1.0, len(x) + 1)
    ),
    "merge_input_stats": lambda x: jbn.merge_input_stats(  # its gradient compiles for 10 seconds
        input_stats_of_each(jax.lax.stop_gradient(x))
    ),
    "merge_moments": lambda x: jbn.merge_moments(jbn.Moments(1 + jnp.abs(x), x, jnp.abs(x))),
    "moments": lambda x: jbn.moments(x, (0, 1, 2)),
    "normalize": lambda x: jbn.normalize(x, *(v.reshape(1, 1, 1, -1) for v in some_stats())),
    "rescale": with_input_stats(jbn.rescale),
    "rms_norm": lambda x: jbn.rms_norm(x, normal(FEATURES, seed=1)),
    "scale_by_max_abs": with_input_stats(jbn.scale_by_max_abs),
    "standardize": with_input_stats(jbn.standardize),
    "uncenter": with_input_stats(jbn.uncenter),
    "unrescale": with_input_stats(jbn.unrescale),
    "unscale_by_max_abs": with_input_stats(jbn.unscale_by_max_abs),
    "unstandardize": with_input_stats(jbn.unstandardize),
    "update_input_stats": lambda x: jbn.update_input_stats(jbn.init_input_stats(FEATURES), x),
    "weight_standardize": lambda x: jbn.weight_standardize(x, normal(FEATURES, seed=1)),
}
MORE_CALLS = {
    "batch_norm in evaluation": lambda x: jbn.batch_norm(x, some_stats(), use_running_average=True),
    "batch_norm of fresh statistics": training(
        jbn.batch_norm, lambda: jbn.init_batch_stats(FEATURES)
    ),
    "batch_norm with a mask": training(
        jbn.batch_norm, mask=(jnp.arange(24) % 5 != 0)[:, None, None, None]
    ),
    "layer_norm of whole images": with_scale(jbn.layer_norm, reduction_axes=(1, 2, 3)),
}
# Small values per feature, no data.
WITHOUT_DATA = {
    "ema_momentum",
    "effective_num_batches",
    "init_batch_stats",
    "init_input_stats",
    "interpolate_batch_stats",
    "is_valid_batch",
    "known_input_stats",
    "load_run",
    "renorm_limits",
    "update_batch_stats",
}

OPTIONS = {
    "BatchRenorm": {"use_running_average": False},
    "BatchNorm": {"use_running_average": False},
    "DomainBatchNorm": {"num_domains": 2, "use_running_average": False},
    "FrozenBatchNorm": {},
    "GhostBatchNorm": {"virtual_batch_size": 3, "use_running_average": False},
    "GroupNorm": {"num_groups": 4},
    "InputNorm": {},
    "InstanceNorm": {},
    "LayerNorm": {},
    "RMSNorm": {},
    "WeightStandardizedConv": {"kernel_size": (3, 3)},
}
LINEN = {**OPTIONS, "WeightStandardizedDense": {"features": 4}}
LINEN["WeightStandardizedConv"] = {"features": 4, "kernel_size": (3, 3)}
NNX = {**OPTIONS, "WeightStandardizedLinear": {"in_features": FEATURES, "out_features": 4}}
NNX["WeightStandardizedConv"] = {"in_features": FEATURES, "out_features": 4, "kernel_size": (3, 3)}
# JAX's convolution takes no features that are sharded by an explicit mesh.
CONVOLUTIONS = {"WeightStandardizedConv"}


def linen_call(name):
    layer = getattr(jbn.linen, name)(**LINEN[name])
    more = (0,) if name == "DomainBatchNorm" else ()
    options = {"update_stats": True} if name == "InputNorm" else {}
    variables = layer.init(jax.random.key(0), jnp.ones(SHAPE), *more, **options)
    collections = ["batch_stats", "input_stats"]
    return lambda x: layer.apply(variables, x, *more, **options, mutable=collections)


def nnx_call(name):
    sizes = {} if "in_features" in NNX[name] else {"num_features": FEATURES}
    rngs = {} if name == "InputNorm" else {"rngs": nnx.Rngs(0)}
    graphdef, state = nnx.split(getattr(jbn.nnx, name)(**sizes, **NNX[name], **rngs))
    more = (0,) if name == "DomainBatchNorm" else ()
    options = {"update_stats": True} if name == "InputNorm" else {}

    def run(x):
        layer = nnx.merge(graphdef, state, copy=True)
        y = layer(x, *more, **options)
        return y, nnx.to_pure_dict(nnx.state(layer))

    return run


class Network(nn.Module):
    """A dense layer, a batch norm that can be folded into it, and another dense layer."""

    folded: bool = False

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(FEATURES)(x)
        if not self.folded:
            x = jbn.linen.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(2)(nn.relu(x))


@functools.cache
def network():
    with jax.ensure_compile_time_eval():  # also where a trace asks for it first
        return Network().init(jax.random.key(0), jnp.ones(SHAPE), False)


def apply(variables, x, train=True):
    return Network().apply(variables, x, train, mutable=["batch_stats"])


def recompute_nnx(x):
    layer = jbn.nnx.BatchNorm(FEATURES, rngs=nnx.Rngs(0))
    return nnx.to_pure_dict(recompute_nnx_batch_stats(layer, x, batch_size=8))


def fold(x):
    return fold_batch_norm(
        lambda v, x: Network().apply(v, x, False),
        lambda v, x: Network(folded=True).apply(v, x, False),
        network(),
        x,
    ).variables


TOOLS = {
    "recompute_batch_stats": lambda x: recompute_batch_stats(apply, network(), x, batch_size=8),
    "in batches that the devices don't divide": lambda x: recompute_batch_stats(
        apply, network(), x, batch_size=7
    ),
    "recompute_nnx_batch_stats": recompute_nnx,
    "norm_report": lambda x: norm_report(apply, network(), x, batch_size=8),
}
CALLS = {**FUNCTIONS, **MORE_CALLS, **TOOLS}
MODULES = {
    **{f"linen {name}": functools.partial(linen_call, name) for name in LINEN},
    **{f"nnx {name}": functools.partial(nnx_call, name) for name in NNX},
}


def mesh_of(layout, kind=AxisType.Explicit):
    """Two by two of the devices for a layout of two axes, else all four in a row."""
    two = "b" in str(LAYOUTS[layout])
    return jax.make_mesh(
        (2, 2) if two else (4,), ("a", "b") if two else ("a",), (kind,) * (1 + two)
    )


def data(layout=None, kind=AxisType.Explicit):
    x = 3 + 2 * normal(*SHAPE, seed=9)
    if layout is None:
        return x
    return jax.device_put(x, NamedSharding(mesh_of(layout, kind), LAYOUTS[layout]))


def assert_is_unsharded(call, layout):
    """The call's results and its gradient are those of data on one device; y is sharded as x is."""

    def both(x):
        def scalar(x):
            results = call(x)
            floats = [leaf for leaf in jax.tree.leaves(results) if leaf.dtype == jnp.float32]
            return sum(jnp.sum(jnp.sin(leaf / 16)) for leaf in floats), results

        gradient, results = jax.grad(scalar, has_aux=True)(x)
        return gradient, results

    x = data(layout)
    sharded = jax.jit(both)(x)
    # float32 sums in another order, and gradients that are differences of them.
    jax.tree.map(lambda a, b: close(a, b, 1e-4), sharded, jax.jit(both)(data()))
    for leaf in jax.tree.leaves(sharded):
        assert leaf.shape != x.shape or leaf.sharding.is_equivalent_to(x.sharding, x.ndim)


def test_every_public_name_has_its_row():
    functions = {n for n in dir(jbn) if inspect.isfunction(getattr(jbn, n, None))}
    assert functions == set(FUNCTIONS) | WITHOUT_DATA
    for library, base, rows in ((jbn.linen, nn.Module, LINEN), (jbn.nnx, nnx.Module, NNX)):
        classes = {n: c for n, c in vars(library).items() if inspect.isclass(c)}
        assert {n for n, c in classes.items() if issubclass(c, base)} == set(rows)


@pytest.mark.parametrize("name", CALLS)
def test_sharded_is_unsharded(name):
    assert_is_unsharded(CALLS[name], "batch and features")


@pytest.mark.parametrize("name", MODULES)
def test_modules_take_sharded_data(name):
    layout = "batch" if name.split()[1] in CONVOLUTIONS else "batch and features"
    assert_is_unsharded(MODULES[name](), layout)


@pytest.mark.parametrize(
    ("layout", "set_mesh"),
    [
        *((layout, False) for layout in LAYOUTS),
        pytest.param("features", True, id="features, under set_mesh"),
        pytest.param("batch and features", True, id="batch and features, under set_mesh"),
    ],
)
@pytest.mark.parametrize("name", [*CALLS, *MODULES])
def test_every_layout_is_taken_and_kept(name, set_mesh, layout):
    """Traced only: the types say how values are sharded, or that an operation can't be."""
    convolution = name.split()[-1] in CONVOLUTIONS and "features" in layout
    call = MODULES[name]() if name in MODULES else CALLS[name]
    x = data(layout)

    def results():
        if not set_mesh:
            return jax.eval_shape(call, x)
        with jax.set_mesh(x.sharding.mesh):
            return jax.eval_shape(call, x)

    if convolution:
        return
    for leaf in jax.tree.leaves(results()):
        if leaf.shape == SHAPE:
            assert leaf.sharding.spec == jax.typeof(x).sharding.spec


@pytest.mark.slow
@pytest.mark.parametrize("name", ["batch_norm", "ghost_batch_norm", "layer_norm", "moments"])
@pytest.mark.parametrize("set_mesh", [False, True], ids=["", "under set_mesh"])
def test_eagerly_too(name, set_mesh):
    x = data("batch")
    if set_mesh:
        with jax.set_mesh(x.sharding.mesh):
            results = FUNCTIONS[name](x)
    else:
        results = FUNCTIONS[name](x)
    jax.tree.map(lambda a, b: close(a, b, 1e-5), results, jax.jit(FUNCTIONS[name])(data()))


@pytest.mark.parametrize("num_devices", [2, 4, 8])
@pytest.mark.parametrize("num_examples", [8, 24, 40, 1000])
@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm", "update_input_stats"])
def test_any_batch_that_the_devices_divide(name, num_examples, num_devices):
    mesh = AbstractMesh((num_devices,), ("a",), axis_types=(AxisType.Explicit,))
    for shape in ((num_examples, FEATURES), (num_examples, 3, 3, FEATURES)):
        sharding = NamedSharding(mesh, P("a", *[None] * (len(shape) - 1)))
        x = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)
        jax.eval_shape(FUNCTIONS[name], x)


def test_folding_takes_sharded_data():
    x = data("batch and features")
    jax.tree.map(lambda a, b: close(a, b, 1e-5), fold(x), fold(data()))


@pytest.mark.parametrize(
    ("call", "layout", "words"),
    [
        (with_scale(jbn.group_norm, num_groups=2), "features", "num_groups: found 2, .* mesh axis"),
        (
            training(jbn.ghost_batch_norm, virtual_batch_size=12),
            "batch",
            "virtual_batch_size: found 12, .* mesh axis 'a' shards it over 4 devices",
        ),
    ],
    ids=["group_norm", "ghost_batch_norm"],
)
def test_a_group_on_several_devices_is_refused_with_the_remedy(call, layout, words):
    with pytest.raises(ValueError, match=words + ".*reshard"):
        jax.eval_shape(call, data(layout))


def collectives(compiled):
    names = "all-reduce|all-gather|all-to-all|collective-\\w+|reduce-scatter"
    found = re.findall(rf" ({names})(?:-start)?\(", compiled.as_text())
    return {name: found.count(name) for name in found}


@pytest.mark.optimized
@pytest.mark.parametrize(
    "shape",
    # The last one is so large that a CPU cuts it into blocks.
    [(40, FEATURES), (24, 8, 4, FEATURES), (24, 3, 3, FEATURES), (32, 32, 16, FEATURES)],
)
@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_a_sharded_batch_costs_three_all_reduces_and_its_share_of_memory(kind, shape):
    def forward(x):
        return training(jbn.batch_norm)(x)

    def both(x):
        y, vjp, stats = jax.vjp(forward, x, has_aux=True)
        return y, stats, vjp(jnp.cos(y))

    x = 3 + 2 * normal(*shape)
    mesh = jax.make_mesh((4,), ("a",), (kind,))
    sharded = jax.device_put(x, NamedSharding(mesh, P("a")))
    assert collectives(jax.jit(forward).lower(sharded).compile()) == {"all-reduce": 2}
    compiled = jax.jit(both).lower(sharded).compile()
    assert collectives(compiled) == {"all-reduce": 3}
    used, whole = (
        memory.output_size_in_bytes + memory.temp_size_in_bytes
        for memory in (
            compiled.memory_analysis(),
            jax.jit(both).lower(x).compile().memory_analysis(),
        )
    )
    assert used <= whole / 4 + 4096  # values per channel aren't shared out
    close(compiled(sharded), jax.jit(both)(x), 1e-5)
