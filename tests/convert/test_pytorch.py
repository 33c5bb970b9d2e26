"""Networks converted from PyTorch's arrays give PyTorch's outputs, and the arrays back."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from golden_files import assert_evaluates, assert_same_arrays, load_golden

from jbn import linen
from jbn.convert import (
    batch_norm_arguments_from_pytorch,
    batch_norm_arguments_to_pytorch,
    from_pytorch,
    to_pytorch,
)


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        first = batch_norm_arguments_from_pytorch(eps=1e-3, momentum=0.3)
        second = batch_norm_arguments_from_pytorch(affine=False)
        x = nn.Dense(8)(x)
        x = nn.relu(linen.BatchNorm(use_running_average=not train, **first)(x))
        x = nn.Dense(4)(x)
        return nn.Dense(3)(linen.BatchNorm(use_running_average=not train, **second)(x))


class Stem(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), strides=2, padding=1)(x)
        return linen.BatchNorm(use_running_average=True, epsilon=1e-3)(x)


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(Stem()(x))
        x = nn.Conv(12, (3, 2), padding="VALID", feature_group_count=2, use_bias=False)(x)
        x = nn.relu(linen.GroupNorm(3, epsilon=1e-5)(x))
        x = nn.Conv(24, (3, 3), padding=1, feature_group_count=12)(x)
        x = nn.relu(linen.InstanceNorm(epsilon=1e-5)(x))
        # PyTorch's padding is what it cuts off: window - 1 - padding, and the output padding after.
        x = nn.ConvTranspose(6, (4, 3), strides=(2, 2), padding=[(2, 2), (1, 2)])(x)
        x = linen.LayerNorm(epsilon=1e-5)(x)
        x = x.reshape(len(x), -1)
        return nn.Dense(5)(linen.BatchNorm(use_running_average=True)(x))


class Tokens(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = linen.RMSNorm(epsilon=1e-5)(nn.Embed(7, 6)(x))
        x = nn.relu(nn.Conv(8, (3,), padding="VALID")(x))
        x = nn.ConvTranspose(8, (3,), strides=(2,), padding="VALID", use_bias=False)(x)
        return nn.Dense(3, use_bias=False)(nn.relu(x).sum(1))


MLP_NAMES = {
    "0": "Dense_0",
    "1": "BatchNorm_0",
    "3": "Dense_1",
    "4": "BatchNorm_1",
    "5": "Dense_2",
}
# The network, its names, and what else from_pytorch and to_pytorch have to be told
CASES = {
    "mlp": (MLP(), MLP_NAMES, {}),
    "cnn": (
        CNN(),
        {
            "stem.0": "Stem_0/Conv_0",
            "stem.1": "Stem_0/BatchNorm_0",
            "grouped": "Conv_0",
            "group_norm": "GroupNorm_0",
            "depthwise": "Conv_1",
            "instance_norm": "InstanceNorm_0",
            "up": "ConvTranspose_0",
            "layer_norm": "LayerNorm_0",
            "flat_norm": "BatchNorm_0",
            "head": "Dense_0",
        },
        {"transposed": ["up"], "flattened": {"flat_norm": (6, 4, 6), "head": (6, 4, 6)}},
    ),
    "tokens": (
        Tokens(),
        {
            "embed": "Embed_0",
            "norm": "RMSNorm_0",
            "conv": "Conv_0",
            "up": "ConvTranspose_0",
            "head": "Dense_0",
        },
        {"transposed": ["up"]},
    ),
}
every_case = pytest.mark.parametrize("case", CASES)


def golden(case, prefix="weights/"):
    """The arrays of the file, and among them the state dict."""
    return load_golden(f"pytorch_{case}", prefix)


def converted(case):
    _, names, options = CASES[case]
    embeddings = ["embed"] if case == "tokens" else []
    return from_pytorch(golden(case)[1], names, embeddings=embeddings, **options)


@every_case
def test_evaluation_is_pytorchs(case):
    network, _, _ = CASES[case]
    arrays, _ = golden(case)
    x = np.moveaxis(arrays["x"], 1, -1) if case == "cnn" else arrays["x"]
    assert_evaluates(network, converted(case), x, arrays["y"])


@every_case
def test_the_way_back_gives_the_same_arrays(case):
    _, names, options = CASES[case]
    _, state_dict = golden(case)
    back = to_pytorch(converted(case), names, **options)
    wanted = {n: v for n, v in state_dict.items() if not n.endswith("num_batches_tracked")}
    assert list(back) == list(wanted)
    assert_same_arrays(back, wanted)


def test_a_step_of_training_moves_the_statistics_as_pytorchs():
    arrays, before = golden("mlp")
    _, after = golden("mlp", "after/")
    num_values = dict.fromkeys(["1", "4"], len(arrays["train_x"]))
    variables = from_pytorch(before, MLP_NAMES, num_values=num_values)
    step = jax.jit(lambda v, x: MLP().apply(v, x, train=True, mutable=["batch_stats"]))
    _, moved = step(variables, arrays["train_x"])
    wanted = from_pytorch(after, MLP_NAMES, num_values=num_values)["batch_stats"]
    for norm, stats in wanted.items():
        assert np.any(np.abs(stats["var"] - variables["batch_stats"][norm]["var"]) > 0.02)
        for name, value in stats.items():
            found = moved["batch_stats"][norm][name]
            np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)


def test_num_values_makes_the_running_variance_biased_and_back():
    state_dict = {"running_mean": np.zeros(2), "running_var": np.array([1.0, 4.0])}
    variables = from_pytorch(state_dict, {"": ""}, num_values={"": 5})
    np.testing.assert_allclose(variables["batch_stats"]["var"], [0.8, 3.2], rtol=1e-15)
    back = to_pytorch(variables, {"": ""}, num_values={"": 5})
    np.testing.assert_allclose(back["running_var"], [1.0, 4.0], rtol=1e-15)
    assert list(back) == ["running_mean", "running_var"]


@pytest.mark.parametrize("window", [(5,), (5, 3), (5, 3, 2)])
@pytest.mark.parametrize("transposed", [(), ("up",)], ids=["plain", "transposed"])
def test_kernels_of_one_to_three_axes_come_back(window, transposed):
    weight = np.random.default_rng(0).normal(size=(4, 6, *window))
    variables = from_pytorch({"up.weight": weight}, {"up": "a/b"}, transposed=transposed)
    kernel = variables["params"]["a"]["b"]["kernel"]
    assert kernel.shape == (*window, *((4, 6) if transposed else (6, 4)))
    back = to_pytorch(variables, {"up": "a/b"}, transposed=transposed)
    np.testing.assert_array_equal(back["up.weight"], weight)


def test_what_comes_out_is_no_view_of_what_went_in():
    state_dict = {"weight": np.ones((2, 3)), "bias": np.zeros(2)}
    variables = from_pytorch(state_dict, {"": ""})
    back = to_pytorch(variables, {"": ""})
    for array in (*state_dict.values(), *variables["params"].values()):
        array += 1
    np.testing.assert_array_equal(back["weight"], np.ones((2, 3)))
    np.testing.assert_array_equal(variables["params"]["kernel"], np.full((3, 2), 2.0))


@pytest.mark.parametrize("momentum", [0.0, 1.0, 0.1, 0.01, 0.3, 3e-4])
def test_arguments_come_back(momentum):
    arguments = batch_norm_arguments_from_pytorch(eps=1e-4, momentum=momentum, affine=False)
    assert arguments["momentum"] == pytest.approx(1 - momentum, abs=1e-15)
    back = batch_norm_arguments_to_pytorch(**arguments)
    assert back == {"eps": 1e-4, "momentum": momentum, "affine": False}


@pytest.mark.parametrize(
    ("convert", "arguments", "message"),
    [
        (batch_norm_arguments_from_pytorch, {"momentum": None}, "momentum: found None, .*average"),
        (batch_norm_arguments_from_pytorch, {"momentum": 2}, "momentum: found 2, wanted .* 0 to 1"),
        (batch_norm_arguments_to_pytorch, {"momentum": -1}, "momentum: found -1, wanted .* 0 to 1"),
        (batch_norm_arguments_to_pytorch, {"use_bias": False}, "found True and False, wanted both"),
    ],
)
def test_arguments_without_counterpart_are_refused_in_words(convert, arguments, message):
    with pytest.raises(ValueError, match=message):
        convert(**arguments)


VECTOR = np.ones(3)
LINEAR = {"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2)}
NORM = {f"bn.{n}": VECTOR for n in ("weight", "bias", "running_mean", "running_var")}
BOTH = {"fc": "Dense_0", "bn": "BatchNorm_0"}


@pytest.mark.parametrize(
    ("state_dict", "names", "options", "message"),
    [
        (LINEAR, BOTH, {}, "names: found 'bn', wanted a layer that state_dict has.*there is 'fc'"),
        (LINEAR, {"fcc": "a"}, {}, "names: found 'fcc'.*did you mean 'fc'"),
        (LINEAR | NORM, {"fc": "a"}, {}, "state_dict: found arrays of 'bn', .* add .* leave"),
        (LINEAR | NORM, {"fc": "a", "bn": "a"}, {}, "found the path 'a' for 'fc' and for 'bn'"),
        ({"rnn.weight_ih_l0": VECTOR}, {"rnn": "a"}, {}, "found 'rnn.weight_ih_l0', wanted names"),
        ({"fc.bias": VECTOR}, {"fc": "a"}, {}, r"'fc' to have bias \(3,\); wanted .*add what is m"),
        (
            {"bn.running_mean": VECTOR},
            {"bn": "a"},
            {},
            "wanted .*both running_mean and running_var",
        ),
        (
            {"bn.weight": VECTOR, "bn.bias": np.ones(4)},
            {"bn": "a"},
            {},
            r"'bn' to have weight \(3,\), bias \(4,\); wanted vectors of one size",
        ),
        ({"p.weight": np.ones(())}, {"p": "a"}, {}, "wanted vectors of one size"),
        (
            {"ln.weight": np.ones((2, 3, 4)), "ln.bias": np.ones((2, 3, 4))},
            {"ln": "a"},
            {},
            "norms over several axes .* not converted: leave them out",
        ),
        (
            {"up.weight": np.ones((4, 3, 5, 5)), "up.bias": np.ones(6)},
            {"up": "a"},
            {"transposed": ["up"]},
            "Transposed convolutions with groups",
        ),
        ({"c.weight": np.ones((2,) * 6)}, {"c": "a"}, {}, "wanted at most three axes besides"),
        (LINEAR, {"fc": "a"}, {"transposed": ["fc"]}, "'fc' .*wanted a kernel with a window"),
        (LINEAR, {"fc": "a"}, {"transposed": ["fx"]}, "transposed: found 'fx', .*you mean 'fc'"),
        ({"up.weight": np.ones((3, 3, 2))}, {"up": "b/ConvTranspose_0"}, {}, "no 'up', whose path"),
        (LINEAR, {"fc": "a"}, {"embeddings": ["fc"]}, "'fc' to have weight .*bias.*one array alo"),
        (LINEAR, {"fc": "a"}, {"embeddings": ["x"]}, "embeddings: found 'x', wanted a key of name"),
        (
            {"t.weight": np.ones((2, 3, 4))},
            {"t": "a"},
            {"embeddings": ["t"]},
            "wanted one array alone, of two axes",
        ),
        (LINEAR, {"fc": "a"}, {"flattened": {"fx": (3,)}}, "flattened: found 'fx', wanted a key"),
        (LINEAR, {"fc": "a"}, {"flattened": {"fc": (2, 2)}}, r"found \(2, 2\) for 'fc'.*\(3, 2\)"),
        (
            {"c.weight": np.ones((2, 3, 3))},
            {"c": "a"},
            {"flattened": {"c": (3, 1)}},
            r"flattened: found \(3, 1\) for 'c', .*wanted the shape",
        ),
        (
            {"t.weight": np.ones((6, 3))},
            {"t": "a"},
            {"embeddings": ["t"], "flattened": {"t": (6, 1)}},
            r"flattened: found \(6, 1\) for 't'",
        ),
        (NORM, {"bn": "a"}, {"num_values": {"b": 3}}, "num_values: found 'b', wanted a key of nam"),
        (NORM, {"bn": "a"}, {"num_values": {"bn": 1}}, "num_values: found 1 for 'bn', wanted at l"),
        (LINEAR, {"fc": "a"}, {"num_values": {"fc": 9}}, "'fc', which has no running variance"),
    ],
)
def test_what_has_no_counterpart_in_flax_is_refused_in_words(state_dict, names, options, message):
    with pytest.raises(ValueError, match=message):
        from_pytorch(state_dict, names, **options)


DENSE = {"kernel": np.ones((3, 2)), "bias": np.ones(2)}


@pytest.mark.parametrize(
    ("variables", "names", "options", "message"),
    [
        ({"params": {"a": DENSE}}, {"fc": "b"}, {}, "names: found 'b', wanted .* variables has"),
        ({"params": {"a": DENSE, "b": DENSE}}, {"fc": "a"}, {}, "variables: found arrays of 'b'"),
        ({"a": DENSE}, {"fc": "a"}, {}, "variables: found a/kernel, wanted params/…/kernel.*give"),
        ({"params": {"a": {"mean": VECTOR}}}, {"bn": "a"}, {}, "variables: found params/a/mean"),
        ({"params": {"alpha": VECTOR}}, {"": ""}, {}, "found params/alpha, wanted .*leave out"),
        ({"params": {"a": {"bias": VECTOR}}}, {"bn": "a"}, {}, "wanted .*add .*a scale of ones"),
        (
            {"params": {"a": {"kernel": np.ones((4, 2, 3)), "bias": np.ones((2, 3))}}},
            {"query": "a"},
            {},
            "dense layers with several axes of features are not converted",
        ),
        ({"params": {"a": DENSE}}, {"fc": "a"}, {"transposed": ["fc"]}, "variables: found 'fc'"),
        (
            {"params": {"a": {"scale": VECTOR, "bias": np.ones(4)}}},
            {"bn": "a"},
            {"flattened": {"bn": (3, 1)}},
            "variables: found 'bn' .*vectors of one size",
        ),
    ],
)
def test_what_has_no_counterpart_in_pytorch_is_refused_in_words(variables, names, options, message):
    with pytest.raises(ValueError, match=message):
        to_pytorch(variables, names, **options)


def test_a_string_is_no_list_of_modules():
    with pytest.raises(TypeError, match="transposed: found 'fc', wanted several names"):
        from_pytorch(LINEAR, {"fc": "a"}, transposed="fc")


def test_half_statistics_become_float32_and_parameters_stay_as_they_are():
    arrays = {"weight": np.ones(2), "bias": np.zeros(2), "running_mean": np.array([0.1, 0.2])}
    state_dict = {f"0.{k}": v.astype(np.float16) for k, v in arrays.items()}
    state_dict["0.running_var"] = np.ones(2, np.float16)
    variables = from_pytorch(state_dict, {"0": "BatchNorm_0"})
    assert {v.dtype for v in variables["params"]["BatchNorm_0"].values()} == {np.dtype("float16")}
    stats = variables["batch_stats"]["BatchNorm_0"]
    assert {v.dtype for v in stats.values()} == {np.dtype("float32")}
    np.testing.assert_array_equal(stats["mean"], state_dict["0.running_mean"])
