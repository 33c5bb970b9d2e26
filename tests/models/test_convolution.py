"""The convolution of compiled training: JAX's numbers, and in loops gradients that are fast."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from problems import normal, same

from jbn.models import CNN
from jbn.models.convolution import convolve

CASES = {
    "same": (8, 3, 1, "SAME"),
    "strided, same": (9, 3, 2, "SAME"),
    "valid": (6, 3, 1, "VALID"),
    "strided, even": (8, 3, 2, [(1, 1), (1, 1)]),
    "strided, odd": (9, 3, 2, [(1, 1), (1, 1)]),
    "stem": (9, 7, 2, [(3, 3), (3, 3)]),
    "shortcut": (8, 1, 2, [(0, 0), (0, 0)]),
}


@pytest.mark.parametrize(("size", "width", "stride", "padding"), CASES.values(), ids=CASES)
def test_outputs_and_gradients_are_jaxs(size, width, stride, padding):
    x, kernel = normal(2, size, size + 1, 3), normal(width, width, 3, 4, seed=1)

    def with_gradients(conv):
        def weighted(x, kernel):
            y = conv(
                x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return (y * jnp.arange(y.size).reshape(y.shape)).mean(), y

        return jax.jit(jax.value_and_grad(weighted, (0, 1), has_aux=True))(x, kernel)

    same(with_gradients(convolve), with_gradients(jax.lax.conv_general_dilated), 1e-5)


def test_what_it_cannot_is_an_error_and_not_another_number():
    for options in ({"kernel_dilation": 2}, {"feature_group_count": 2}):
        layer = nn.Conv(4, (3, 3), conv_general_dilated=convolve, **options)
        with pytest.raises(ValueError, match="wanted neither; leave conv_general_dilated out"):
            jax.eval_shape(layer.init, jax.random.key(0), normal(2, 6, 6, 4))


def test_a_network_has_the_same_variables_and_gradients_with_it():
    x = normal(2, 8, 8, 1)

    def gradient(**options):
        model = CNN(3, nn.BatchNorm, channels=(4,), **options)
        variables = model.init(jax.random.key(0), x, train=True)

        def loss(params):
            logits, _ = model.apply({**variables, "params": params}, x, True, mutable="batch_stats")
            return (logits**2).sum()

        return jax.jit(jax.grad(loss))(variables["params"])

    same(gradient(conv_general_dilated=convolve), gradient(), 1e-4)


@pytest.mark.optimized
@pytest.mark.parametrize(("conv", "is_fast"), [(convolve, True), (None, False)])
def test_in_a_loop_every_convolution_has_batch_first_and_channels_last(conv, is_fast):
    """What XLA's CPU compiler has a fast kernel for; a peer that has it too wouldn't need this."""
    layer = nn.Conv(4, (3, 3), conv_general_dilated=conv)
    x = normal(2, 6, 6, 4)
    params = layer.init(jax.random.key(0), x)

    def step(params, _):
        gradient = jax.grad(lambda params: (layer.apply(params, x) ** 2).sum())(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), None

    program = jax.jit(lambda params: jax.lax.scan(step, params, length=2)[0])
    text = program.lower(params).compile().as_text()
    labels = re.findall(r"convolution\(.*dim_labels=(\w+->\w+)", text)
    assert len(labels) == 2
    assert (set(labels) == {"b01f_01io->b01f"}) == is_fast
    assert np.isfinite(jax.tree.leaves(program(params))[0]).all()
