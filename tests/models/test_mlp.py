"""The article's network trains with jbn's norm as with Flax's, in Linen and in NNX."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import nnx

import jbn.linen
import jbn.nnx
from jbn.models import MLP

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(30, 32, 20)), jnp.float32)  # 30 batches of 32
Y = jnp.asarray(RNG.integers(4, size=(30, 32)))
SIZES = (16, 8)


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def linen_curve(norm, variables):
    """The loss of each of 30 steps of Adam, from the variables."""
    model, optimizer = MLP(SIZES, 4, functools.partial(norm, momentum=0.9)), optax.adam(0.01)

    def step(state, batch):
        params, stats, opt_state = state

        def loss(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": stats}, batch[0], True, mutable=["batch_stats"]
            )
            return cross_entropy(logits, batch[1]), updates["batch_stats"]

        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), stats, opt_state), value

    state = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))
    return jax.jit(lambda state: jax.lax.scan(step, state, (X, Y))[1])(state)


def test_its_loss_curve_is_that_of_flaxs_norm():
    variables = MLP(SIZES, 4, nn.BatchNorm).init(jax.random.key(0), X[0], True)
    ours, flax = (linen_curve(norm, variables) for norm in (jbn.linen.BatchNorm, nn.BatchNorm))
    np.testing.assert_allclose(ours, flax, rtol=1e-4)
    assert flax[-1] < flax[0]


class NNXNetwork(nnx.Module):
    """The same network."""

    def __init__(self, norm, rngs):
        sizes = zip((20, *SIZES), SIZES, strict=False)
        self.hidden = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in sizes])
        self.norms = nnx.List([norm(size, momentum=0.9, rngs=rngs) for size in SIZES])
        self.last = nnx.Linear(SIZES[-1], 4, rngs=rngs)

    def __call__(self, x):
        for dense, norm in zip(self.hidden, self.norms, strict=True):
            x = norm(nnx.relu(dense(x)))
        return self.last(x)


def nnx_curve(norm):
    model = NNXNetwork(norm, nnx.Rngs(0))
    model.train()
    optimizer = nnx.Optimizer(model, optax.adam(0.01), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x, y):
        loss, gradients = nnx.value_and_grad(lambda model: cross_entropy(model(x), y))(model)
        optimizer.update(model, gradients)
        return loss

    return [float(step(model, optimizer, x, y)) for x, y in zip(X, Y, strict=True)]


def test_in_nnx_too():
    ours, flax = nnx_curve(jbn.nnx.BatchNorm), nnx_curve(nnx.BatchNorm)
    np.testing.assert_allclose(ours, flax, rtol=1e-4)
    assert flax[-1] < flax[0]
