"""Mistakes of a sweep: one line each, found before anything is built."""

import functools
import typing

import jax
import jax.numpy as jnp
import pytest

from jbn.config import (
    ArmConfig,
    ModelConfig,
    NormConfig,
    OptimizerConfig,
    UserError,
    config_from_dict,
    load_config,
)
from jbn.config.check import MATTERS_FOR
from jbn.config.sweep import arm_at
from jbn.train import Batch, DataSpec, Hypers, TrainKeys, make_task

FUNCTIONS = 'wanted a list, "range(start, stop, step)", "linspace(first, last, number)" or, for pow'


def mistakes(**table):
    with pytest.raises(UserError) as error:
        config_from_dict({"name": "x", **table})
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("sweep", "line"),
    [
        (3, "sweep: found 3, wanted a section, [sweep]"),
        ({"axes": 3}, "sweep.axes: found 3, wanted a section, [sweep.axes]"),
        ({"mode": "both"}, "sweep.mode: found 'both', wanted 'grid' or 'zip'"),
        ({"modes": "zip"}, "sweep.modes: unknown key, did you mean mode?"),
        ({"max_lanes": 0}, "sweep.max_lanes: found 0, wanted greater than or equal to 1"),
        ({"seed": [1]}, "sweep.seed: every point has the seeds that seed and num_seeds say; set"),
        ({"num_seeds": [1]}, "sweep.num_seeds: every point has the seeds that seed and num_seeds"),
        ({"name": ["a"]}, "sweep.name: unknown key, did you mean data.name?"),
        (
            {"foo": [1]},
            "sweep.foo: unknown key, known here: data, model, norm, optimizer, loss, train,",
        ),
        ({"foo": {"bar": [1]}}, "sweep.foo.bar: unknown key, known here: data, model, norm, opti"),
        ({"norm": {"epz": [1]}}, "sweep.norm.epz: unknown key, did you mean norm.epsilon?"),
        ({"norm": {"momentum": {"x": [1]}}}, "sweep.norm.momentum.x: unknown key, known here: "),
        (
            {"data": {"momentum": [1]}},
            "sweep.data.momentum: unknown key, did you mean norm.momentum or optimizer.momentum?",
        ),
        (
            {"sweep": {"norm": {"epsilon": [1]}}},
            "sweep.sweep.norm.epsilon: unknown key, did you mean norm.epsilon?",
        ),
        (
            {"arms": {"a": {"norm": {"momentum": [0.5]}}}},
            "sweep.arms.a.norm.momentum: a sweep sets every arm; leave arms.a out",
        ),
        (
            {"norm": [{"kind": "none"}]},
            "sweep.norm: a section can't be swept; wanted its keys, e.g. sweep.norm.kind",
        ),
        (
            {"data": {"mixture": [1]}},
            "sweep.data.mixture: a section can't be swept; wanted its keys, e.g. sweep.data.mixtu",
        ),
        (
            {"norm": {"momentum": [0.5]}, "axes": {"norm.momentum": [0.5]}},
            "sweep.norm.momentum: found twice; leave one of them out",
        ),
        ({"norm": {"momentum": []}}, "sweep.norm.momentum: found 0 values, wanted from 1 to 1"),
        ({"norm": {"momentum": 0.5}}, f"sweep.norm.momentum: found 0.5, {FUNCTIONS}"),
        ({"norm": {"kind": "none"}}, f"sweep.norm.kind: found 'none', {FUNCTIONS}"),
        (
            {"norm": {"kind": "[batch,none]"}},
            "sweep.norm.kind: found '[batch,none]', wanted a list with text in double quotes, and "
            'single ones around all of it: --sweep \'norm.kind=["a", "b"]\'',
        ),
        ({"norm": {"momentum": [0.5, 2]}}, "sweep.norm.momentum: found 2, wanted less than or eq"),
        ({"norm": {"momentum": ["a"]}}, "sweep.norm.momentum: found 'a', wanted a valid number"),
        ({"norm": {"momentum": [True]}}, "sweep.norm.momentum: found True, wanted a valid number"),
        ({"norm": {"momentum": [{}]}}, "sweep.norm.momentum: found {}, wanted a valid number"),
        ({"norm": {"kind": ["bach"]}}, "sweep.norm.kind: found 'bach', wanted 'batch', 'ghost', "),
        (
            {"train": {"batch_size": "linspace(16, 32, 2)"}},
            "sweep.train.batch_size: found 16.0, wanted a valid integer",
        ),
        (
            {"model": {"hidden_sizes": [128, 64]}},
            "sweep.model.hidden_sizes: found 128, wanted lists of integers, e.g. [[128, 64], [64]]",
        ),
        (
            {"optimizer": {"learning_rate": "logspace(0, 400, 2)"}},
            "sweep.optimizer.learning_rate: found inf, wanted a finite number",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_it(sweep, line):
    (found,) = mistakes(sweep=sweep)
    assert found.startswith(line)
    assert len(found) < 300


@pytest.mark.parametrize(
    "text",
    [
        "0.5",
        "geomspace(1, 2, 3)",
        "logspace(1, 2)",
        "logspace(1, 2, 3, 4)",
        "logspace(1, 2, 3.0)",
        "linspace(0, 1, 5, False)",
        "linspace([0, 1], 1, 5)",
        "linspace(1, 2, 3",
        "linspace(1, 2, 3))",
        "linspace(1; 2; 3)",
        "linspace(__import__, 2, 3)",
        "range()",
        "range(3,)",
        "range(1, 9, 0)",
        "range(0.1, 0.9)",
        f"range({'9' * 50})",
        "",
    ],
)
def test_text_that_is_no_function_is_shown_what_would_be(text):
    (line,) = mistakes(sweep={"norm": {"epsilon": text}})
    assert line.startswith(f"sweep.norm.epsilon: found {text!r}, {FUNCTIONS}")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("range(2, 2)", 0),
        ("linspace(0, 1, 0)", 0),
        ("linspace(0, 1, -1)", -1),
        ("range(1000000000000)", 10**12),
        ("logspace(0, 1, 1000000000000)", 10**12),
    ],
)
def test_too_few_or_too_many_values_are_counted_and_not_made(text, number):
    (line,) = mistakes(sweep={"norm": {"epsilon": text}})
    assert line == f"sweep.norm.epsilon: found {number} values, wanted from 1 to 100000"


def test_every_axis_is_checked():
    sweep = {"norm": {"epz": [1], "momentum": [2, 3]}, "seed": [1]}
    lines = mistakes(sweep=sweep, data={"name": "imagenet"}, arms={"a": {"norm": {"kind": "b"}}})
    assert [line.partition(":")[0] for line in lines] == [
        *("data.name", "sweep.norm.epz", "sweep.norm.momentum", "sweep.seed", "arms.a.norm.kind")
    ]


def test_zip_needs_axes_of_one_length():
    sweep = {"mode": "zip", "norm": {"momentum": [0.1, 0.2], "epsilon": [0.1, 0.2, 0.3]}}
    assert mistakes(sweep=sweep) == [
        "sweep.mode: 'zip' takes one value of each key at a time; found 2 of norm.momentum, 3 of "
        "norm.epsilon, wanted as many of each, or mode 'grid'"
    ]


def test_an_absurd_number_of_trials_is_refused_before_they_are_made():
    rates = "linspace(0.1, 0.9, 10000)"
    sweep = {"norm": {"momentum": rates, "epsilon": rates}, "optimizer": {"learning_rate": rates}}
    assert mistakes(sweep=sweep, arms={"a": {}, "b": {}}) == [
        "sweep and num_seeds: found 16000000000000 trials, arms × points × seeds = "
        "2 × 1000000000000 × 8, wanted at most 100000"
    ]
    lines = mistakes(num_seeds=4096, arms={f"a{n}": {} for n in range(25)})
    assert lines[0].startswith("sweep and num_seeds: found 102400 trials")
    largest = {"optimizer": {"learning_rate": "logspace(-4, 0, 10000)"}}
    config_from_dict({"name": "x", "num_seeds": 10, "sweep": largest})


def test_a_point_that_comes_twice_is_named():
    sweep = {"norm": {"momentum": [0.5, 0.9, 0.5], "epsilon": [1, 1.0]}}
    (line,) = mistakes(sweep=sweep)
    assert (
        line == "sweep: found norm.momentum=0.5, norm.epsilon=1.0 4 times, wanted each point once"
    )
    config_from_dict(
        {"name": "x", "sweep": {"mode": "zip", "norm": {"momentum": [1, 1], "epsilon": [1, 2]}}}
    )


def test_keys_that_do_not_fit_at_a_point_are_named_once():
    rates = "linspace(0, 1, 5)"
    line = (
        "sweep, at optimizer.weight_decay=0.25: optimizer.weight_decay: found 0.25, which adam "
        "hasn't; wanted 0, or optimizer.kind 'adamw'"
    )
    sweep = {"optimizer": {"weight_decay": rates}}
    assert mistakes(sweep=sweep) == [line]
    assert mistakes(sweep=sweep, arms={"a": {}, "b": {"norm": {"kind": "none"}}}) == [line]
    sgd = {"optimizer": {"kind": "sgd"}}
    assert mistakes(sweep=sweep, arms={"a": {}, "b": sgd}) == [f"arms.a: {line}"]
    (line,) = mistakes(sweep={"norm": {"kind": ["batch", "group"], "num_groups": [8, 12]}})
    assert line.startswith(
        "sweep, at norm.kind='group', norm.num_groups=12: norm.num_groups: found 12, wanted a div"
    )


def test_arms_that_the_sweep_makes_the_same_are_named():
    arms = {"a": {}, "b": {"norm": {"kind": "none"}}, "c": {"train": {"num_epochs": 1}}}
    sweep = {"norm": {"momentum": [0.5, 0.9], "kind": ["batch", "none"]}}
    assert mistakes(sweep=sweep, arms=arms) == [
        "sweep.norm.kind: sets every arm, which makes arms.a and arms.b the same; leave it, or one "
        "of the arms, out"
    ]


def test_options_of_the_command_line_are_named(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('name = "x"')
    for option, line in {
        "norm.momentum": "--sweep norm.momentum: wanted key=values, e.g. norm.momentum=[0.9,0.99]",
        "norm.momentum=0.5": f"sweep.norm.momentum: found 0.5, {FUNCTIONS}",
        "norm.momentum=[0.5": "sweep.norm.momentum: found '[0.5', wanted a list with text in dou",
        "norm=[1]": "sweep.norm: a section can't be swept; wanted its keys, e.g. sweep.norm.kind",
        "=[1]": "--sweep =[1]: wanted key=values, e.g. norm.momentum=[0.9,0.99]",
    }.items():
        with pytest.raises(UserError) as error:
            load_config(path, [], [option])
        assert str(error.value).startswith(line)


OTHER: dict[str, typing.Any] = {
    "data.dir": ["a", "b"],
    "data.path": ["a", "b"],
    "data.num_targets": [1, 2],
    "data.input_scale": [1.0, 2.0],
    "data.normalize_per": ["feature", "channel"],
    "data.mixture.offset": [0.0, 1.0],
    "model.hidden_sizes": [[8], [16]],
    "model.activation": ["relu", "tanh"],
    "model.norm_position": ["after_activation", "before_activation"],
    "model.channels": [[8], [16]],
    "model.stem": ["cifar", "imagenet"],
    "model.num_filters": [64, 32],
    "model.zero_last_scale": [False, True],
    "model.kernel_init": ["lecun_normal", "he_normal"],
    "norm.momentum": [0.9, 0.5],
    "norm.momentum_warmup": [False, True],
    "norm.epsilon": [0.1, 0.2],
    "norm.use_bias": [True, False],
    "norm.use_scale": [True, False],
    "norm.virtual_batch_size": [4, 2],
    "norm.num_plain_steps": [5000, 0],
    "norm.num_groups": [8, 4],
    "optimizer.momentum": [0.9, 0.5],
    "optimizer.weight_decay": [0.0, 0.1],
}


def choices(key):
    section, name = key.split(".")
    field = type(getattr(ArmConfig(), section)).model_fields[name]
    return typing.get_args(field.annotation)


def test_other_values_are_given_for_each_key_that_does_not_always_matter():
    assert set(OTHER) == {*MATTERS_FOR, "data.mixture.offset"} - {"data.mixture"}


@pytest.mark.parametrize("key", OTHER)
def test_a_swept_key_that_changes_nothing_is_an_error(key):
    where, values = MATTERS_FOR.get(key) or MATTERS_FOR["data.mixture"]
    assert set(values) < set(choices(where))
    sweep = functools.reduce(lambda value, part: {part: value}, key.split(".")[::-1], OTHER[key])
    section, name = where.split(".")
    others = [choice for choice in choices(where) if choice not in values]
    found = mistakes(sweep=sweep, **{section: {name: others[0]}})
    # Some don't fit, besides.
    if key in ("data.path", "data.num_targets", "optimizer.weight_decay"):
        assert found[0].startswith("sweep, at ")
    else:
        assert found[0].startswith(f"sweep.{key}: changes nothing, as no arm has {where} '")
    table = {"name": "x", section: {name: values[0]}}
    if key == "data.num_targets":
        table["data"]["targets"] = "numbers"
    if values[0] in ("npz", "csv"):
        table["data"]["path"] = "a"
    config_from_dict({**table, "sweep": sweep})


def test_a_factory_has_no_use_for_a_kinds_keys():
    (line,) = mistakes(sweep={"model": {"activation": ["relu", "tanh"]}}, model={"factory": "a:b"})
    assert line == (
        "sweep.model.activation: changes nothing, as no arm has model.kind 'mlp' without "
        "model.factory"
    )


@functools.cache
def program(arm):
    """The program of the first step of training, in words; its numbers are a part of it."""
    batch = Batch(jnp.zeros((4, 4, 4, 1)), jnp.zeros(4, int))
    task = make_task(arm, DataSpec(num_examples=1000, features=(4, 4, 1), num_classes=2))

    def function(key):
        hypers = Hypers.of(arm)
        keys = TrainKeys.of(key)
        return task.step(task.init(keys, hypers), batch, keys, hypers)

    return jax.jit(function).lower(jax.random.key(0)).as_text()


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("key", [key for key in OTHER if key.startswith("model.")])
def test_a_model_is_another_by_the_keys_that_matter_for_its_kind(key, kind):
    arm = ArmConfig(model=ModelConfig(kind=kind, hidden_sizes=(8,), channels=(8,)))
    programs = {program(arm_at(arm, {key: v})) for v in OTHER[key]}
    assert (len(programs) > 1) == (kind in MATTERS_FOR[key][1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", typing.get_args(NormConfig.model_fields["kind"].annotation))
@pytest.mark.parametrize("key", [key for key in OTHER if key.startswith("norm.")])
def test_a_norm_is_another_by_the_keys_that_matter_for_its_kind(key, kind):
    arm = ArmConfig(
        model=ModelConfig(kind="cnn", channels=(8,)),
        norm=NormConfig(kind=kind),
        optimizer=OptimizerConfig(kind="sgd"),
    )
    programs = {program(arm_at(arm, {key: v})) for v in OTHER[key]}
    assert (len(programs) > 1) == (kind in MATTERS_FOR[key][1])
