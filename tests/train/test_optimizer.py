"""Optimizers against their formulas written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from jbn.config import ArmConfig, OptimizerConfig
from jbn.train import Hypers
from jbn.train.optimizer import make_optimizer
from jbn.train.parts import Parts

RATE, DECAY = 0.1, 0.5
PARAMS = {"kernel": np.float32([1.0, -2.0, 3.0]), "scale": np.float32([0.5])}
GRADIENTS = [
    {"kernel": np.float32([0.3, -0.2, 0.1]) * n, "scale": np.float32([-0.4]) / n}
    for n in (1, 2, 3, 4)
]
DECAYED = {"kernel": 1.0, "scale": 0.0}


def steps(num_steps=4, as_vector=False, **options):
    """The parameters after four steps, by name."""
    config = ArmConfig(optimizer=OptimizerConfig(learning_rate=RATE, **options))
    optimizer = make_optimizer(config, Parts(), Hypers.of(config), PARAMS, num_steps)
    _, to_tree = ravel_pytree(PARAMS)
    params, gradients = PARAMS, GRADIENTS
    state = optimizer.init(PARAMS)
    if as_vector:  # as in an epoch: the state is that of the tree
        params, gradients = ravel_pytree(PARAMS)[0], [ravel_pytree(g)[0] for g in GRADIENTS]
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return to_tree(params) if as_vector else params


def written_out(rule, rate=lambda step: RATE):
    """The same by `rule(gradient, parameter, share of decay, step, memory) -> (move, memory)`."""
    params = {name: p.astype(np.float64) for name, p in PARAMS.items()}
    memory = dict.fromkeys(params)
    for step, gradient in enumerate(GRADIENTS, start=1):
        for name in params:
            move, memory[name] = rule(
                gradient[name].astype(np.float64), params[name], DECAYED[name], step, memory[name]
            )
            params[name] = params[name] - rate(step) * move
    return params


def sgd(g, p, decayed, step, memory, decay=DECAY):
    return g + decay * decayed * p, None


def momentum(g, p, decayed, step, memory):
    trace = g + DECAY * decayed * p + 0.8 * (0 if memory is None else memory)
    return trace, trace


def adam(g, p, decayed, step, memory):
    m, v = memory or (0, 0)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    return m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8), (m, v)


def adamw(g, p, decayed, step, memory):
    move, memory = adam(g, p, decayed, step, memory)
    return move + DECAY * decayed * p, memory


KINDS = {
    "sgd": (sgd, {"weight_decay": DECAY}),
    "momentum": (momentum, {"weight_decay": DECAY, "momentum": 0.8}),
    "adam": (adam, {}),
    "adamw": (adamw, {"weight_decay": DECAY}),
}


@pytest.mark.parametrize("as_vector", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_its_formula_as_a_tree_and_as_a_vector(kind, as_vector):
    rule, options = KINDS[kind]
    found = steps(as_vector=as_vector, kind=kind, **options)
    for name, wanted in written_out(rule).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5)


def plain(g, p, decayed, step, memory):
    return g, None


SCHEDULES = {
    "linear": (lambda step: RATE * (1 - (step - 1) / 4), {"schedule": "linear"}),
    "cosine": (
        lambda step: RATE * (1 + np.cos(np.pi * (step - 1) / 4)) / 2,
        {"schedule": "cosine"},
    ),
    "warm-up": (lambda step: RATE * min(step / 3, 1), {"warmup_steps": 2}),
    "both": (
        lambda step: RATE * (step / 3 if step <= 2 else 1 - (step - 3) / 2),
        {"warmup_steps": 2, "schedule": "linear"},
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_multiply_the_rate(name):
    rate, options = SCHEDULES[name]
    found = steps(kind="sgd", **options)
    for key, wanted in written_out(plain, rate).items():
        np.testing.assert_allclose(found[key], wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_clipping_is_by_the_norm_of_the_whole_gradient_and_before_all_else(kind):
    rule, options = KINDS[kind]

    def whole(step):
        return np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in GRADIENTS[step - 1].values()))

    def clipped(g, p, decayed, step, memory):
        return rule(g * min(1, 0.5 / whole(step)), p, decayed, step, memory)

    found = steps(kind=kind, clip_norm=0.5, **options)
    wanted = written_out(clipped)
    for key in wanted:
        np.testing.assert_allclose(found[key], wanted[key], rtol=1e-5)
    assert min(map(whole, range(1, 5))) < 0.6 < max(map(whole, range(1, 5)))


@pytest.mark.parametrize("as_vector", [False, True])
def test_accumulated_batches_make_one_step_of_their_mean(as_vector):
    found = steps(as_vector=as_vector, kind="adam", accumulate=2)
    memory, params = dict.fromkeys(PARAMS), {k: p.astype(np.float64) for k, p in PARAMS.items()}
    for step in (1, 2):
        for name in params:
            mean = sum(g[name].astype(np.float64) for g in GRADIENTS[2 * step - 2 : 2 * step]) / 2
            move, memory[name] = adam(mean, params[name], 0, step, memory[name])
            params[name] = params[name] - RATE * move
    for name, wanted in params.items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5)


def test_a_schedule_counts_updates_where_batches_are_accumulated():
    found = steps(kind="sgd", schedule="linear", accumulate=2)
    for name, p in PARAMS.items():
        means = [(GRADIENTS[i][name] + GRADIENTS[i + 1][name]) / 2 for i in (0, 2)]
        wanted = p - RATE * means[0] - RATE * 0.5 * means[1]
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5)


def test_its_state_is_vectors():
    config = ArmConfig(optimizer=OptimizerConfig(kind="adamw"))
    optimizer = make_optimizer(config, Parts(), Hypers.of(config), PARAMS, 1)
    shapes = {jnp.shape(leaf) for leaf in jax.tree.leaves(optimizer.init(PARAMS))}
    assert shapes == {(), (4,)}
