"""Derivatives of every mode and order, and what else JAX does to a function."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from problems import close, normal
from reference import plain_batch_norm

import jbn

MASK = jnp.array([[True, False], [True, True], [False, True], [True, True], [True, True]])


@pytest.fixture(params=[None, MASK], ids=["plain", "masked"])
def mask(request):
    return request.param


# Derivatives, in float64, against those of the plain composition


def arguments():
    """Everything that batch_norm may be differentiated by, as one vector, and how to unpack it."""
    return ravel_pytree(
        {
            "x": 2 + 3 * normal(5, 2),
            "scale": 1 + normal(2, seed=1) / 2,
            "bias": normal(2, seed=2),
            "stats": jbn.BatchStats(normal(2, seed=3), jnp.exp(normal(2, seed=4))),
            "momentum": jnp.asarray(0.8),
            "epsilon": jnp.asarray(0.1),
        }
    )


def outputs(norm, unravel, use_running_average, mask):
    """y and the new statistics, as one vector, as a function of the one vector of arguments."""

    def function(vector):
        results = norm(**unravel(vector), use_running_average=use_running_average, mask=mask)
        return ravel_pytree(results)[0]

    return function


def loss(norm, *args):
    """A nonlinear scalar of all outputs, so that every derivative of it has something to say."""

    def function(vector):
        values = outputs(norm, *args)(vector)
        return jnp.sum(jnp.sin(values) * normal(*values.shape, seed=5).astype(values.dtype))

    return function


def forward(function):
    """The derivative along one direction, by forward mode."""
    return lambda v: jax.jvp(function, (v,), (normal(*v.shape, seed=6),))[1]


def reverse(function):
    """The same of a scalar function, by reverse mode."""
    return lambda v: jnp.vdot(jax.grad(function)(v), normal(*v.shape, seed=6))


DERIVATIVES = {
    "value": (outputs, lambda f: f),
    "jvp": (outputs, forward),
    "jacfwd": (outputs, jax.jacfwd),
    "jacrev": (outputs, jax.jacrev),
    "grad": (loss, jax.grad),
    "hessian": (loss, jax.hessian),
    "forward over forward": (loss, lambda f: forward(forward(f))),
    "reverse over forward": (loss, lambda f: jax.grad(forward(f))),
    "reverse over reverse": (loss, lambda f: jax.grad(reverse(f))),
    "third order, forward": (loss, lambda f: forward(forward(jax.grad(f)))),
    "third order, reverse": (loss, lambda f: jax.grad(reverse(reverse(f)))),
}


OF_TRAINING = [(name, False, MASK) for name in DERIVATIVES] + [
    (name, False, None) for name in ("value", "jacrev", "hessian", "third order, forward")
]
OF_EVALUATION = [(name, True, MASK) for name in ("value", "jacrev", "hessian")]


@pytest.mark.parametrize(("name", "use_running_average", "mask"), OF_TRAINING + OF_EVALUATION)
def test_derivatives_are_those_of_the_plain_composition(name, use_running_average, mask):
    make, derivative = DERIVATIVES[name]
    with jax.enable_x64(True):
        vector, unravel = arguments()
        actual, wanted = (
            jax.jit(derivative(make(norm, unravel, use_running_average, mask)))(vector)
            for norm in (jbn.batch_norm, plain_batch_norm)
        )
        close(actual, wanted, 1e-9)


def test_float32_derivatives_are_those_of_the_plain_composition_in_float64():
    def hessian(norm, dtype):
        vector, unravel = arguments()
        _, unravel = ravel_pytree(jax.tree.map(lambda v: v.astype(dtype), unravel(vector)))
        function = loss(norm, unravel, False, MASK)
        return jax.jit(jax.hessian(function))(vector.astype(dtype))

    with jax.enable_x64(True):
        close(hessian(jbn.batch_norm, jnp.float32), hessian(plain_batch_norm, jnp.float64), 2e-5)


# What is kept between forward and backward


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("use_running_average", [False, True], ids=["training", "evaluation"])
@pytest.mark.parametrize("mask_shape", [None, (512, 1)], ids=["plain", "masked"])
def test_nothing_of_the_size_of_x_is_kept_but_x(dtype, use_running_average, mask_shape):
    x, stats = normal(512, 64).astype(dtype), jbn.init_batch_stats(64)
    mask = None if mask_shape is None else jnp.ones(mask_shape, bool)

    @jax.jit
    def normalize(x, scale, bias):
        return jbn.batch_norm(
            x, stats, scale, bias, use_running_average=use_running_average, mask=mask
        )

    _, vjp = jax.vjp(normalize, x, jnp.ones(64), jnp.zeros(64))
    assert sum(kept.nbytes for kept in jax.tree.leaves(vjp)) <= 1.1 * x.nbytes


# Other transformations


def train(x, stats, scale, bias, **options):
    options = {"momentum": 0.9, "epsilon": 1e-3, **options}
    return jbn.batch_norm(x, stats, scale, bias, use_running_average=False, **options)


def test_scan_over_layers_is_a_chain_of_layers():
    x = normal(6, 3)
    layers = (
        jbn.BatchStats(normal(4, 3, seed=1), jnp.exp(normal(4, 3, seed=2))),
        1 + normal(4, 3, seed=3),
        normal(4, 3, seed=4),
    )

    def layer(x, parameters):
        y, stats = train(x, *parameters)
        return jnp.tanh(y), stats

    def scanned(x, layers):
        return jax.lax.scan(layer, x, layers)

    def chained(x, layers):
        states = []
        for i in range(4):
            x, stats = layer(x, jax.tree.map(lambda v, i=i: v[i], layers))
            states.append(stats)
        return x, jax.tree.map(lambda *s: jnp.stack(s), *states)

    def with_gradient(f):
        return jax.jit(jax.value_and_grad(lambda *a: jnp.sum(f(*a)[0] ** 3), (0, 1)))(x, layers)

    close(jax.jit(scanned)(x, layers), jax.jit(chained)(x, layers), 1e-6)
    close(with_gradient(scanned), with_gradient(chained), 1e-5)


def test_scan_over_time_threads_the_state():
    xs = normal(5, 6, 3)

    def scanned(xs, stats):
        def step(stats, x):
            y, stats = train(x, stats, jnp.ones(3), jnp.zeros(3))
            return stats, y

        return jax.lax.scan(step, stats, xs)

    stats, ys = jax.jit(scanned)(xs, jbn.init_batch_stats(3))
    for t, x in enumerate(xs):
        close(ys[t], train(x, stats, jnp.ones(3), jnp.zeros(3))[0], 1e-6)
    weights = 0.1 * 0.9 ** np.arange(4, -1, -1)
    x64 = np.asarray(xs, np.float64)
    close(stats.mean, weights @ x64.mean(1), 1e-6)
    close(stats.var, 0.9**5 + weights @ x64.var(1), 1e-6)


def test_checkpoint_moves_the_state_once_and_keeps_the_gradients():
    args = (normal(6, 3), jbn.init_batch_stats(3), 1 + normal(3, seed=1), normal(3, seed=2))

    def with_gradients(f):
        def scalar(*args):
            y, stats = f(*args)
            return jnp.sum(jnp.sin(y)) + jnp.sum(stats.mean * stats.var), stats

        return jax.jit(jax.value_and_grad(scalar, (0, 1, 2, 3), has_aux=True))(*args)

    ((_, stats), _), plain = with_gradients(jax.checkpoint(train)), with_gradients(train)
    close(with_gradients(jax.checkpoint(train)), plain, 1e-6)
    x = np.asarray(args[0], np.float64)
    close(stats.mean, 0.1 * x.mean(0), 1e-6)
    close(stats.var, 0.9 + 0.1 * x.var(0), 1e-6)


@pytest.mark.optimized
def test_many_steps_trace_once():
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(x, stats, momentum, epsilon):
        return train(x, stats, jnp.ones(3), jnp.zeros(3), momentum=momentum, epsilon=epsilon)

    stats = jbn.init_batch_stats(3)
    for i in range(5):
        _, stats = step(normal(6, 3, seed=i), stats, jnp.float32(i / 5), jnp.float32(10.0**-i))
    assert jnp.all(jnp.isfinite(stats.mean))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_training_step_lowers_for_cuda_and_tpu(dtype, mask):
    @jax.jit
    def step(x, stats, scale, bias):
        def scalar(scale, bias):
            y, new = train(x, stats, scale, bias, mask=mask)
            return jnp.sum(jnp.square(y.astype(jnp.float32))), new

        (_, new), gradients = jax.value_and_grad(scalar, (0, 1), has_aux=True)(scale, bias)
        return new, gradients

    args = (normal(5, 2).astype(dtype), jbn.init_batch_stats(2), jnp.ones(2), jnp.zeros(2))
    exported = jax.export.export(step, platforms=("cuda", "tpu"))(*args)
    assert exported.platforms == ("cuda", "tpu")
    assert jax.tree.map(jnp.shape, exported.out_avals) == ((2,),) * 4
