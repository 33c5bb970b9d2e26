"""What is said of a network is what is true of it."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import close, normal

import jbn.linen
from jbn.diagnose import norm_metrics, norm_report, norm_table, norm_warnings

KEY = jax.random.key(0)


class Network(nn.Module):
    """A norm of the inputs themselves, and a Dense layer."""

    norm: type = jbn.linen.BatchNorm

    @nn.compact
    def __call__(self, x, train):
        x = self.norm(use_running_average=not train, epsilon=1e-3, name="norm")(x)
        return nn.Dense(3)(x)


def reported(x, change=lambda variables: variables, norm=jbn.linen.BatchNorm, batch_size=50):
    """The report of a network whose running statistics are those of x, changed somehow."""
    model = Network(norm)
    variables = model.init(KEY, x, train=True)
    x64 = np.asarray(x, np.float64)
    stats = {"mean": jnp.asarray(x64.mean(0)), "var": jnp.asarray(x64.var(0))}
    variables["batch_stats"]["norm"] = stats
    variables = change(variables)

    def apply(variables, x, train):
        return model.apply(variables, x, train=train, mutable=["batch_stats"])

    return jax.jit(functools.partial(norm_report, apply, batch_size=batch_size))(variables, x)


def with_stats(**changes):
    def change(variables):
        for name, function in changes.items():
            old = variables["batch_stats"]["norm"][name]
            variables["batch_stats"]["norm"][name] = function(old)
        return variables

    return change


@pytest.mark.parametrize("norm", [jbn.linen.BatchNorm, nn.BatchNorm])
def test_all_is_well_where_the_running_statistics_are_the_datas(norm):
    report = reported(2 + normal(200, 4), norm=norm)
    close(report.layers["norm"].mean_gap, np.zeros(4), 1e-5)
    close(report.layers["norm"].std_ratio, np.ones(4), 1e-5)
    assert norm_warnings(report) == []
    metrics = norm_metrics(report)
    assert metrics["norm/is_dead"] == 0
    assert metrics["norm/std_ratio"] < 1.0001


def test_gaps_are_measured_in_deviations_of_the_data():
    x = 5 * normal(200, 4)
    change = with_stats(mean=lambda m: m + jnp.array([0, 1, 5, 10]), var=lambda v: v * 4)
    layer = reported(x, change).layers["norm"]
    std = np.sqrt(np.asarray(x, np.float64).var(0) + 1e-3)
    close(layer.mean_gap, np.array([0, 1, 5, 10]) / std, 1e-5)
    close(layer.std_ratio, np.full(4, 0.5), 1e-4)
    report = reported(x, change)
    headings, ((layer, *numbers),) = norm_table(report)
    cells = dict(zip(headings[1:], numbers, strict=True))
    assert (layer, cells["channels"], cells["std ratio"], cells["dead"]) == ("norm", "4", "2", "0")
    lines = norm_warnings(report)
    assert any(line.startswith("norm: 4 of 4 channels have running statistics") for line in lines)
    assert "the deviation up to 2 times" in "".join(lines)


def test_a_channel_without_variance_has_no_gap_and_a_mean_alone_may_be_off():
    x = normal(200, 3).at[:, 0].set(7.1)
    mean, var = (lambda old, by=by: old + jnp.array(by) for by in ([5, 5, 0], [3, 0, 0]))
    report = reported(x, with_stats(mean=mean, var=var))
    layer = report.layers["norm"]
    assert (layer.mean_gap[0], layer.std_ratio[0]) == (0, 1)
    lines = norm_warnings(report)
    assert any(line.startswith("norm: 1 of 3 channels have running statistics") for line in lines)


def test_outputs_that_are_not_finite_are_warned_of():
    report = reported(normal(200, 4))
    assert norm_warnings(report) == []
    (line,) = norm_warnings(report._replace(output_gap=jnp.nan))
    assert line.startswith("the model: outputs in evaluation are off")


def test_channels_that_do_nothing_are_counted():
    x = normal(200, 6)
    x = x.at[:, 0].set(0).at[:, 1].set(7.1).at[:, 2].multiply(1e-3)

    def change(variables):
        variables["params"]["norm"]["scale"] = jnp.array([1, 1, 1, 0.001, -0.001, 1])
        return variables

    report = reported(x, change)
    layer = report.layers["norm"]
    assert layer.is_dead.tolist() == [True] + [False] * 5
    assert layer.is_constant.tolist() == [True] * 2 + [False] * 4
    assert layer.is_saturated.tolist() == [False] * 2 + [True] + [False] * 3
    assert layer.has_small_scale.tolist() == [False] * 3 + [True] * 2 + [False]
    flags = ["is_constant", "is_dead", "is_saturated", "has_small_scale"]
    assert [norm_metrics(report)[f"norm/{flag}"] for flag in flags] == [2, 1, 1, 2]
    headings, (cells,) = norm_table(report)
    shown = dict(zip(headings, cells, strict=True))
    assert [shown[name] for name in headings[-4:]] == ["2", "1", "1", "2"]
    lines = norm_warnings(report)
    for start in (
        "norm: 1 of 6 channels are always 0",
        "norm: 1 of 6 channels never change",
        "norm: 1 of 6 channels have a variance below epsilon",
        "norm: 2 of 6 channels have a scale below 0.01",
    ):
        assert any(line.startswith(start) for line in lines), start
    assert len(lines) == 4


def test_the_gap_of_the_outputs_is_that_of_training_and_evaluation():
    x = normal(200, 4)
    report = reported(x, with_stats(mean=lambda m: m + 2), batch_size=200)
    model = Network()
    variables = model.init(KEY, x, train=True)
    kernel = np.asarray(variables["params"]["Dense_0"]["kernel"], np.float64)
    x64 = np.asarray(x, np.float64)
    std = np.sqrt(x64.var(0) + 1e-3)
    shift = (2 / std) @ kernel
    evaluated = ((x64 - x64.mean(0)) / std) @ kernel - shift
    close(report.output_gap, np.sqrt(np.mean(shift**2)) / evaluated.std(), 1e-5)
    assert norm_warnings(report)[0].startswith("the model: outputs in evaluation are off")
