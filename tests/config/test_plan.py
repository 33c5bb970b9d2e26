"""Trials and programs: what changes only numbers is a lane, everything else another program."""

import functools
import itertools
import math

import numpy as np
import pytest

from jbn.config import (
    NUMBERS,
    ArmConfig,
    config_from_dict,
    describe_plan,
    plan,
    plan_groups,
    trial_numbers,
    trial_shape,
)
from jbn.config.explain import paths
from jbn.config.schema import OWN_FUNCTIONS
from jbn.train import Hypers

pytestmark = pytest.mark.quick

KEYS = [
    key for key in paths(ArmConfig) if not any(p.startswith(f"{key}.") for p in paths(ArmConfig))
]
# Two values of every key, and the sections of a config where these make a difference.
MNIST, CSV, MIXTURE = ({"data": {"name": name}} for name in ("mnist", "csv", "mixture"))
TABLE = {"data": {"name": "csv", "path": "a"}}
CNN, RESNET = ({"model": {"kind": kind}} for kind in ("cnn", "resnet18"))
VALUES = {
    "data.name": (["digits", "wine"], {}),
    "data.dir": (["none", "a"], MNIST),
    "data.path": (["a", "b"], CSV),
    "data.targets": (["labels", "numbers"], TABLE),
    "data.num_targets": ([1, 2], {"data": {**TABLE["data"], "targets": "numbers"}}),
    "data.split_seed": ([0, 1], {}),
    "data.input_scale": ([1.0, 2.0], {"data": {"normalize": "none"}}),
    "data.normalize": (["standardize", "none"], {}),
    "data.normalize_per": (["feature", "channel"], {}),
    "data.label_noise": ([0.0, 1.0], {}),
    "data.mixture.seed": ([0, 1], MIXTURE),
    "data.mixture.num_examples": ([2000, 3000], MIXTURE),
    "data.mixture.num_features": ([16, 17], MIXTURE),
    "data.mixture.num_classes": ([4, 5], MIXTURE),
    "data.mixture.separation": ([3.0, 0.0], MIXTURE),
    "data.mixture.offset": ([0.0, -1.0], MIXTURE),
    "data.mixture.scale": ([1.0, 2.0], MIXTURE),
    "data.mixture.condition": ([1.0, 2.0], MIXTURE),
    "data.mixture.drift": ([0.0, 1.0], MIXTURE),
    "data.augment.shift": ([0, 1], {}),
    "data.augment.flip": ([False, True], {}),
    "data.augment.cutout": ([0, 1], {}),
    "data.augment.function": (["none", "a:b"], {}),
    "model.kind": (["mlp", "cnn"], {}),
    "model.hidden_sizes": ([[128, 64], []], {}),
    "model.activation": (["relu", "none"], {}),
    "model.norm_position": (["after_activation", "before_activation"], {}),
    "model.channels": ([[16, 32], [16]], CNN),
    "model.stem": (["cifar", "imagenet"], RESNET),
    "model.num_filters": ([64, 32], RESNET),
    "model.zero_last_scale": ([False, True], RESNET),
    "model.kernel_init": (["lecun_normal", "he_normal"], {}),
    "model.init_gain": ([1.0, 0.0], {}),
    "model.dtype": (["float32", "bfloat16"], {}),
    "model.factory": (["none", "a:b"], {}),
    "model.init_from": (["none", "a"], {}),
    "model.init_fresh": ([[], ["a"]], {"model": {"init_from": "a"}}),
    "norm.kind": (["batch", "none"], {}),
    "norm.momentum": ([0.99, 0.0], {}),
    "norm.momentum_warmup": ([False, True], {}),
    "norm.epsilon": ([1e-3, 0.0], {}),
    "norm.use_bias": ([True, False], {}),
    "norm.use_scale": ([True, False], {}),
    "norm.virtual_batch_size": ([32, 16], {"norm": {"kind": "ghost"}}),
    "norm.num_plain_steps": ([5000, 0], {"norm": {"kind": "renorm"}}),
    "norm.num_groups": ([8, 4], {"norm": {"kind": "group"}}),
    "optimizer.kind": (["adam", "sgd"], {}),
    "optimizer.learning_rate": ([1e-3, 1.0], {}),
    "optimizer.momentum": ([0.9, 0.0], {"optimizer": {"kind": "momentum"}}),
    "optimizer.weight_decay": ([0.0, 0.1], {"optimizer": {"kind": "sgd"}}),
    "optimizer.schedule": (["constant", "cosine"], {}),
    "optimizer.warmup_steps": ([0, 1], {}),
    "optimizer.clip_norm": (["none", 1.0], {}),
    "optimizer.accumulate": ([1, 2], {}),
    "optimizer.factory": (["none", "a:b"], {}),
    "optimizer.schedule_factory": (["none", "a:b"], {}),
    "loss.label_smoothing": ([0.0, 0.1], {}),
    "loss.class_weights": (["none", "balanced"], {}),
    "loss.factory": (["none", "a:b"], {}),
    "train.num_epochs": ([10, 1], {}),
    "train.batch_size": ([32, 2], {}),
    "train.order": (["shuffled", "fixed"], {}),
    "train.freeze": ([[], ["a"]], {}),
    "train.ema_decay": (["none", 0.0], {}),
    "train.recompute_stats": ([False, True], {}),
}


def nested(key, value):
    return functools.reduce(lambda value, part: {part: value}, key.split(".")[::-1], value)


def sweep(**table):
    return plan(config_from_dict({"name": "x", **table}))


def test_every_key_of_an_arm_is_in_the_table():
    assert list(VALUES) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_numbers_are_lanes_and_everything_else_is_another_program(key):
    values, sections = VALUES[key]
    programs = sweep(num_seeds=3, sweep=nested(key, values), **sections)
    if key in NUMBERS.values():
        assert [len(program.trials) for program in programs] == [6]
    else:
        assert [len(program.trials) for program in programs] == [3, 3]
    for program in programs:
        for trial in program.trials:
            changed = trial.config.model_dump()
            shared = program.config.model_dump()
            for number in NUMBERS.values():
                section, name = number.split(".")
                del changed[section][name], shared[section][name]
            assert changed == shared
    points = [trial.point[key] for program in programs for trial in program.trials]
    assert points == [values[0]] * 3 + [values[1]] * 3


def test_numbers_are_the_hypers_of_training():
    assert tuple(NUMBERS) == Hypers._fields
    for name, key in NUMBERS.items():
        (program,) = sweep(
            num_seeds=1,
            data={"normalize": "none"},
            optimizer={"kind": "sgd"},
            sweep=nested(key, VALUES[key][0]),
        )
        found = [float(getattr(Hypers.of(trial.config), name)) for trial in program.trials]
        assert found == pytest.approx(VALUES[key][0])


def test_trials_are_numbered_arm_by_arm_point_by_point_seed_by_seed():
    programs = sweep(
        seed=5,
        num_seeds=2,
        arms={"a": {}, "b": {"norm": {"kind": "none"}}},
        sweep={"norm": {"momentum": [0.5, 0.9]}, "train": {"batch_size": [16, 32]}},
    )
    assert [(p.arm, p.config.train.batch_size) for p in programs] == [
        *(("a", 16), ("a", 32), ("b", 16), ("b", 32))
    ]
    trials = sorted((t for program in programs for t in program.trials), key=lambda t: t.number)
    assert [trial.number for trial in trials] == list(range(16))
    assert [(t.arm, *t.point.values(), t.seed) for t in trials] == [
        (arm, momentum, size, seed)
        for arm in ("a", "b")
        for momentum in (0.5, 0.9)
        for size in (16, 32)
        for seed in (5, 6)
    ]
    for trial in trials:
        assert trial.config.norm.momentum == trial.point["norm.momentum"]
        assert trial.config.train.batch_size == trial.point["train.batch_size"]
        assert trial.config.norm.kind == {"a": "batch", "b": "none"}[trial.arm]
    assert [trial.number for trial in programs[0].trials] == [0, 1, 4, 5]


@pytest.mark.parametrize(
    ("num_seeds", "max_lanes", "sizes"),
    [
        *((5, 8, [5]), (9, 8, [5, 4]), (7, 3, [3, 3, 1]), (100, 64, [50, 50])),
        *((1, 1, [1]), (1024, None, [1024]), (1025, None, [513, 512])),
    ],
)
def test_groups_hold_every_trial_once_and_are_of_one_size(num_seeds, max_lanes, sizes):
    arms = {"a": {}, "b": {"norm": {"kind": "none"}}}
    programs = sweep(num_seeds=num_seeds, arms=arms)
    groups = plan_groups(programs, max_lanes)
    assert [len(group.trials) for group in groups] == sizes * 2
    assert [group.number for group in groups] == list(range(2 * len(sizes)))
    assert [group.program.arm for group in groups] == ["a"] * len(sizes) + ["b"] * len(sizes)
    assert {group.size for group in groups} == {sizes[0]}
    numbers = [trial.number for group in groups for trial in group.trials]
    assert numbers == list(range(2 * num_seeds))


def test_trials_are_numbered_as_an_array_of_their_shape():
    table = {"seed": 5, "num_seeds": 2, "arms": {"a": {}, "b": {"norm": {"kind": "none"}}}}
    axes = {"norm": {"momentum": [0.5, 0.9, 0.99]}, "train": {"batch_size": [16, 32]}}
    config = config_from_dict({"name": "x", **table, "sweep": axes})
    points = [*itertools.product([0.5, 0.9, 0.99], [16, 32])]
    for program in plan(config):
        for trial in program.trials:
            arm, point, seed = np.unravel_index(trial.number, trial_shape(config))
            assert (trial.arm, trial.seed) == ("ab"[arm], 5 + seed)
            assert tuple(trial.point.values()) == points[point]


def test_trials_of_an_extension_are_numbered_after_all_others_in_groups_of_their_own():
    """Of a run of 2 seeds, then 3, then 5; whatever it was before stays as it was."""
    table = {"seed": 7, "arms": {"a": {}, "b": {"norm": {"kind": "none"}}}}
    table["sweep"] = {"norm": {"momentum": [0.5, 0.9]}, "train": {"batch_size": [16, 32]}}

    def planned(num_seeds, *seed_counts):
        config = config_from_dict({"name": "x", "num_seeds": num_seeds, **table})
        programs = plan(config, seed_counts)
        groups = plan_groups(programs, 3)
        numbers = trial_numbers(config, seed_counts)
        trials = {trial.number: trial for program in programs for trial in program.trials}
        assert sorted(trials) == sorted(numbers.flat) == list(range(8 * num_seeds))
        for (arm, point, seed), number in np.ndenumerate(numbers):
            values = [*itertools.product([0.5, 0.9], [16, 32])][point]
            trial = trials[number]
            assert (trial.arm, trial.seed) == ("ab"[arm], 7 + seed)
            assert tuple(trial.point.values()) == values
            assert trial.extension == sum(seed >= count for count in seed_counts)
        assert [group.number for group in groups] == list(range(len(groups)))
        for program in programs:
            numbers = [trial.number for trial in program.trials]
            assert numbers == sorted(numbers)
        return [tuple((t.number, t.arm, t.seed) for t in group.trials) for group in groups]

    first, second, third = planned(2), planned(3, 2), planned(5, 2, 3)
    assert second[: len(first)] == first
    assert third[: len(second)] == second
    assert [len(group) for group in first] == [2] * 8
    assert [len(group) for group in second[8:]] == [2] * 4
    assert [len(group) for group in third[12:]] == [2] * 8
    assert third[12] == ((24, "a", 10), (25, "a", 11))
    assert planned(3, 2, 2) == second  # an extension of epochs alone adds no trial


def test_a_program_is_called_by_what_sets_it_apart():
    programs = sweep(
        arms={"a": {}, "b": {"norm": {"kind": "layer"}}},
        sweep={"norm": {"epsilon": [0.5, 0.9]}, "train": {"batch_size": [16, 32]}},
    )
    assert [program.label for program in programs] == [
        *("a train.batch_size=16", "a train.batch_size=32"),
        *("b train.batch_size=16", "b train.batch_size=32"),
    ]
    (program,) = sweep(sweep={"norm": {"momentum": [0.5, 0.9]}})
    assert program.label == "batch"


def test_a_programs_config_does_not_depend_on_its_numbers():
    rates = {"optimizer": {"learning_rate": [0.1, 0.2]}}
    (swept,), (alone,) = sweep(sweep=rates), sweep(optimizer={"learning_rate": 0.3})
    assert swept.config == alone.config == ArmConfig()
    assert alone.trials[0].config.optimizer.learning_rate == 0.3
    assert hash(swept.config) == hash(alone.config)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"num_seeds": 1}, "1 trial = 1 program × 1 lane"),
        ({}, "8 trials = 1 program × 8 lanes"),
        (
            {
                "num_seeds": 4,
                "sweep": {
                    "optimizer": {"learning_rate": "logspace(-4, 1, 16)"},
                    "norm": {"kind": ["batch", "layer", "none"]},
                    "train": {"batch_size": [16, 32]},
                },
            },
            "384 trials = 6 programs × 64 lanes",
        ),
        (
            {
                "num_seeds": 2,
                "sweep": {
                    "mode": "zip",
                    "norm": {"kind": ["batch", "layer", "layer"], "epsilon": [1, 1, 2]},
                },
            },
            "6 trials = 2 programs of 2 to 4 lanes",
        ),
    ],
)
def test_the_plan_in_words(table, words):
    programs = sweep(**table)
    assert describe_plan(programs) == words
    assert math.isclose(sum(len(p.trials) for p in programs), int(words.split()[0]))


def test_every_function_of_the_users_is_found():
    assert not ArmConfig().own_functions
    named = {key for key in KEYS if key.endswith(("factory", "function"))}
    assert named == set(OWN_FUNCTIONS)
    for key in named:
        (program,) = sweep(num_seeds=1, **nested(key, "a:b"))
        assert program.config.own_functions == {key: "a:b"}
