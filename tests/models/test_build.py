"""From the norm section of a config to the layers of a network."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import close

from jbn.config import ModelConfig, NormConfig
from jbn.models import MLP, build_model

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), jnp.float32)


def built(kind, model=None, **norm):
    model = ModelConfig(hidden_sizes=(8, 4)) if model is None else model
    config = NormConfig(kind=kind, num_groups=2, **norm)
    return build_model(model, config, 3, momentum=0.5, epsilon=0.1)


def of_each_example(layer):
    return lambda use_running_average: layer()


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
    variables = network.init(jax.random.key(0), X, train=True)
    logits, wanted = (
        jax.jit(lambda network=network: network.apply(variables, X, True, mutable="batch_stats"))()
        for network in (built(kind), network)
    )
    close(logits, wanted, 4e-6)


@pytest.mark.parametrize("kind", [*FLAX, "instance"])
def test_scale_and_bias_are_there_when_wanted(kind):
    def parameters(**norm):
        model = ModelConfig(factory="test_build:make_pixels")
        variables = built(kind, model, **norm).init(jax.random.key(0), X, train=True)
        return {name for layer in variables.get("params", {}).values() for name in layer}

    both = set() if kind == "none" else {"scale"} if kind == "rms" else {"scale", "bias"}
    assert parameters() == both
    assert parameters(use_scale=False) == both - {"scale"}
    assert parameters(use_bias=False) == both - {"bias"}


class Pixels(nn.Module):
    """Takes the features as pixels of two channels, whose average over the image is the output."""

    norm: object

    @nn.compact
    def __call__(self, x, train):
        x = jnp.stack([x, x**2], -1)
        if self.norm is not None:
            x = self.norm(use_running_average=not train)(x)
        return x.mean(1)


def make_pixels(num_classes, norm):
    return Pixels(norm)


def test_instance_norm_works_where_there_are_pixels():
    model = built("instance", ModelConfig(factory="test_build:make_pixels"))
    variables = model.init(jax.random.key(0), X, train=True)
    np.testing.assert_allclose(model.apply(variables, X, train=True), np.zeros((6, 2)), atol=1e-6)
