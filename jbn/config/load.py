"""Makes a config of a TOML file and overrides, or an error that names every mistake."""

import contextlib
import copy
import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from jbn.config.check import find_mistakes
from jbn.config.errors import UserError
from jbn.config.explain import explain
from jbn.config.schema import ArmConfig, Config, SharedConfig
from jbn.config.sweep import arm_at, parse_sweep, sweep_points

_Model = TypeVar("_Model", bound=BaseModel)
_EXAMPLES = {
    "--set": "key=value, e.g. optimizer.learning_rate=0.01",
    "--sweep": "key=values, e.g. norm.momentum=[0.9,0.99]",
}
_DEEPEST = 12  # of tables and lists in each other: more than any config has


def load_config(
    path: str | Path, overrides: Sequence[str] = (), sweep_axes: Sequence[str] = ()
) -> Config:
    """The config in a TOML file, with overrides such as "optimizer.learning_rate=0.01".

    The file has `name`, `seed`, `num_seeds`, and the sections of `ArmConfig`, which every arm
    shares. `[arms.<name>]` has what is different in one arm. Without arms there is one arm, with
    the name of its norm, or "swept" if the norm is swept. `[sweep]` has the values of each swept
    key. `sweep_axes` adds more, such as "norm.momentum=[0.9, 0.99]" or
    "optimizer.learning_rate=logspace(-4, 1, 16)".

    Raises:
        UserError: the file can't be read, or has mistakes. Each mistake is a line.
    """
    table = _read_toml(Path(path))
    mistakes = [_apply_override(table, override) for override in overrides]
    mistakes += [_apply_override(table, axis, "--sweep", ("sweep",)) for axis in sweep_axes]
    if any(mistakes):
        raise UserError("\n".join(filter(None, mistakes)))
    config = config_from_dict(table)
    for override in overrides:
        key = re.sub(r"^arms\.[^.]+\.", "", override.partition("=")[0].strip())
        if key in config.sweep.axes:
            raise UserError(
                f"--set {override}: the sweep sets {key}; change that with --sweep, or sweep "
                "nothing with --set sweep={}"
            )
    return config


def config_from_dict(table: Mapping[str, Any]) -> Config:
    """The config that a parsed TOML file describes (see `load_config`).

    In its arms, swept keys have their values at the first point of the sweep.
    """
    if _is_deep(table):
        raise UserError(
            f"found tables or lists that are nested more than {_DEEPEST} deep, wanted sections, "
            "keys and their values"
        )
    shared = {key: value for key, value in table.items() if key in ArmConfig.model_fields}
    rest = {key: value for key, value in table.items() if key not in shared}
    mistakes: list[str] = []

    def validate(model: type[_Model], values: Any, prefix: str = "") -> _Model | None:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            mistakes.extend(explain(model, details, prefix) for details in error.errors())
            return None

    # Each mistake is named once: here if it is in what all arms share, below if it is in an arm's
    # changes. After a mistake, defaults take the place of the values in all other checks.
    base = validate(SharedConfig, shared)

    def arm(name: str, changes: Any) -> Any:
        if not isinstance(changes, dict):
            return changes  # which is a mistake of the whole config
        values = _merged(shared, changes) if base else changes
        return validate(SharedConfig, values, f"arms.{name}.") or SharedConfig()

    axes: dict[str, list[Any]] = {}
    if isinstance(rest.get("sweep"), dict):
        try:
            rest["sweep"] = parse_sweep(rest["sweep"])
            axes = rest["sweep"]["axes"]
        except UserError as error:
            mistakes += str(error).split("\n")
            del rest["sweep"]
    only = "swept" if "norm.kind" in axes else (base or SharedConfig()).norm.kind
    arms = rest.get("arms", {})
    arms = {only: {}} if arms == {} else arms
    if isinstance(arms, dict):
        arms = {name: arm(name, changes) for name, changes in arms.items()}
        rest["arms"] = {
            name: ArmConfig() if isinstance(own, SharedConfig) else own
            for name, own in arms.items()
        }
    config = validate(Config, rest)
    if config is not None and not mistakes:
        mistakes += find_mistakes(arms, config.sweep, config.num_seeds)
    if config is None or mistakes:
        raise UserError("\n".join(mistakes))
    first = sweep_points(config.sweep)[0]
    return config.model_copy(update={"arms": {n: arm_at(own, first) for n, own in arms.items()}})


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors sign it
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; wanted a TOML config") from None
    except IsADirectoryError:
        raise UserError(f"{path}: found a folder, wanted a TOML file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: found bytes that are no UTF-8 text, wanted a TOML file") from None
    except (ValueError, RecursionError) as error:  # a number, or nesting, beyond Python's limits
        again = "; put all keys of a section under its first line" if "twice" in str(error) else ""
        reason = str(error).partition("; use sys.")[0]  # which is no help to who writes a config
        raise UserError(f"{path}: not TOML: {reason}{again}") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None


def _apply_override(
    table: dict[str, Any], override: str, option: str = "--set", within: Sequence[str] = ()
) -> str | None:
    """Sets one "dotted.key=value" in the table; returns what is wrong with it, or None."""
    key, equals, text = override.partition("=")
    *sections, last = (*within, *(part.strip() for part in key.split(".")))
    if not equals or not last or not all(sections):
        return f"{option} {override}: wanted {_EXAMPLES[option]}"
    parsed: dict[str, Any] = {"value": text.strip()}
    for candidate in (text, _as_toml(text)):
        with contextlib.suppress(ValueError, RecursionError):
            parsed = tomllib.loads(f"value = {candidate}")
            break
    if len(parsed) > 1:
        return f"{option} {override!r}: wanted one key=value; give {option} again for another"
    arms = table.get("arms")
    if sections[:1] == ["arms"] and isinstance(arms, dict):
        arm = [*sections, last][1]
        if arm not in arms:
            close = difflib.get_close_matches(arm, arms, n=1)
            hint = f"did you mean {close[0]}?" if close else f"wanted one of {', '.join(arms)}"
            return f"{option} {override}: no such arm, {hint}"
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            return f"{option} {override}: {section} is a value, not a section"
    table[last] = parsed["value"]
    return None


def _is_deep(table: Mapping[str, Any]) -> bool:
    """Whether what comes after would exceed Python's depth of calls."""
    level: list[Any] = [table]
    for _ in range(_DEEPEST):
        inner = (of.values() if isinstance(of, dict) else of for of in level)
        level = [value for of in inner for value in of if isinstance(value, dict | list)]
    return bool(level)


def _as_toml(text: str) -> str:
    """The text with numbers and booleans as TOML has them: people also type .001, 1. and True."""
    text = re.sub(r"(?<![\w.])\.(?=\d)", "0.", text)
    text = re.sub(r"(?<=\d)\.(?![\d\w.])", ".0", text)
    text = re.sub(r"(?<=\d)\.(?=[eE])", ".0", text)
    return re.sub(r"\b(True|False)\b", lambda match: match[0].lower(), text)


def _merged(shared: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The shared sections, in which an arm's keys replace those of the same name."""
    merged = copy.deepcopy(dict(shared))
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
