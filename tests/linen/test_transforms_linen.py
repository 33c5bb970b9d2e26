"""Linen layers under Flax's lifted transformations: as a Python loop, or the plain call."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import same

import jbn
import jbn.linen

X = 2 + 3 * jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 4)), jnp.float32)
KEY = jax.random.key(0)
COLLECTIONS = ("params", "batch_stats", "input_stats")
SCALED = {"scale_init": nn.initializers.normal(1.0)}
TRAINING = {**SCALED, "use_running_average": False, "momentum": 0.5}
# Arguments of each layer, and of its call. Others hold their variables as one of these does: ghost
# batch norm as batch norm, RMS and instance norm as layer norm, Conv as Dense.
LAYERS = {
    "BatchNorm": (TRAINING, {}),
    "BatchRenorm": ({**TRAINING, "limits": lambda step: jbn.RenormLimits(2.0, 1.0 + step)}, {}),
    "DomainBatchNorm": ({**TRAINING, "num_domains": 3}, {"domain": 1}),
    "LayerNorm": (SCALED, {}),
    "GroupNorm": ({**SCALED, "num_groups": 2}, {}),
    "InputNorm": ({}, {"update_stats": True}),
    "WeightStandardizedDense": ({"features": 4}, {}),
}
every_kind = pytest.mark.parametrize("kind", LAYERS)


class Block(nn.Module):
    """One layer, as a scan's body."""

    kind: str

    @nn.compact
    def __call__(self, x):
        arguments, call = LAYERS[self.kind]
        return getattr(jbn.linen, self.kind)(**arguments, name="layer")(x, **call), None


def over_two(transform, **options):
    """The transformation of a block that makes two of its variables."""
    axes = dict.fromkeys(COLLECTIONS, 0)
    return transform(Block, variable_axes=axes, split_rngs={"params": True}, **options)


@functools.cache
def init(kind):
    """Variables of two blocks, from two keys."""
    return jax.jit(jax.vmap(Block(kind).init, (0, None)))(jax.random.split(KEY, 2), X)


@functools.cache
def step(kind):
    """(variables, x) -> (y, variables), compiled once for all that compare with it."""

    def step(variables, x):
        (y, _), updates = Block(kind).apply(variables, x, mutable=COLLECTIONS[1:])
        return y, {**variables, **updates}

    return jax.jit(step)


def transformed_step(module, variables, x):
    """The same of a transformed block, from variables of its own."""
    (y, _), updates = jax.jit(functools.partial(module.apply, mutable=COLLECTIONS[1:]))(
        variables, x
    )
    return y, {**variables, **updates}


def nth(tree, n):
    return jax.tree.map(lambda leaf: leaf[n], tree)


def stacked(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@every_kind
def test_scan_over_a_stack_of_layers_is_a_loop(kind):
    stack, variables = over_two(nn.scan, length=2)(kind), init(kind)
    assert shapes(jax.eval_shape(stack.init, KEY, X)) == shapes(variables)
    y, wanted = X, []
    for n in range(2):
        y, updated = step(kind)(nth(variables, n), y)
        wanted.append(updated)
    same(transformed_step(stack, variables, X), (y, stacked(*wanted)), 1e-5)


@every_kind
def test_vmap_over_an_ensemble_is_a_loop(kind):
    ensemble, variables = over_two(nn.vmap, in_axes=0)(kind), init(kind)
    x = jnp.stack([X, X[::-1] ** 2])
    assert shapes(jax.eval_shape(ensemble.init, KEY, x)) == shapes(variables)
    wanted = [step(kind)(nth(variables, n), x[n]) for n in range(2)]
    same(transformed_step(ensemble, variables, x), stacked(*wanted), 1e-5)


@every_kind
def test_remat_changes_no_gradient_and_no_statistics(kind):
    variables = nth(init(kind), 0)

    def gradients(module, params, x):
        def loss(params, x):
            (y, _), updates = module.apply(
                {**variables, "params": params}, x, mutable=COLLECTIONS[1:]
            )
            return jnp.sum(jnp.sin(y)), updates

        return jax.grad(loss, (0, 1), has_aux=True)(params, x)

    blocks = nn.remat(Block)(kind), Block(kind)
    both = jax.jit(lambda *args: [gradients(block, *args) for block in blocks])
    same(*both(variables.get("params", {}), X), 2e-6)


class Twice(nn.Module):
    """One layer, called twice."""

    kind: str

    @nn.compact
    def __call__(self, x):
        block = Block(self.kind, name="block")
        return block(block(x)[0])


@every_kind
def test_a_layer_that_is_used_again_takes_both_steps(kind):
    def inside(variables):
        return {collection: {"block": v} for collection, v in variables.items()}

    variables = nth(init(kind), 0)
    y, updated = step(kind)(*step(kind)(variables, X)[::-1])
    same(transformed_step(Twice(kind), inside(variables), X), (y, inside(updated)), 1e-5)
