"""A batch spread over a mapped axis, a mesh or a sharded array is the whole batch."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from problems import close, normal
from reference import plain_batch_norm

import jbn

N, FEATURES = 16, 4
SHARDS = 4


def unequal_mask():
    """Four shards that count 4, 3, 1 and no rows, less a few entries."""
    rows = np.concatenate([np.arange(4) < n for n in (4, 3, 1, 0)])[:, None]
    mask = np.tile(rows, (1, FEATURES))
    mask[1, 0] = mask[5, 2] = False
    return jnp.asarray(mask)


@pytest.fixture(params=[None, "mask", "weights"])
def mask(request):
    """None, a mask, or weights from 0 to 4 that are 0 where the mask is False."""
    if request.param is None:
        return None
    if request.param == "mask":
        return unequal_mask()
    return jnp.where(unequal_mask(), jnp.arange(1, N + 1)[:, None] / 4, 0)


def arguments():
    return {
        "x": 2 + 3 * normal(N, FEATURES),
        "stats": jbn.BatchStats(normal(FEATURES, seed=3), jnp.exp(normal(FEATURES, seed=4))),
        "scale": 1 + normal(FEATURES, seed=1) / 2,
        "bias": normal(FEATURES, seed=2),
        "momentum": jnp.asarray(0.8),
        "epsilon": jnp.asarray(0.1),
    }


def train(norm=jbn.batch_norm, **options):
    """(arguments, mask) -> (y, stats)"""
    return lambda args, mask: norm(**args, mask=mask, use_running_average=False, **options)


def with_gradients(function, mask):
    """y, the new state, and the gradients of a nonlinear scalar of both, by every argument."""

    def scalar(args):
        y, stats = function(args, mask)
        state = jnp.sum(jnp.sin(stats.mean)) + jnp.sum(jnp.cos(stats.var))
        return jnp.sum(jnp.sin(y) * normal(N, FEATURES, seed=5)) + state, (y, stats)

    with jax.enable_x64(True):
        gradients, results = jax.jit(jax.grad(scalar, has_aux=True))(arguments())
    return results, gradients


def assert_is_the_whole_batch(function, mask):
    with jax.enable_x64(True):
        mask = None if mask is None else jnp.asarray(mask)
        close(with_gradients(function, mask), with_gradients(train(plain_batch_norm), mask), 1e-9)


def mesh(*sizes):
    """A mesh of the virtual devices, with axes a, b, …"""
    return Mesh(np.array(jax.devices()[:SHARDS]).reshape(sizes), tuple("ab"[: len(sizes)]))


def over_vmap(names):
    """batch_norm of shards mapped by nested vmaps; each shard says the same of the state."""

    def function(args, mask):
        sizes = (SHARDS,) if len(names) == 1 else (2, 2)

        def shard(v):
            return v.reshape(*sizes, N // SHARDS, FEATURES)

        mapped = train(axis_name=names[0] if len(names) == 1 else names)
        axes = ({k: 0 if k == "x" else None for k in args}, None if mask is None else 0)
        for name in reversed(names):
            mapped = jax.vmap(mapped, axes, axis_name=name)
        y, stats = mapped({**args, "x": shard(args["x"])}, None if mask is None else shard(mask))
        mean = [jnp.mean(value, tuple(range(len(names)))) for value in stats]
        return y.reshape(N, FEATURES), jbn.BatchStats(*mean)

    return function


def over_shard_map(names, check_vma):
    """batch_norm in a shard_map whose mesh has the named axes."""

    def function(args, mask):
        rows = P(names if len(names) > 1 else names[0])
        return jax.shard_map(
            train(axis_name=names[0] if len(names) == 1 else names),
            mesh=mesh(*((SHARDS,) if len(names) == 1 else (2, 2))),
            in_specs=({k: rows if k == "x" else P() for k in args}, None if mask is None else rows),
            out_specs=(rows, P()),
            check_vma=check_vma,
        )(args, mask)

    return function


one_and_two_names = pytest.mark.parametrize("names", [("a",), ("a", "b")], ids=["one", "two"])


@one_and_two_names
def test_vmap_equals_the_whole_batch(names, mask):
    assert_is_the_whole_batch(over_vmap(names), mask)


@pytest.mark.optimized
def test_every_mapped_shard_says_the_same_of_the_state(mask):
    sharded = normal(SHARDS, N // SHARDS, FEATURES)
    masks = None if mask is None else mask.reshape(sharded.shape)
    step = functools.partial(train_from_scratch, axis_name="a")
    axes = (0, None, None, None if masks is None else 0)
    _, stats = jax.jit(jax.vmap(step, axes, axis_name="a"))(sharded, *small_problem()[1:], masks)
    for value in stats:
        np.testing.assert_array_equal(value, jnp.broadcast_to(value[:1], value.shape))


@one_and_two_names
@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map_equals_the_whole_batch(names, check_vma, mask):
    assert_is_the_whole_batch(over_shard_map(names, check_vma), mask)


@pytest.mark.parametrize("spec", [P("a"), P("a", "b"), P(None, "a")], ids=str)
def test_sharded_jit_equals_the_whole_batch(spec, mask):
    """Rows, rows and features, or features alone over the devices."""
    devices = mesh(2, 2) if "b" in spec else mesh(SHARDS)

    def function(args, mask):

        def rows(v):
            return jax.lax.with_sharding_constraint(v, NamedSharding(devices, spec))

        return train()({**args, "x": rows(args["x"])}, mask if mask is None else rows(mask))

    assert_is_the_whole_batch(function, mask)


@pytest.mark.parametrize("check_vma", [True, False])
def test_second_derivatives_in_shard_map_are_those_of_the_whole_batch(check_vma, mask):
    def product(function):
        """The Hessian times a vector, forward over reverse."""

        def scalar(args):
            return jnp.sum(jnp.sin(function(args, mask)[0]) * normal(N, FEATURES, seed=5))

        with jax.enable_x64(True):
            args = arguments()
            direction = jax.tree.map(lambda v: normal(*v.shape, seed=6), args)
            return jax.jit(lambda a: jax.jvp(jax.grad(scalar), (a,), (direction,)))(args)

    close(product(over_shard_map(("a",), check_vma)), product(train(plain_batch_norm)), 1e-9)


def test_unusable_masked_shards_poison_nothing():
    mask = unequal_mask()

    def filled(function):
        def with_fill(args, mask):
            x = jnp.where(mask, args["x"], jnp.nan)
            y, stats = function({**args, "x": x}, mask)
            return jnp.where(mask, y, 0), stats

        return with_gradients(with_fill, mask)

    actual = filled(over_shard_map(("a",), True))
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(actual))
    close(actual, filled(train()), 1e-9)


def test_axis_index_groups_share_statistics_within_a_group(mask):
    groups = [[0, 1], [2, 3]]
    x, masks = arguments()["x"], mask

    def function(x, mask):
        return jbn.batch_norm(
            x,
            jbn.init_batch_stats(FEATURES),
            use_running_average=False,
            axis_name="a",
            axis_index_groups=groups,
            mask=mask,
        )

    spec = P("a")
    y, stats = jax.jit(
        jax.shard_map(
            function,
            mesh=mesh(SHARDS),
            in_specs=(spec, None if masks is None else spec),
            out_specs=spec,
            check_vma=False,
        )
    )(x, masks)
    for i in range(2):
        half = slice(i * N // 2, (i + 1) * N // 2)
        alone_y, alone = jax.jit(train_from_scratch)(
            x[half],
            jnp.ones(FEATURES),
            jnp.zeros(FEATURES),
            None if masks is None else masks[half],
        )
        close(y[half], alone_y, 1e-6)
        for value, wanted in zip(stats, alone, strict=True):
            close(value.reshape(SHARDS, FEATURES)[2 * i], wanted, 1e-6)
            close(value.reshape(SHARDS, FEATURES)[2 * i + 1], wanted, 1e-6)


@pytest.mark.parametrize("sibling", ["ghost", "renorm"])
def test_siblings_share_statistics_within_a_group_too(sibling):
    x, stats = 3 * normal(N, FEATURES) + 1, jbn.init_batch_stats(FEATURES)
    if sibling == "ghost":
        norm = functools.partial(jbn.ghost_batch_norm, virtual_batch_size=N // SHARDS)
        alone = jbn.batch_norm
    else:
        norm = alone = functools.partial(jbn.batch_renorm, limits=jbn.RenormLimits(1.1, 0.2))
    grouped = functools.partial(norm, axis_name="a", axis_index_groups=[[0, 1], [2, 3]])
    y, new = jax.jit(
        jax.shard_map(
            lambda x: grouped(x, stats, use_running_average=False),
            mesh=mesh(SHARDS),
            in_specs=P("a"),
            out_specs=P("a"),
            check_vma=False,
        )
    )(x)
    for i in range(2):
        half = slice(i * N // 2, (i + 1) * N // 2)
        wanted_y, wanted = jax.jit(functools.partial(alone, use_running_average=False))(
            x[half], stats
        )
        close(y[half], wanted_y)
        close(jax.tree.map(lambda v, i=i: v.reshape(SHARDS, FEATURES)[2 * i], new), wanted)


# Collectives


def collectives(function, *args):
    """How often each collective occurs in the compiled program."""
    names = (
        "all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter"
    )
    text = jax.jit(function).lower(*args).compile().as_text()
    found = re.findall(rf"({names})(?:-start)?\(", text)
    return {name: found.count(name) for name in found}


def train_from_scratch(x, scale, bias, mask, axis_name=None):
    stats = jbn.init_batch_stats(FEATURES)
    return jbn.batch_norm(
        x, stats, scale, bias, use_running_average=False, mask=mask, axis_name=axis_name
    )


def forward_and_backward(function):
    """As the forward pass, but with the cotangents of x, scale and bias as well."""

    def both(x, scale, bias, mask):
        y, vjp, stats = jax.vjp(lambda *a: function(*a, mask), x, scale, bias, has_aux=True)
        return y, stats, vjp(jnp.cos(y))

    return both


def small_problem():
    return normal(N, FEATURES), jnp.ones(FEATURES), jnp.zeros(FEATURES)


@pytest.mark.optimized
@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map_reduces_twice_forward_and_once_backward(check_vma, mask):
    forward = jax.shard_map(
        functools.partial(train_from_scratch, axis_name="a"),
        mesh=mesh(SHARDS),
        in_specs=(P("a"), P(), P(), None if mask is None else P("a")),
        out_specs=(P("a"), P()),
        check_vma=check_vma,
    )
    assert collectives(forward, *small_problem(), mask) == {"all-reduce": 2}
    both = forward_and_backward(forward)
    assert collectives(both, *small_problem(), mask) == {"all-reduce": 3}


@pytest.mark.optimized
def test_sharded_jit_reduces_twice_forward_and_once_backward(mask):
    """Once more under a boolean mask, whose count is an integer and so not summed along with x."""
    rows, whole = (NamedSharding(mesh(SHARDS), spec) for spec in (P("a"), P()))
    args = [
        jax.device_put(v, s) for v, s in zip(small_problem(), (rows, whole, whole), strict=True)
    ]
    mask = None if mask is None else jax.device_put(mask, rows)
    forward = 3 if mask is not None and mask.dtype == bool else 2
    assert collectives(train_from_scratch, *args, mask) == {"all-reduce": forward}
    both = forward_and_backward(train_from_scratch)
    assert collectives(both, *args, mask) == {"all-reduce": forward + 1}
