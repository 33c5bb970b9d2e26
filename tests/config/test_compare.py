"""How two configs differ, in words; what differs without a word changes no result."""

import pytest

from jbn.config import config_from_dict, differences, is_extension

pytestmark = pytest.mark.quick

NONE = {"norm": {"kind": "none"}}


def config(**table):
    return config_from_dict({"name": "x", "arms": {"a": {}, "b": NONE}, **table})


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({}, {"seed": 9}, ["seed: 0 there, 9 in this config"]),
        ({}, {"name": "y"}, ["name: 'x' there, 'y' in this config"]),
        (  # alike in all arms: said once
            {"optimizer": {"learning_rate": 0.5}},
            {"optimizer": {"clip_norm": 2.0}},
            [
                "optimizer.learning_rate: 0.5 there, 0.001 in this config",
                "optimizer.clip_norm: none there, 2.0 in this config",
            ],
        ),
        (
            {},
            {"arms": {"a": {}, "b": {**NONE, "train": {"batch_size": 8}}}},
            ["arms.b.train.batch_size: 32 there, 8 in this config"],
        ),
        (
            {},
            {"arms": {"a": {"model": {"hidden_sizes": [4]}}, "b": {**NONE, "data": {}}}},
            ["arms.a.model.hidden_sizes: [128, 64] there, [4] in this config"],
        ),
        (
            {},
            {"arms": {"a": {}, "c": NONE}},
            ["arms.b: not in this config", "arms.c: not there"],
        ),
        ({}, {"arms": {"b": NONE, "a": {}}}, ["arms: a, b there, b, a in this config"]),
        (  # what is swept is said of the sweep, not of the arms' first points
            {"sweep": {"norm": {"momentum": [0.5, 0.9]}}},
            {"sweep": {"norm": {"momentum": [0.8, 0.9]}}},
            ["sweep.norm.momentum: [0.5, 0.9] there, [0.8, 0.9] in this config"],
        ),
        (
            {},
            {"sweep": {"norm": {"momentum": [0.5, 0.9]}}},
            ["sweep.norm.momentum: nothing there, [0.5, 0.9] in this config"],
        ),
        (
            {"sweep": {"norm": {"momentum": [0.5], "epsilon": [0.1]}}},
            {"sweep": {"norm": {"epsilon": [0.1], "momentum": [0.5]}}},
            [
                "the axes of the sweep: norm.momentum, norm.epsilon there, norm.epsilon, "
                "norm.momentum in this config"
            ],
        ),
        (  # it says which epoch is best
            {"checkpoint": {"keep_best": True}, "report": {"metric": "loss"}},
            {"checkpoint": {"keep_best": True}},
            ["report.metric: 'loss' there, none in this config"],
        ),
        (
            {"checkpoint": {"keep_best": True}},
            {},
            ["checkpoint.keep_best: True there, False in this config"],
        ),
        (
            {"checkpoint": {"every_steps": 9}},
            {},
            ["checkpoint.every_steps: 9 there, none in this config"],
        ),
    ],
)
def test_the_difference_is_shown(there, here, words):
    assert differences(config(**there), config(**here)) == words


@pytest.mark.parametrize(
    "here",
    [
        {},
        {"sweep": {"max_lanes": 3}},
        {"on_divergence": "stop"},
        {"report": {"metric": "loss", "target": 0.5}},
        {"checkpoint": {"every_epochs": 3, "keep": 9, "every_minutes": "none"}},
    ],
)
def test_what_changes_no_result_is_no_difference(here):
    assert differences(config(), config(**here)) == []


@pytest.mark.parametrize(
    ("here", "is_longer"),
    [
        ({}, False),
        ({"num_seeds": 9}, True),
        ({"num_seeds": 7}, False),
        ({"train": {"num_epochs": 11}}, True),
        ({"train": {"num_epochs": 9}}, False),
        ({"num_seeds": 9, "train": {"num_epochs": 11}}, True),
        ({"num_seeds": 9, "train": {"num_epochs": 9}}, False),
        ({"num_seeds": 9, "seed": 1}, False),
        ({"num_seeds": 9, "report": {"target": 0.5}}, True),
        ({"arms": {"a": {}, "b": {**NONE, "train": {"num_epochs": 20}}}}, True),
        ({"arms": {"a": {}, "b": NONE, "c": {"norm": {"kind": "layer"}}}}, False),
        ({"arms": {"a": {}}}, False),
        ({"sweep": {"train": {"num_epochs": [10, 20]}}}, False),
    ],
)
def test_more_seeds_and_epochs_are_an_extension_and_nothing_else(here, is_longer):
    assert is_extension(config(), config(**here)) == is_longer
