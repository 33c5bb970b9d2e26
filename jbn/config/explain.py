"""Explains a mistake in a config in one line: the key, what was found, what was wanted."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from jbn.config.errors import shortened, shown
from jbn.config.schema import FUNCTION, NAME, PATH, ArmConfig, Config

_PATTERNS_IN_WORDS = {
    NAME: "at most 100 letters, digits, spaces and . _ + -, a letter or digit first",
    FUNCTION: '"package.module:function"',
    PATH: "a path, without a byte 0 in it",
}

# What other libraries and people call a key.
_OTHER_NAMES = {
    "lr": "learning_rate",
    "epochs": "num_epochs",
    "bs": "batch_size",
    "bn": "norm",
    "wd": "weight_decay",
    "seeds": "num_seeds",
    "eps": "epsilon",
}


def explain(model: type[BaseModel], details: Mapping[str, Any], prefix: str = "") -> str:
    """One line on one mistake that pydantic found in the values for a model."""
    parts = [str(part) for part in details["loc"] if part != "[key]"]
    path = shortened((prefix + ".".join(parts)).rstrip("."))
    found = shown(details["input"])
    match details["type"]:
        case "extra_forbidden":
            return f"{path}: unknown key, {suggestion(_known(model), parts)}"
        case "missing":
            return f"{path}: missing, wanted text"  # the name: all else has a default
        case "value_error":
            return ": ".join(filter(None, [path, str(details["ctx"]["error"])]))
        case "model_type":
            return f"{path}: found {found}, wanted a section, [{path}]"
        case "dict_type":
            return f"{path}: found {found}, wanted sections, [{path}.<name>]"
        case "tuple_type" if prefix == "sweep.":
            return f"{path}: found {found}, wanted lists of integers, e.g. [[128, 64], [64]]"
        case "tuple_type":
            return f"{path}: found {found}, wanted a list of integers, e.g. [128, 64]"
        case "string_pattern_mismatch":
            return f"{path}: found {found}, wanted {_PATTERNS_IN_WORDS[details['ctx']['pattern']]}"
    wanted = details["msg"].removeprefix("Input should be ")
    return f"{path}: found {found}, wanted {wanted}"


def suggestion(known: Sequence[str], parts: Sequence[str]) -> str:
    """A hint at the right key.

    It names the keys of the same name in any section. If there are none, it names the most similar
    key of this section. If there is none either, it names all keys of this section.
    """
    *section, wrong = parts
    wrong = _OTHER_NAMES.get(wrong, wrong)
    near = [path for path in known if path.rpartition(".")[2] == wrong]
    here = [path for path in known if path.split(".")[:-1] == section]
    near = near or difflib.get_close_matches(".".join(parts), here, n=1, cutoff=0.5)
    if near:
        *others, last = near
        return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
    return f"known here: {', '.join(here or ArmConfig.model_fields)}"


def paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of all fields; each section comes before its keys."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from paths(candidate, f"{prefix}{name}.")


def _known(model: type[BaseModel]) -> list[str]:
    """The keys of the model and its sections. For `Config` they are those that a file may have."""
    if model is not Config:
        return list(paths(model))
    of_run = (path for path in paths(Config) if not path.startswith(("arms.", "sweep.axes")))
    return [*paths(ArmConfig), *of_run]
