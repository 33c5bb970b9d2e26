"""The axes of a sweep, each a key with its values, and the points that they make."""

import itertools
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from jbn.config.errors import UserError, shortened, shown
from jbn.config.explain import explain, paths, suggestion
from jbn.config.schema import ArmConfig, SharedConfig, SweepConfig

MOST_TRIALS = 100_000
_WANTED = (
    'wanted a list, "range(start, stop, step)", "linspace(first, last, number)" or, for powers of '
    '10, "logspace(first exponent, last exponent, number)"'
)
_OPTIONS = tuple(name for name in SweepConfig.model_fields if name != "axes")
_PATHS = tuple(paths(ArmConfig))
_SECTIONS = {path.rpartition(".")[0] for path in _PATHS}


def parse_sweep(table: Mapping[str, Any]) -> dict[str, Any]:
    """The `[sweep]` of a TOML file in the form of a resolved config.

    There the swept keys are in `axes`, with dots in their names. Each value fits its key.

    Raises:
        UserError: keys or their values are wrong. Each mistake is a line.
    """
    options = {key: table[key] for key in _OPTIONS if key in table}
    given = {key: value for key, value in table.items() if key not in (*_OPTIONS, "axes")}
    resolved = table.get("axes", {})
    if not isinstance(resolved, Mapping):
        raise UserError(f"sweep.axes: found {shown(resolved)}, wanted a section, [sweep.axes]")
    axes: dict[str, list[Any]] = {}
    mistakes = []
    for key, value in itertools.chain(flattened(given), flattened(resolved)):
        try:
            if key in axes:
                raise UserError(f"sweep.{key}: found twice; leave one of them out")
            axes[key] = _axis(key, value)
        except UserError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UserError("\n".join(mistakes))
    return {**options, "axes": axes}


def count_points(sweep: SweepConfig) -> int:
    """The number of points, without making them.

    Raises:
        UserError: the mode is "zip" and two keys have different numbers of values.
    """
    lengths = {key: len(values) for key, values in sweep.axes.items()}
    if sweep.mode == "grid":
        return math.prod(lengths.values())
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} of {key}" for key, length in lengths.items())
        raise UserError(
            f"sweep.mode: 'zip' takes one value of each key at a time; found {found}, wanted as "
            "many of each, or mode 'grid'"
        )
    return max(lengths.values(), default=1)


def sweep_points(sweep: SweepConfig) -> list[dict[str, Any]]:
    """The points: dotted key -> value. The last key changes fastest.

    If nothing is swept, there is one point without keys.

    Raises:
        UserError: the mode is "zip" and two keys have different numbers of values.
    """
    count_points(sweep)
    if not sweep.axes:
        return [{}]
    combined: Iterable[tuple[Any, ...]]
    if sweep.mode == "grid":
        combined = itertools.product(*sweep.axes.values())
    else:
        combined = zip(*sweep.axes.values(), strict=True)
    return [dict(zip(sweep.axes, values, strict=True)) for values in combined]


def with_values(table: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The table with a value at each dotted key ("norm.momentum")."""
    changed = dict(table)
    for key, value in values.items():
        section, _, rest = key.partition(".")
        changed[section] = with_values(changed.get(section, {}), {rest: value}) if rest else value
    return changed


def value_at(config: Any, key: str) -> Any:
    """The value at a dotted key of a config."""
    return operator.attrgetter(key)(config)


def flattened(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys and their values."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def arm_at(arm: SharedConfig, point: Mapping[str, Any]) -> ArmConfig:
    """The arm with the values of a point of the sweep."""
    return ArmConfig.model_validate(with_values(arm.model_dump(), point))


def _axis(key: str, given: Any) -> list[Any]:
    """The values of an axis in the form of a resolved config.

    Raises:
        UserError: there is no such key, or a value doesn't fit it.
    """
    _check_key(key)
    if isinstance(given, str):
        given = _from_text(key, given)
    if not isinstance(given, Sequence):
        raise UserError(f"sweep.{key}: found {shown(given)}, {_WANTED}")
    if not 1 <= len(given) <= MOST_TRIALS:
        raise UserError(f"sweep.{key}: found {len(given)} values, wanted from 1 to {MOST_TRIALS}")
    values = []
    for value in given:
        try:
            config = SharedConfig.model_validate(with_values({}, {key: value}))
        except ValidationError as error:
            line = explain(SharedConfig, error.errors()[0], "sweep.")
            raise UserError(line) from None
        resolved = config.model_dump(mode="json")
        for part in key.split("."):
            resolved = resolved[part]
        values.append("none" if resolved is None else resolved)
    return values


def _check_key(key: str) -> None:
    """Raises UserError unless an arm has the key, and it isn't a section."""
    if key in _PATHS and key not in _SECTIONS:
        return
    path = f"sweep.{shortened(key)}"
    if key in ("seed", "num_seeds"):
        raise UserError(f"{path}: every point has the seeds that seed and num_seeds say; set those")
    if key.startswith("arms."):
        raise UserError(f"{path}: a sweep sets every arm; leave {'.'.join(key.split('.')[:2])} out")
    if key in _SECTIONS:
        example = next(p for p in _PATHS if p.startswith(f"{key}.") and p not in _SECTIONS)
        raise UserError(f"{path}: a section can't be swept; wanted its keys, e.g. sweep.{example}")
    near = suggestion([*_PATHS, *_OPTIONS], key.split("."))
    raise UserError(f"{path}: unknown key, {near}")


def _from_text(key: str, text: str) -> Sequence[Any]:
    """The values of "logspace(-4, 1, 16)"."""
    if text.startswith("["):
        raise UserError(
            f"sweep.{key}: found {shown(text)}, wanted a list with text in double quotes, and "
            f'single ones around all of it: --sweep \'{key}=["a", "b"]\''
        )
    call = re.fullmatch(r"\s*(range|linspace|logspace)\s*\(([^()]*)\)\s*", text)
    try:
        name, arguments = call.groups() if call else ("", "")
        numbers: list[Any] = [_number(argument) for argument in arguments.split(",")]
        if name == "range":
            values = range(*numbers)
            len(values)  # raises OverflowError if there are too many
            return values
        first, last, number = numbers
        if not 1 <= operator.index(number) <= MOST_TRIALS:
            raise UserError(f"sweep.{key}: found {number} values, wanted from 1 to {MOST_TRIALS}")
        with np.errstate(all="ignore"):  # infinite values are errors later: they fit no key
            function = np.linspace if name == "linspace" else np.logspace
            return [float(value) for value in function(first, last, number)]
    except UserError:
        raise
    except (OverflowError, TypeError, ValueError):
        raise UserError(f"sweep.{key}: found {shown(text)}, {_WANTED}") from None


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
