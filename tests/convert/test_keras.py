"""Networks converted from Keras's arrays give Keras's outputs, and the arrays back."""

import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from golden_files import assert_evaluates, assert_same_arrays, load_golden

import jbn
from jbn import linen
from jbn.convert import (
    batch_norm_arguments_from_keras,
    batch_norm_arguments_to_keras,
    from_keras,
    input_stats_arguments_from_keras,
    input_stats_to_keras,
    to_keras,
)


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        first = batch_norm_arguments_from_keras(momentum=0.7, epsilon=1e-2)
        second = batch_norm_arguments_from_keras(center=False, scale=False)
        x = nn.Dense(8)(x)
        x = nn.relu(linen.BatchNorm(use_running_average=not train, **first)(x))
        x = nn.Dense(4, use_bias=False)(x)
        return nn.Dense(3)(linen.BatchNorm(use_running_average=not train, **second)(x))


class Stem(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), strides=2)(x)
        arguments = batch_norm_arguments_from_keras(scale=False, momentum=0.7)
        return linen.BatchNorm(use_running_average=True, **arguments)(x)


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(Stem()(x))
        x = nn.Conv(12, (3, 2), padding="VALID", feature_group_count=2, use_bias=False)(x)
        x = nn.relu(linen.GroupNorm(3, epsilon=1e-3)(x))
        x = nn.Conv(24, (3, 3), feature_group_count=12)(x)
        x = nn.relu(linen.InstanceNorm(epsilon=1e-3)(x))
        x = nn.ConvTranspose(6, (4, 3), strides=(2, 2))(x)
        x = linen.LayerNorm(epsilon=1e-3, use_bias=False)(x)
        x = x.reshape(len(x), -1)
        return nn.Dense(5)(linen.BatchNorm(use_running_average=True, epsilon=1e-3)(x))


class Tokens(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = linen.RMSNorm()(nn.Embed(7, 6)(x))
        x = nn.relu(nn.Conv(8, (3,), padding="VALID")(x))
        x = nn.relu(nn.ConvTranspose(8, (3,), (2,), padding="VALID", use_bias=False)(x))
        x = nn.Conv(16, (3,), padding="VALID", feature_group_count=8, use_bias=False)(x)
        return nn.Dense(3)(nn.Conv(5, (1,))(x).mean(1))


# The network, its names (without the model's), and what else the converters have to be told
CASES = {
    "mlp": (
        MLP(),
        {
            "hidden": "Dense_0",
            "hidden_norm": "BatchNorm_0",
            "second": "Dense_1",
            "second_norm": "BatchNorm_1",
            "head": "Dense_2",
        },
        {},
        {},
    ),
    "cnn": (
        CNN(),
        {
            "stem": "Stem_0/Conv_0",
            "stem_norm": "Stem_0/BatchNorm_0",
            "grouped": "Conv_0",
            "group_norm": "GroupNorm_0",
            "depthwise": "Conv_1",
            "instance_norm": "InstanceNorm_0",
            "up": "ConvTranspose_0",
            "layer_norm": "LayerNorm_0",
            "flat_norm": "BatchNorm_0",
            "head": "Dense_0",
        },
        {"transposed": ["cnn/up"], "depthwise": {"cnn/depthwise": 2}},
        {},
    ),
    "tokens": (
        Tokens(),
        {
            "embed": "Embed_0",
            "norm": "RMSNorm_0",
            "conv": "Conv_0",
            "up": "ConvTranspose_0",
            "separable/depthwise": "Conv_1",
            "separable/pointwise": "Conv_2",
            "head": "Dense_0",
        },
        {"transposed": ["tokens/up"], "depthwise": {"tokens/separable/depthwise": 2}},
        {"rms_norms": ["tokens/norm"]},
    ),
}
# A separable convolution is two of Flax's
SEPARABLE = {
    "separable/depthwise_kernel": "separable/depthwise/kernel",
    "separable/pointwise_kernel": "separable/pointwise/kernel",
    "separable/bias": "separable/pointwise/bias",
}
every_case = pytest.mark.parametrize("case", CASES)


def golden(case, prefix="weights/"):
    """The arrays of the file, and among them the weights by path."""
    arrays, weights = load_golden(f"keras_{case}", prefix)
    for old, new in SEPARABLE.items():
        if f"{case}/{old}" in weights:
            weights[f"{case}/{new}"] = weights.pop(f"{case}/{old}")
    return arrays, weights


def names_of(case):
    return {f"{case}/{layer}": path for layer, path in CASES[case][1].items()}


def converted(case):
    return from_keras(golden(case)[1], names_of(case), **CASES[case][2])


@every_case
def test_evaluation_is_keras(case):
    network = CASES[case][0]
    arrays, _ = golden(case)
    assert_evaluates(network, converted(case), arrays["x"], arrays["y"])


@every_case
def test_the_way_back_gives_the_same_arrays(case):
    _, _, options, options_back = CASES[case]
    _, weights = golden(case)
    back = to_keras(converted(case), names_of(case), **options, **options_back)
    assert set(back) == set(weights)
    assert_same_arrays(back, weights)


def test_a_step_of_training_moves_the_statistics_as_keras():
    arrays, _ = golden("mlp")
    step = jax.jit(lambda v, x: MLP().apply(v, x, train=True, mutable=["batch_stats"]))
    variables = converted("mlp")
    _, moved = step(variables, arrays["train_x"])
    wanted = from_keras(golden("mlp", "after/")[1], names_of("mlp"))["batch_stats"]
    assert jax.tree.structure(moved["batch_stats"]) == jax.tree.structure(wanted)
    for norm, stats in wanted.items():
        assert np.any(np.abs(stats["var"] - variables["batch_stats"][norm]["var"]) > 0.005)
        for name, value in stats.items():
            found = moved["batch_stats"][norm][name]
            np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)


def test_a_model_of_keras_takes_what_flax_has():
    network = nn.Sequential(
        [
            nn.ConvTranspose(3, (3, 2), strides=(2, 2)),
            linen.BatchNorm(use_running_average=True, epsilon=1e-3),
        ]
    )
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 2)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    variables["batch_stats"]["layers_1"]["var"] *= 3
    up = keras.layers.Conv2DTranspose(3, (3, 2), strides=2, padding="same", name="up")
    model = keras.Sequential(
        [keras.Input((4, 5, 2)), up, keras.layers.BatchNormalization(name="bn")]
    )
    names = {f"{model.name}/up": "layers_0", f"{model.name}/bn": "layers_1"}
    weights = to_keras(variables, names, transposed=[f"{model.name}/up"])
    for v in model.weights:
        v.assign(weights.pop(v.path))
    assert not weights
    y = jax.jit(lambda x: model(x, training=False))(x)
    np.testing.assert_allclose(y, jax.jit(network.apply)(variables, x), rtol=0, atol=1e-5)


def test_arguments_come_back():
    arguments = {"momentum": 0.7, "epsilon": 1e-2, "center": False, "scale": True}
    assert (
        batch_norm_arguments_to_keras(**batch_norm_arguments_from_keras(**arguments)) == arguments
    )
    made = keras.layers.BatchNormalization().get_config()
    ours = batch_norm_arguments_to_keras(**batch_norm_arguments_from_keras())
    assert ours == {name: made[name] for name in ours}


VECTOR = np.ones(3)
DENSE = {"fc/kernel": np.ones((2, 3)), "fc/bias": VECTOR}
CONV = {"conv/kernel": np.ones((5, 4, 2))}


@pytest.mark.parametrize(
    ("weights", "names", "options", "message"),
    [
        (DENSE, {"fx": "a"}, {}, "names: found 'fx', .*did you mean 'fc'"),
        (DENSE | CONV, {"fc": "a"}, {}, "weights: found arrays of 'conv', .*add the others"),
        (DENSE | CONV, {"fc": "a", "conv": "a"}, {}, "found the path 'a' for 'fc' and for 'conv'"),
        ({"sep/pointwise_kernel": VECTOR}, {"sep": "a"}, {}, "weights: found 'sep/pointwise_kern"),
        ({"x/beta": VECTOR, "x/bias": VECTOR}, {"x": "a"}, {}, "'x' to have beta, bias, wanted"),
        (DENSE, {"fc": "a"}, {"transposed": ["fc"]}, "transposed: found 'fc', .*no kernel with a"),
        (DENSE, {"fc": "a"}, {"depthwise": {"fc": 1}}, "depthwise: found 'fc', .*no kernel with"),
        (DENSE, {"fc": "a"}, {"transposed": ["x"]}, "transposed: found 'x', wanted a key of names"),
        (CONV, {"conv": "ConvTranspose_0"}, {}, "transposed: found no 'conv', .*add it"),
        (CONV, {"conv": "a"}, {"depthwise": {"con": 2}}, "found 'con', .*did you mean 'conv'"),
        (CONV, {"conv": "a"}, {"depthwise": {"conv": 3}}, r"found 3 for 'conv', wanted 2, .*5, 4,"),
    ],
)
def test_what_has_no_counterpart_in_flax_is_refused_in_words(weights, names, options, message):
    with pytest.raises(ValueError, match=message):
        from_keras(weights, names, **options)


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        ({"kernel": np.ones((3, 2)), "scale": VECTOR}, {}, "'x' to have kernel, scale, wanted ker"),
        ({"scale": VECTOR, "bias": VECTOR}, {"rms_norms": ["x"]}, "wanted scale alone"),
        ({"kernel": np.ones((5, 2, 4))}, {"depthwise": {"x": 2}}, r"whose kernel .*\(5, 2, 4\)"),
        ({"kernel": np.ones((5, 1, 4))}, {"depthwise": {"x": 3}}, "depthwise: found 3 for 'x'"),
        ({"kernel": np.ones((5, 1, 4))}, {"depthwise": {"x": 0}}, "depthwise: found 0 for 'x'"),
        ({"kernel": np.ones((3, 2))}, {"transposed": ["x"]}, "transposed: found 'x', which has no"),
    ],
)
def test_what_has_no_counterpart_in_keras_is_refused_in_words(layer, options, message):
    with pytest.raises(ValueError, match=message):
        to_keras({"params": {"a": layer}}, {"x": "a"}, **options)


def test_a_string_is_no_list_of_layers():
    with pytest.raises(TypeError, match="rms_norms: found 'x', wanted several names"):
        to_keras({"params": {"a": {"scale": VECTOR}}}, {"x": "a"}, rms_norms="x")


def test_converting_imports_no_framework():
    code = (
        "import sys, jbn; before = set(sys.modules); import jbn.convert;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names == {jbn.__name__, "numpy"}
    assert not {"flax", "keras", "tensorflow", "torch"} & set(done.stdout.split())


@pytest.mark.parametrize("invert", [False, True])
def test_a_normalization_layer_is_standardize_and_comes_back(invert):
    x = np.asarray(100 + 3 * np.random.default_rng(0).normal(size=(50, 4)), np.float32)
    theirs = keras.layers.Normalization(name="norm", invert=invert)
    theirs.adapt(x)
    weights = {v.path: np.asarray(v) for v in theirs.weights}
    stats = jbn.known_input_stats(**input_stats_arguments_from_keras(weights, "norm"))
    ours = jbn.unstandardize if invert else jbn.standardize
    np.testing.assert_allclose(ours(jnp.asarray(x), stats), theirs(x), rtol=1e-4, atol=1e-4)

    other = keras.layers.Normalization(name="norm", invert=invert)
    other.build(x.shape)
    back = input_stats_to_keras(stats, "norm")
    counted = input_stats_to_keras(stats._replace(count=jnp.full(4, 50.0)), "norm")["norm/count"]
    assert (counted, counted.dtype) == (50, np.int32)
    for v in other.weights:
        v.assign(back[v.path])
    other.finalize_state()
    np.testing.assert_allclose(other(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_a_normalization_layer_without_weights_is_refused():
    with pytest.raises(ValueError, match="found no norm/mean and no norm/variance"):
        input_stats_arguments_from_keras({}, "norm")
