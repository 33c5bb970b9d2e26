"""Configs with mistakes, drawn from a seed: half of them differ from a valid one in one place."""

import copy
import json
import operator
import random
from typing import Literal, get_args, get_origin

from jbn.config import ArmConfig, Config
from jbn.config.explain import paths

VALID = {
    "name": "campaign",
    "seed": 3,
    "num_seeds": 2,
    "data": {
        "name": "mixture",
        "mixture": {"num_examples": 40, "num_features": 3, "num_classes": 2},
    },
    "model": {"kind": "mlp", "hidden_sizes": [4]},
    "norm": {"kind": "batch", "momentum": 0.9},
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    "train": {"num_epochs": 1, "batch_size": 8},
    "checkpoint": {"every_epochs": 1},
}


class Raw(str):
    """What stands in a TOML file as it is."""


OF_ARMS = [path for path in paths(ArmConfig) if path not in ArmConfig.model_fields]
OF_RUNS = [path for path in paths(Config) if not path.startswith(("arms", "sweep.axes"))]
KEYS = sorted({*OF_ARMS, *OF_RUNS})
SECTIONS = sorted({path.rpartition(".")[0] for path in KEYS} - {""})
JUNK = (
    *(0, 1, -1, 2, 3, 7, 32, 1000, 2**31 - 1, 2**31, 2**64, 10**30, Raw("0x" + "f" * 4000)),
    *(0.0, -0.5, 0.5, 1.0, 1e-30, 1e30, 1e300, -1e-300, float("nan"), float("inf"), float("-inf")),
    *(True, False, "", "none", "x", "all", "batch", "ghost", "group", "adamw", "cnn", "resnet18"),
    *("zip", "numbers", "class_blocked", "balanced", "os:abort", "shutil:rmtree", "a.b:c", "a b:c"),
    *("/dev/null", "../../outside", "nul\u0000", "\u202egnp.exe", "é" * 300, "<script>", "\x1b[2J"),
    *("a\nb", "${HOME}", "{{7*7}}", "%s%n", "'; --", "*", "Dense_0*", "\ud7ff"),
    *([], [0], [1], [-1], [1.5], ["a"], [[]], [[1]], [4, 4], [0.5, 0.5], [True], [2**40], ["*"]),
    *({}, {"x": 1}, {"kind": "batch"}, {"kind": {"kind": {}}}, [{}], list(range(2000))),
    *(Raw("1979-05-27T07:32:00Z"), Raw("07:32:00"), Raw("1979-05-27")),
)
SWEPT = (
    *([0.1, 0.2], [], [0.1, 0.1], "logspace(-3, -1, 3)", "linspace(0, 1, 1e9)", "range(0, 1e3)"),
    *("range(1, 10, 0)", "range(0, 1000000000)", "logspace(1)", "linspace(a, b, 2)", "[1]", "zip"),
    *("logspace(-9, 999, 4)", "logspace(-3, -1, 3", "linspace(0, 1, 0)", [None], [["a"]], {}, 1),
    *([float("nan")], [True, False], [[4], [8]], ["none", "batch"], "range(1, 3)", [10**30]),
)
# Each contradicts itself or its data, or names what isn't there.
CONTRARY = (
    {"norm": {"kind": "ghost", "virtual_batch_size": 3}},
    {"norm": {"kind": "instance"}},
    {"norm": {"kind": "group", "num_groups": 3}},
    {"train": {"batch_size": 1}},
    {"train": {"batch_size": 31}},
    {"train": {"batch_size": 41}},
    {"train": {"order": "class_blocked"}, "data": {"name": "diabetes", "targets": "numbers"}},
    {"train": {"freeze": "*"}},
    {"train": {"freeze": "Nothing_*"}},
    {"optimizer": {"kind": "adam", "weight_decay": 0.1}},
    {"optimizer": {"schedule": "cosine", "schedule_factory": "a:b"}},
    {"optimizer": {"warmup_steps": 99}},
    {"optimizer": {"accumulate": 99}},
    {"model": {"init_fresh": "Dense_0*"}},
    {"model": {"factory": "nowhere:made"}},
    {"model": {"factory": "os:abort"}},
    {"model": {"factory": "textwrap:indent"}},
    {"data": {"name": "csv"}},
    {"sweep": {"norm": {"momentum": "linspace(0, 1, 0)"}}},
    {"model": {"factory": "math:sqrt", "dtype": "bfloat16"}},
    {"model": {"kind": "cnn", "channels": [4]}},
    {"loss": {"class_weights": [0, 0]}},
    {"loss": {"class_weights": [1, 1, 1]}},
    {"loss": {"label_smoothing": 0.1, "factory": "a:b"}},
    {"data": {"augment": {"flip": True}}},
    {"data": {"name": "csv", "path": "nowhere.csv"}},
    {"data": {"name": "npz", "path": "nowhere.npz", "num_targets": 2}},
    {"data": {"name": "wine", "path": "a.csv"}},
    {"data": {"name": "diabetes"}},
    {"data": {"name": "wine", "targets": "numbers"}},
    {"data": {"mixture": {"scale": 1e12, "offset": 1e6, "drift": 1e6, "condition": 1e12}}},
    {"data": {"label_noise": 0.5, "name": "diabetes", "targets": "numbers"}},
    {"arms": {}, "sweep": {"norm": {"momentum": [0.1, 0.2]}, "mode": "zip", "seed": [1, 2]}},
    {"sweep": {"norm": {"momentum": [0.1, 0.2], "epsilon": [0.1]}, "mode": "zip"}},
    {"sweep": {"norm": {"momentum": "linspace(0, 1, 99999)", "epsilon": "linspace(0, 1, 99)"}}},
    {"sweep": {"norm.momentum": [0.1], "norm": {"momentum": [0.2]}}},
    {"sweep": {"arms": {"a": {"norm": {"momentum": [0.1]}}}}},
    {"sweep": {"norm": [1]}},
    {"sweep": {"axes": 3}},
    {"sweep": {"model": {"channels": [[4], [8]]}}},
    {"sweep": {"norm": {"kind": ["batch", "instance"]}}},
    {"arms": {"a": {"norm": {"momentum": 0.1}}, "b": {}}, "sweep": {"norm": {"momentum": [0.5]}}},
    {"arms": {"a": {"norm": {"kind": "instance"}}, "b": {}}},
    {"arms": {"../../outside": {}}},
    {"arms": {"a": 1}},
    {"arms": {"a\u202eb": {}}},
    {"arms": []},
)
# A step of these is valid: a run refuses them before it begins, as `named_cases.py` holds.
ODD = (
    {"model": {"init_from": "nowhere"}},
    {"report": {"metric": "rmse"}},
    {"devices": {"batch": 3}},
)


def _values_that_fit():
    """For each key of an arm with a choice or a number: values of its type."""
    found = {}
    for key in OF_ARMS:
        *sections, name = key.split(".")
        of = ArmConfig
        for section in sections:
            of = of.model_fields[section].annotation
        field, default = of.model_fields[name], operator.attrgetter(key)(ArmConfig())
        if get_origin(field.annotation) is Literal:
            found[key] = get_args(field.annotation)
        elif isinstance(default, bool):
            found[key] = (not default,)
        elif isinstance(default, int | float):
            found[key] = tuple(type(default)(of) for of in (0, 1, 2, 5, 16, 0.25, 0.999))
    return found


FITTING = _values_that_fit()


def mutants(number, seed=0):
    """So many texts of TOML files by what was done to a valid one: first those with one change."""
    draw = random.Random(seed)
    found = {"valid": toml_of(VALID)}
    kinds = (
        [_one_key] * 7
        + [_fitting] * 5
        + [_one_swept] * 3
        + [_misspelt, _unknown, _missing, _renamed] * 2
    )
    while len(found) < 1 + number // 2:
        label, table = draw.choice(kinds)(draw, copy.deepcopy(VALID))
        found[f"one: {label}"] = toml_of(table)
    for number_of, changes in enumerate(CONTRARY):
        if len(found) <= number // 2 + number // 4:
            found[f"contrary {number_of}"] = toml_of(_merged(copy.deepcopy(VALID), changes))
    for number_of, changes in enumerate(ODD):
        found[f"odd {number_of}"] = toml_of(_merged(copy.deepcopy(VALID), changes))
    while len(found) < 1 + number:
        if draw.random() < 0.5:
            label, text = _damaged(draw, toml_of(VALID))
            found[f"text: {label}"] = text
        else:
            table, labels = copy.deepcopy(VALID), []
            for _ in range(draw.randint(2, 4)):
                label, table = draw.choice(kinds)(draw, table)
                labels.append(label)
            found[f"several: {'; '.join(labels)}"] = toml_of(table)
    return found


def is_no_config(label):
    """Whether what was done makes no valid config, wherever it was done."""
    return label.startswith(("contrary", "one: misspelt", "one: unknown", "text: a number"))


def _one_key(draw, table):
    key, value = draw.choice(KEYS), draw.choice(JUNK)
    return f"{key} = {value!r:.60}", _with(table, key, value)


def _fitting(draw, table):
    """A value that the key may well have: of the type of its default, or a word of its choice."""
    key = draw.choice(sorted(FITTING))
    value = draw.choice(FITTING[key])
    return f"{key} = {value!r}", _with(table, key, value)


def _one_swept(draw, table):
    key, value = draw.choice(KEYS), draw.choice(SWEPT)
    return f"sweep.{key} = {value!r}", _with(table, f"sweep.{key}", value)


def _misspelt(draw, table):
    key = draw.choice(KEYS)
    *section, name = key.split(".")
    place = draw.randrange(len(name))
    wrong = name[:place] + draw.choice("xq_é\n\u202e\"'") + name[place + draw.randint(0, 1) :]
    wrong = f"x{name}" if wrong == name else wrong
    return f"misspelt {key}: {wrong!r}", _with(table, ".".join([*section, wrong]), 1)


def _unknown(draw, table):
    key = ".".join(
        filter(None, [draw.choice(["", *SECTIONS]), draw.choice(["x", "", "a\tb", "ü"])])
    )
    return f"unknown {key!r}", _with(table, key, draw.choice(JUNK))


def _missing(draw, table):
    name = draw.choice(list(table))
    return f"without {name}", {key: value for key, value in table.items() if key != name}


def _renamed(draw, table):
    value = draw.choice(JUNK)
    return f"name = {value!r:.60}", {**table, "name": value}


def _damaged(draw, text):
    place = draw.randrange(len(text))
    lines = text.splitlines(keepends=True)
    match draw.randrange(8):
        case 0:
            return f"cut at {place}", text[:place]
        case 1:
            bit = 1 << draw.randrange(7)
            return f"bit {bit} at {place}", text[:place] + chr(ord(text[place]) ^ bit) + text[
                place + 1 :
            ]
        case 2:
            left_out = draw.randrange(len(lines))
            return f"without line {left_out}", "".join(lines[:left_out] + lines[left_out + 1 :])
        case 3:
            twice = draw.randrange(len(lines))
            return f"line {twice} twice", "".join([*lines[: twice + 1], *lines[twice:]])
        case 4:
            junk = draw.choice(["\u0000", "\x07", "]", '"', "=", "\ufeff", "\u2028", "'''", "\\"])
            return f"{junk!r} at {place}", text[:place] + junk + text[place:]
        case 5:
            depth = draw.choice([30, 300, 3000, 100_000])
            what = draw.choice(
                ["x = " + "[" * depth, "x = " + "{a=" * depth, ".".join("a" * depth)]
            )
            return f"nested {depth} {what[:6]}", f"{text}\n{what}"
        case 6:
            depth = draw.choice([50, 500, 2000])
            return f"a key of {depth} parts", f"{text}\n[{'.'.join('a' * depth)}]\nb = 1"
        case _:
            size = draw.choice([10, 5000])
            return f"a number of {size} digits", text.replace(
                '"num_seeds" = 2', f'"num_seeds" = {"9" * size}'
            )


def _with(table, key, value):
    """The table with a value at a dotted key, whatever was there."""
    *sections, name = key.split(".")
    inner = table
    for section in sections:
        if not isinstance(inner.get(section), dict):
            inner[section] = {}
        inner = inner[section]
    inner[name] = value
    return table


def _merged(table, changes):
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(table.get(key), dict) and value
        table[key] = _merged(table[key], value) if both else value
    return table


def toml_of(table):
    """The table as a TOML file, its sections as inline tables."""
    return "".join(f"{_text(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value):
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return str(value).lower()  # null is no TOML
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)} = {_value(of)}" for key, of in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def _text(text):
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
