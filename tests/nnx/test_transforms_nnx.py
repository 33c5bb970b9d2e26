"""NNX layers under NNX's transformations: as a Python loop, or the plain call."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from problems import same

import jbn
import jbn.nnx

X = 2 + 3 * jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 4)), jnp.float32)
SCALED = {"scale_init": nnx.initializers.normal(1.0)}
TRAINING = {**SCALED, "momentum": 0.5}


def widening(step):
    return jbn.RenormLimits(2.0, 1.0 + step)


# Positional and other arguments of each layer, and of its call. Others hold their variables as one
# of these does: ghost batch norm as batch norm, RMS and instance norm as layer norm, Conv as
# Linear.
LAYERS = {
    "BatchNorm": ((4,), TRAINING, {}),
    "BatchRenorm": ((4,), {**TRAINING, "limits": widening}, {}),
    "DomainBatchNorm": ((4,), {**TRAINING, "num_domains": 3}, {"domain": 1}),
    "LayerNorm": ((4,), SCALED, {}),
    "GroupNorm": ((4,), {**SCALED, "num_groups": 2}, {}),
    "InputNorm": ((4,), {}, {"update_stats": True}),
    "WeightStandardizedLinear": ((4, 4), {}, {}),
}
every_kind = pytest.mark.parametrize("kind", LAYERS)


def make(kind, rngs):
    positional, options, _ = LAYERS[kind]
    if kind != "InputNorm":
        options = {**options, "rngs": rngs}
    return getattr(jbn.nnx, kind)(*positional, **options)


def call(kind, layer, x):
    return layer(x, **LAYERS[kind][2])


@functools.cache
def step(kind):
    """The call, compiled once for all that compare with it."""
    return nnx.jit(lambda layer, x: call(kind, layer, x))


def make_two(kind):
    """A layer with a leading axis of two, and two layers of the same numbers."""

    @nnx.split_rngs(splits=2)
    @nnx.vmap
    def make_stack(rngs):
        return make(kind, rngs)

    stack = make_stack(nnx.Rngs(0))
    graphdef, state = nnx.split(stack)
    return stack, [nnx.merge(graphdef, jax.tree.map(lambda v, n=n: v[n], state)) for n in range(2)]


def assert_states_stack(stack, layers):
    states = [nnx.state(layer) for layer in layers]
    same(nnx.state(stack), jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), 1e-5)


@every_kind
def test_scan_over_a_stack_of_layers_is_a_loop(kind):
    stack, layers = make_two(kind)
    scan = nnx.scan(
        lambda x, layer: call(kind, layer, x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry
    )
    y = X
    for layer in layers:
        y = step(kind)(layer, y)
    same(nnx.jit(scan)(X, stack), y, 1e-5)
    assert_states_stack(stack, layers)


@every_kind
def test_vmap_over_an_ensemble_is_a_loop(kind):
    stack, layers = make_two(kind)
    x = jnp.stack([X, X[::-1] ** 2])
    y = nnx.jit(nnx.vmap(lambda layer, x: call(kind, layer, x)))(stack, x)
    same(y, jnp.stack([step(kind)(layer, x[n]) for n, layer in enumerate(layers)]), 1e-5)
    assert_states_stack(stack, layers)


@every_kind
def test_eval_shape_and_split_and_merge_keep_it_whole(kind):
    layer = make(kind, nnx.Rngs(0))
    shapes = nnx.state(nnx.eval_shape(lambda: make(kind, nnx.Rngs(0))))
    graphdef, state = nnx.split(layer)
    assert jax.tree.structure(shapes) == jax.tree.structure(state)
    for shape, leaf in zip(jax.tree.leaves(shapes), jax.tree.leaves(state), strict=True):
        assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)

    merged = nnx.merge(graphdef, state, copy=True)
    assert type(merged) is type(layer)
    y = call(kind, merged, X)  # eager
    same((y, nnx.state(merged)), (step(kind)(layer, X), nnx.state(layer)), 1e-5)


@every_kind
def test_a_view_shares_the_variables(kind):
    layer = make(kind, nnx.Rngs(0))
    has_mode = hasattr(layer, "use_running_average")
    view = nnx.view(layer, **({"use_running_average": True} if has_mode else {}))
    before = jax.tree.map(np.asarray, nnx.state(layer))
    if has_mode:
        step(kind)(view, X)
        jax.tree.map(np.testing.assert_array_equal, nnx.state(layer), before)
    step(kind)(layer, X)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(view), nnx.state(layer))
