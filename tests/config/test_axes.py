"""The axes of a sweep, as they are written, and the points that they make."""

import json
import tomllib

import numpy as np
import pytest

from jbn.config import Config, SweepConfig, UserError, config_from_dict, load_config, plan
from jbn.config.sweep import sweep_points

pytestmark = pytest.mark.quick

NONE = {"name": "x", "data": {"normalize": "none"}}  # where every number matters


def axes(sweep):
    """The axes of a config with this [sweep], as TOML or as a dict."""
    table = tomllib.loads(sweep) if isinstance(sweep, str) else sweep
    return config_from_dict({**NONE, "sweep": table}).sweep.axes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("range(3, 9)", range(3, 9)),
        ("range(1, 12, 4)", [1, 5, 9]),
        ("range(9, 3, -2)", [9, 7, 5]),
        (" range ( 2 , 4 ) ", [2, 3]),
        ("linspace(0.5, 2, 4)", np.linspace(0.5, 2, 4)),
        ("linspace(2, 1, 3)", [2, 1.5, 1]),
        ("linspace(3, 4, 1)", [3]),
        ("logspace(-4, 1, 16)", np.logspace(-4, 1, 16)),
        ("logspace(0.5, -0.5, 2)", np.logspace(0.5, -0.5, 2)),
        ("logspace(1e1, -1.0, 3)", np.logspace(10, -1, 3)),
    ],
)
def test_functions_are_those_of_python_and_numpy(text, wanted):
    found = axes({"optimizer": {"learning_rate": text}})["optimizer.learning_rate"]
    assert found == list(map(float, wanted))
    assert {type(value) for value in found} == {float}


def test_range_makes_integers_for_keys_that_take_them():
    (found,) = axes({"train": {"batch_size": "range(16, 64, 16)"}}).values()
    assert found == [16, 32, 48]
    assert {type(value) for value in found} == {int}


@pytest.mark.parametrize(
    "sweep",
    [
        "norm.momentum = [0.9, 1]\nmodel.hidden_sizes = [[3], []]",
        "norm = {momentum = [0.9, 1]}\nmodel = {hidden_sizes = [[3], []]}",
        '"norm.momentum" = [0.9, 1]\n"model.hidden_sizes" = [[3], []]',
        "[norm]\nmomentum = [0.9, 1]\n[model]\nhidden_sizes = [[3], []]",
        '[axes]\n"norm.momentum" = [0.9, 1]\n"model.hidden_sizes" = [[3], []]',
        "[axes]\nnorm.momentum = [0.9, 1]\nmodel.hidden_sizes = [[3], []]",
        {"norm": {"momentum": (0.9, 1)}, "model": {"hidden_sizes": [(3,), ()]}},
    ],
)
def test_keys_may_be_written_in_every_way_that_toml_has(sweep):
    found = axes(sweep)
    assert found == {"norm.momentum": [0.9, 1.0], "model.hidden_sizes": [[3], []]}
    assert isinstance(found["norm.momentum"][1], float)


def test_a_grid_has_all_combinations_the_last_key_fastest():
    sweep = SweepConfig(axes={"a": [1, 2], "b": [3, 4, 5]})
    points = [tuple(point.items()) for point in sweep_points(sweep)]
    assert points == [(("a", a), ("b", b)) for a in (1, 2) for b in (3, 4, 5)]


def test_zip_takes_one_value_of_each():
    sweep = SweepConfig(mode="zip", axes={"a": [1, 2, 2], "b": [3, 4, 5]})
    assert sweep_points(sweep) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}, {"a": 2, "b": 5}]


@pytest.mark.parametrize("mode", ["grid", "zip"])
def test_without_axes_there_is_one_point(mode):
    assert sweep_points(SweepConfig(mode=mode)) == [{}]
    (program,) = plan(config_from_dict({"name": "x", "sweep": {"mode": mode}}))
    assert len(program.trials) == 8


TOML = """
name = "x"
[sweep]
mode = "zip"
norm.momentum = [0.9, 0.99]
optimizer.learning_rate = "linspace(0.5, 1.5, 2)"
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(TOML)
    return path


def test_sweep_of_the_command_line_replaces_and_adds(path):
    options = ["norm.momentum=[0.5]", 'norm.kind=["batch", "none"]', "mode=grid", "max_lanes=3"]
    assert load_config(path, [], options).sweep == SweepConfig(
        max_lanes=3,
        axes={
            "norm.momentum": [0.5],
            "optimizer.learning_rate": [0.5, 1.5],
            "norm.kind": ["batch", "none"],
        },
    )
    options = ["optimizer.learning_rate=linspace(1, 2, 2)"]
    assert load_config(path, [], options).sweep.axes["optimizer.learning_rate"] == [1.0, 2.0]


def test_set_reaches_the_sweep_too(path):
    assert load_config(path, ["sweep={}"]).sweep == SweepConfig()
    again = load_config(path, ["sweep={}", "norm.momentum=0.5"], ["norm.epsilon=[1, 2]"])
    assert again.sweep.axes == {"norm.epsilon": [1.0, 2.0]}
    overrides = ["sweep.mode=grid", "sweep.norm.momentum=[0.5]", "sweep.axes.norm.epsilon=[1.0]"]
    assert load_config(path, overrides).sweep.axes == {
        "norm.momentum": [0.5],
        "optimizer.learning_rate": [0.5, 1.5],
        "norm.epsilon": [1.0],
    }


@pytest.mark.parametrize("key", ["norm.momentum", "arms.a.norm.momentum"])
def test_set_of_a_swept_key_is_an_error(path, key):
    path.write_text(TOML + "[arms.a]")
    with pytest.raises(UserError) as error:
        load_config(path, [f"{key}=0.5"])
    assert str(error.value) == (
        f"--set {key}=0.5: the sweep sets norm.momentum; change that with --sweep, or sweep "
        "nothing with --set sweep={}"
    )


SWEEPS = [
    {"norm": {"momentum": [0.9, 1], "epsilon": "logspace(-8, 30, 5)"}},
    {"mode": "zip", "max_lanes": 7, "norm": {"kind": ["batch", "none"], "epsilon": [1, 2]}},
    {"model": {"hidden_sizes": [[3], [], [4, 5]]}},
    {"optimizer": {"clip_norm": ["none", 1]}, "train": {"ema_decay": [0.5, "none"]}},
]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_resolved_config_is_read_as_the_same_config(sweep):
    arms = {"a": {}, "b": {"train": {"num_epochs": 1}}}
    config = config_from_dict({"name": "x", "arms": arms, "sweep": sweep})
    text = json.dumps(config.model_dump(mode="json"), allow_nan=False)
    again = Config.model_validate_json(text)
    assert again == config
    assert plan(again) == plan(config)
    assert config_from_dict(json.loads(text)) == config


def test_arms_are_at_the_first_point_of_the_sweep():
    """So what a swept key was before need not fit the rest: adam has no weight decay."""
    table = {"name": "x", "optimizer": {"weight_decay": 0.1}}
    config = config_from_dict({**table, "sweep": {"optimizer": {"kind": ["sgd", "adamw"]}}})
    assert config.arms["batch"].optimizer.kind == "sgd"


def test_the_only_arm_of_several_norms_is_named_after_none():
    config = config_from_dict({"name": "x", "sweep": {"norm": {"kind": ["batch", "none"]}}})
    assert list(config.arms) == ["swept"]


def test_a_sweep_sets_what_an_arm_sets_itself():
    arms = {"a": {"norm": {"momentum": 0.5}}, "b": {"norm": {"kind": "none"}}}
    config = config_from_dict({"name": "x", "arms": arms, "sweep": {"norm": {"momentum": [0.9]}}})
    assert {t.config.norm.momentum for program in plan(config) for t in program.trials} == {0.9}
