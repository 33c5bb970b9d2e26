"""From the norm section of a config to the layers of a network."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import close

import jbn
from jbn.config import ModelConfig, NormConfig
from jbn.models import MLP, build_model

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), jnp.float32)


def built(kind, model=None, **norm):
    model = ModelConfig(hidden_sizes=(8, 4)) if model is None else model
    config = NormConfig(kind=kind, num_groups=2, **norm)
    return build_model(model, config, 3, momentum=0.5, epsilon=0.1)


def of_each_example(layer):
    return lambda use_running_average: layer()


def initial(network):
    """A network's variables before the first step."""
    return jax.jit(functools.partial(network.init, train=True))(jax.random.key(0), X)


def logits_of(network, variables, x=X, train=True):
    """The logits of x, in training or in evaluation."""

    def apply(variables, x):
        return network.apply(variables, x, train, mutable="batch_stats")[0]

    return jax.jit(apply)(variables, x)


FLAX = {
    "none": None,
    "batch": functools.partial(nn.BatchNorm, momentum=0.5, epsilon=0.1),
    "layer": of_each_example(functools.partial(nn.LayerNorm, epsilon=0.1)),
    "rms": of_each_example(functools.partial(nn.RMSNorm, epsilon=0.1)),
    "group": of_each_example(functools.partial(nn.GroupNorm, num_groups=2, epsilon=0.1)),
}


@pytest.mark.parametrize("kind", FLAX)
def test_each_kind_is_the_network_with_flaxs_layer(kind):
    network = MLP((8, 4), 3, FLAX[kind])
    variables = initial(network)
    close(logits_of(built(kind), variables), logits_of(network, variables), 4e-6)


@pytest.mark.parametrize("kind", [*FLAX, "ghost", "renorm", "instance"])
def test_scale_and_bias_are_there_when_wanted(kind):
    def parameters(**norm):
        model = ModelConfig(factory="test_build:make_pixels")
        init = functools.partial(built(kind, model, **norm).init, train=True)
        variables = jax.eval_shape(init, jax.random.key(0), X)
        return {name for layer in variables.get("params", {}).values() for name in layer}

    both = set() if kind == "none" else {"scale"} if kind == "rms" else {"scale", "bias"}
    assert parameters() == both
    assert parameters(use_scale=False) == both - {"scale"}
    assert parameters(use_bias=False) == both - {"bias"}


def as_batch_norms(variables):
    """The variables of ghost norms, or renorms, by the names that plain batch norms have."""
    return {
        collection: {
            re.sub("^.*Batch(Norm|Renorm)", "BatchNorm", layer): v for layer, v in of.items()
        }
        for collection, of in variables.items()
    }


def test_ghost_norm_is_flaxs_network_of_each_group():
    model = built("ghost", virtual_batch_size=3)
    variables = initial(model)
    logits = logits_of(model, variables)
    of_flax = functools.partial(logits_of, MLP((8, 4), 3, FLAX["batch"]), as_batch_norms(variables))
    close(logits, jnp.concatenate([of_flax(X[:3]), of_flax(X[3:])]), 4e-6)
    assert not np.allclose(logits, of_flax(X), atol=0.1)


def test_renorm_is_flaxs_batch_norm_in_training_at_first_and_in_evaluation_later():
    model = built("renorm", num_plain_steps=2)
    variables = initial(model)
    network = MLP((8, 4), 3, FLAX["batch"])
    for layer in variables["batch_stats"].values():
        layer["var"] *= 0.5  # within r's limits, for a unit that never fires, too

    def at(step):
        for layer in variables["batch_stats"].values():
            layer["step"] = jnp.int32(step)
        return logits_of(model, variables)

    plain = logits_of(network, as_batch_norms(variables))
    close(at(0), plain, 4e-6)
    close(at(2), plain, 4e-6)
    close(at(16), logits_of(network, as_batch_norms(variables), train=False), 4e-6)


def test_renorms_limits_are_the_papers_in_other_steps():
    limits = built("renorm", num_plain_steps=50).module.norm.keywords["limits"]
    for step in (50, 51, 100, 250, 300, 400):
        close(limits(step), jbn.renorm_limits(100 * step))
    assert built("renorm", num_plain_steps=0).module.norm.keywords["limits"](1) == (3, 5)


class Pixels(nn.Module):
    """Takes the features as pixels of two channels, whose average over the image is the output."""

    norm: object

    @nn.compact
    def __call__(self, x, train):
        x = jnp.stack([x, x**2], -1)
        if self.norm is not None:
            x = self.norm(use_running_average=not train)(x)
        return x.mean(1)


def make_pixels(num_outputs, norm):
    return Pixels(norm)


def test_instance_norm_works_where_there_are_pixels():
    model = built("instance", ModelConfig(factory="test_build:make_pixels"))
    variables = model.init(jax.random.key(0), X, train=True)
    np.testing.assert_allclose(model.apply(variables, X, train=True), np.zeros((6, 2)), atol=1e-6)
