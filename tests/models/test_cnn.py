"""The small convolutional network."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jbn.linen
from jbn.models.cnn import CNN

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 3)), jnp.float32)


def shapes(model, images=IMAGES):
    """Of the variables."""
    return jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=True))


def test_the_numbers_are_those_of_the_network_written_out():
    model = CNN(3, functools.partial(jbn.linen.BatchNorm, momentum=0.5), channels=(4, 6))
    rng = np.random.default_rng(1)
    start = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype("f4"), shapes(model))
    apply = jax.jit(functools.partial(model.apply, train=True, mutable="batch_stats"))
    logits, updates = apply(start, IMAGES)
    params, x, stats = start["params"], np.asarray(IMAGES, np.float64), {}
    for i in range(4):
        kernel, norm = params[f"Conv_{i}"]["kernel"], params[f"BatchNorm_{i}"]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
        x = np.einsum("bhwckl,klco->bhwo", windows, kernel)
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        old = start["batch_stats"][f"BatchNorm_{i}"]
        stats[f"BatchNorm_{i}"] = {"mean": (old["mean"] + mean) / 2, "var": (old["var"] + var) / 2}
        x = np.maximum((x - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"], 0)
        if i % 2:
            x = x.reshape(4, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
    wanted = x.reshape(4, -1) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(updates["batch_stats"], stats, rtol=1e-4, atol=1e-6)


def test_without_norm_the_same_layers_have_a_bias():
    plain, normed = (shapes(CNN(3, norm))["params"] for norm in (None, jbn.linen.BatchNorm))
    assert plain.keys() == {name for name in normed if not name.startswith("BatchNorm")}
    for name, layer in plain.items():
        assert layer["kernel"] == normed[name]["kernel"]
        assert "bias" in layer
        assert ("bias" in normed[name]) == name.startswith("Dense")


@pytest.mark.parametrize("norm", [None, nn.BatchNorm, jbn.linen.BatchNorm])
@pytest.mark.parametrize("shape", [(2, 28, 28, 1), (2, 32, 32, 3)])
def test_evaluation_gives_logits_of_each_image(shape, norm):
    model, images = CNN(10, norm), jnp.zeros(shape)
    apply = functools.partial(model.apply, train=False)
    logits = jax.eval_shape(apply, shapes(model, images), images)
    assert (logits.shape, logits.dtype) == ((2, 10), jnp.float32)


def test_what_is_no_batch_of_images_is_refused():
    with pytest.raises(ValueError, match=r"x: found shape \(4, 192\), wanted \(batch, height, w"):
        shapes(CNN(3), IMAGES.reshape(4, -1))
