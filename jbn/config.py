"""The schema of a run, and how a TOML file becomes one, or an error that names every mistake."""

import copy
import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

try:
    from pydantic import (
        BaseModel,
        BeforeValidator,
        ConfigDict,
        Field,
        ValidationError,
        model_validator,
    )
except ModuleNotFoundError as error:
    error.add_note("jbn's configs, training and load_run need it: pip install 'jbn[run]'")
    raise


class UserError(ValueError):
    """What the user gave can't be used; each line names one mistake and what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# TOML has arrays, frozen models have tuples.
_PositiveInts = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
]
_NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,99}$"
_FACTORY = r"^\w+(\.\w+)*:\w+$"
_PATTERNS_IN_WORDS = {
    _NAME: "at most 100 letters, digits, spaces and . _ + -, a letter or digit first",
    _FACTORY: '"package.module:function"',
}
_Name = Annotated[str, Field(pattern=_NAME)]


class DataConfig(_Section):
    """Which data, how split and how scaled."""

    name: Literal["digits"] = "digits"
    split_seed: int = Field(default=0, ge=0, le=2**32 - 1)
    # Multiplies the raw inputs, before they are normalized; their variance has to be a float32.
    input_scale: float = Field(default=1.0, gt=0, le=1e15)
    normalize: Literal["none", "standardize", "min_max"] = "standardize"


class ModelConfig(_Section):
    """A multilayer perceptron, or what `factory` ("package.module:function") makes."""

    hidden_sizes: _PositiveInts | None = (128, 64)  # None with a factory
    factory: Annotated[str, Field(pattern=_FACTORY)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("factory") is None:
            return values
        if values.get("hidden_sizes") is not None:
            raise ValueError("factory makes the whole model; leave hidden_sizes out")
        return {**values, "hidden_sizes": None}


class NormConfig(_Section):
    """The normalization after each hidden layer."""

    kind: Literal["batch", "layer", "rms", "group", "instance", "none"] = "batch"
    momentum: float = Field(default=0.99, ge=0, le=1)  # batch alone
    epsilon: float = Field(default=1e-3, ge=0, le=1e30)
    use_bias: bool = True  # rms has none
    use_scale: bool = True
    num_groups: int = Field(default=8, ge=1)  # group alone


class OptimizerConfig(_Section):
    """Adam and its learning rate."""

    learning_rate: float = Field(default=1e-3, gt=0, le=1e30)


class TrainConfig(_Section):
    """How long, and in which batches."""

    num_epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=2)


class SharedConfig(_Section):
    """The sections, as all arms of a run share them."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    norm: NormConfig = NormConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()


class ArmConfig(SharedConfig):
    """One arm of a run: all that a training run needs but its seed; its sections fit together."""

    @model_validator(mode="after")
    def _norm_fits_model(self) -> Self:
        kind, num_groups, sizes = self.norm.kind, self.norm.num_groups, self.model.hidden_sizes
        if sizes and kind == "instance":
            raise ValueError(
                "norm.kind: found 'instance', which makes 0 of the one value per channel that a "
                "Dense layer has; wanted 'layer', or a model.factory with images inside"
            )
        if sizes and kind == "group" and any(size % num_groups for size in sizes):
            raise ValueError(
                f"norm.num_groups: found {num_groups}, wanted a divisor of each of "
                f"model.hidden_sizes, {list(sizes)}"
            )
        return self


class Config(_Section):
    """A run: every seed of every arm. `load_config` makes it."""

    name: _Name
    seed: int = Field(default=0, ge=0, le=2_000_000_000)
    num_seeds: int = Field(default=8, ge=1, le=4096)
    arms: dict[_Name, ArmConfig]


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The config in a TOML file, with overrides such as "optimizer.learning_rate=0.01".

    The file holds `name`, `seed`, `num_seeds`, and the sections of `ArmConfig`, which every arm
    shares; `[arms.<name>]` changes some of it for one arm. Without arms there is one, named after
    its norm.

    Raises:
        UserError: the file can't be read, or holds mistakes: one line for each.
    """
    table = _read_toml(path)
    mistakes = [_apply_override(table, override) for override in overrides]
    if any(mistakes):
        raise UserError("\n".join(filter(None, mistakes)))
    return config_from_dict(table)


def config_from_dict(table: Mapping[str, Any]) -> Config:
    """The config that a parsed TOML file describes (see `load_config`)."""
    shared = {key: value for key, value in table.items() if key in ArmConfig.model_fields}
    given_arms = table.get("arms", {})
    mistakes: list[str] = []

    def validate(model: type[BaseModel], values: Any, prefix: str = "") -> Any:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            found = [_explain(model, details, prefix) for details in error.errors()]
            mistakes.extend(line for line in found if line not in mistakes)

    # A mistake is named once: of what all arms share, here; of an arm's changes, below; and where
    # there was one, a valid arm stands in for the rest of the checks.
    base = validate(SharedConfig, shared)
    if given_arms == {}:
        arm = (base and validate(ArmConfig, shared)) or ArmConfig()
        arms: Any = {arm.norm.kind: arm}
    elif isinstance(given_arms, dict):
        arms = {}
        for name, changes in given_arms.items():
            arms[name] = changes
            if isinstance(changes, dict):
                values = _merged(shared, changes) if base else changes
                arms[name] = validate(ArmConfig, values, f"arms.{name}.") or ArmConfig()
    else:
        arms = given_arms
    rest = {key: value for key, value in table.items() if key not in shared}
    config = validate(Config, {**rest, "arms": arms})
    if mistakes:
        raise UserError("\n".join(mistakes))
    return config


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; wanted a TOML config") from None
    except IsADirectoryError:
        raise UserError(f"{path}: found a folder, wanted a TOML file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: found bytes that are no UTF-8 text, wanted a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not TOML: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None


def _apply_override(table: dict[str, Any], override: str) -> str | None:
    """Sets one "dotted.key=value" in the table; what is wrong with it, if anything is."""
    key, equals, text = override.partition("=")
    *sections, last = (part.strip() for part in key.split("."))
    if not equals or not last or not all(sections):
        return f"--set {override}: wanted key=value, e.g. optimizer.learning_rate=0.01"
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {"value": text.strip()}
    if len(parsed) > 1:
        return f"--set {override!r}: wanted one key=value; give --set again for another"
    arms = table.get("arms")
    if sections[:1] == ["arms"] and isinstance(arms, dict):
        arm = [*sections, last][1]
        if arm not in arms:
            close = difflib.get_close_matches(arm, arms, n=1)
            hint = f"did you mean {close[0]}?" if close else f"wanted one of {', '.join(arms)}"
            return f"--set {override}: no such arm, {hint}"
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            return f"--set {override}: {section} is a value, not a section"
    table[last] = parsed["value"]
    _drop_other_source(table, [last])
    return None


def _merged(shared: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The shared sections with an arm's changes, key by key."""
    merged = copy.deepcopy(dict(shared))
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
        if both:
            _drop_other_source(merged[key], value)
    return merged


def _drop_other_source(section: dict[str, Any], given: Iterable[str]) -> None:
    """A model is its `hidden_sizes` or its `factory`: the one given replaces an inherited other."""
    for key, other in [("factory", "hidden_sizes"), ("hidden_sizes", "factory")]:
        if key in given and other not in given:
            section.pop(other, None)


def _explain(model: type[BaseModel], details: Mapping[str, Any], prefix: str) -> str:
    """One line on one mistake that pydantic found."""
    parts = [str(part) for part in details["loc"] if part != "[key]"]
    path = (prefix + ".".join(parts)).rstrip(".")
    found = details["input"]
    match details["type"]:
        case "extra_forbidden":
            return f"{path}: unknown key, {_suggestion(model, parts)}"
        case "missing":
            return f"{path}: missing, wanted text"  # the name: all else has a default
        case "value_error":
            return ": ".join(filter(None, [path, str(details["ctx"]["error"])]))
        case "model_type":
            return f"{path}: found {found!r}, wanted a section, [{path}]"
        case "dict_type":
            return f"{path}: found {found!r}, wanted sections, [{path}.<name>]"
        case "tuple_type":
            return f"{path}: found {found!r}, wanted a list of integers, e.g. [128, 64]"
        case "string_pattern_mismatch":
            return (
                f"{path}: found {found!r}, wanted {_PATTERNS_IN_WORDS[details['ctx']['pattern']]}"
            )
    wanted = details["msg"].removeprefix("Input should be ")
    return f"{path}: found {found!r}, wanted {wanted}"


def _suggestion(model: type[BaseModel], parts: Sequence[str]) -> str:
    """The nearest known key: that name elsewhere, a like name here, or all that are known here."""
    *section, wrong = parts
    known = list(_paths(model if model is not Config else ArmConfig))
    if model is Config:
        known += list(Config.model_fields)
    elsewhere = [path for path in known if path.rpartition(".")[2] == wrong]
    here = [path for path in known if path.split(".")[:-1] == section]
    close = difflib.get_close_matches(".".join(parts), here, n=1, cutoff=0.5)
    if elsewhere or close:
        return f"did you mean {(elsewhere or close)[0]}?"
    return f"known here: {', '.join(here)}"


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of all fields, sections before what they hold."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from _paths(candidate, f"{prefix}{name}.")
