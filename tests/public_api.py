"""The public names of jbn with their signatures, a line each: docs/reference/public_api.txt.

    python tests/public_api.py              writes the list
    python tests/public_api.py --release    and notes it as that of the version just released

A signature has names, kinds and defaults. Types are left out: their texts differ between versions
of Python and JAX, and mypy checks them. A module has the fields that jbn gives it; those from Flax
are Flax's to change. Of `jbn.store` the readers are public.
"""

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from flax import linen as nn
from pydantic import BaseModel

import jbn
from jbn.cli.commands import app
from jbn.trained import LoadedRun

ROOT = Path(__file__).parents[1]
LIST = ROOT / "docs" / "reference" / "public_api.txt"
RELEASED = Path(__file__).parent / "golden" / "public_api_released.txt"
MODULES = (
    *("config", "convert", "data", "diagnose", "export", "linen", "models", "nnx"),
    *("run", "store", "train", "variables"),
)


def public_api() -> list[str]:
    """A line for each public name, and for each command."""
    top = {name: getattr(jbn, name) for name in dir(jbn)}
    lines = [
        line
        for name, value in top.items()
        if not inspect.ismodule(value)
        for line in _lines("jbn", name, value)
    ]
    for name in MODULES:
        module = importlib.import_module(f"jbn.{name}")
        for public, value in sorted(_public(module).items()):
            lines += _lines(module.__name__, public, value)
    lines += _lines("jbn.trained", "LoadedRun", LoadedRun)  # what `jbn.load_run` returns
    return [*lines, *_commands()]


def names_and_signatures(lines: list[str]) -> dict[str, str]:
    """From "jbn.train.run_epoch" or "jbn run" to all of its line."""
    found = [re.match(r"(\$ [\w-]+(?: [a-z-]+)?|[\w.]+)", line) for line in lines]
    return {match[1]: line for match, line in zip(found, lines, strict=True) if match is not None}


def _public(module: Any) -> dict[str, Any]:
    """What a folder's `__init__` exports; of a single file, what is defined in it."""
    is_file = Path(module.__file__).name != "__init__.py"
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
        if not is_file or getattr(value, "__module__", None) == module.__name__
        if module.__name__ != "jbn.store" or name.startswith(("read_", "is_"))
    }


def _lines(module: str, name: str, value: Any) -> Iterator[str]:
    """The line of a name; and of the methods of a class."""
    path = f"{module}.{name}"
    if not inspect.isclass(value):
        is_function = inspect.isroutine(value) or isinstance(value, functools.partial)
        yield path + (_signature(value) if is_function else "")
        return
    if issubclass(value, BaseModel):  # docs/reference/config.md has the keys
        yield path
        return
    yield path + _constructor(value)
    fields = getattr(value, "__dataclass_fields__", {})
    for member, found in sorted(vars(value).items()):
        if (member.startswith("_") and member != "__call__") or member in fields:
            continue
        if isinstance(found, property | functools.cached_property):
            yield f"{path}.{member}"
            continue
        function = getattr(found, "__func__", found)  # of a method of the class, or of none
        if inspect.isfunction(function):
            is_bound = not isinstance(found, staticmethod)
            yield f"{path}.{member}{_signature(function, bound=is_bound)}"


def _constructor(value: type) -> str:
    if issubclass(value, BaseException):
        return ""
    if hasattr(value, "_fields"):  # a NamedTuple
        return _signature(value.__new__, bound=True)
    if issubclass(value, nn.Module):
        ours = [c for c in value.__mro__ if c.__module__.startswith("jbn.")]
        fields = {name for c in ours for name in inspect.get_annotations(c)}
        return _signature(value.__init__, only=fields, bound=True) + _base_of_flax(value)
    maker = next(c for c in value.__mro__ if "__init__" in vars(c))
    is_ours = maker.__module__.startswith("jbn.")
    return (_signature(value.__init__, bound=True) if is_ours else "") + _base_of_flax(value)


def _base_of_flax(value: type) -> str:
    """The layer of Flax that it extends, from which it has the other arguments."""
    known = (c for c in value.__mro__ if c.__module__.startswith("flax."))
    base = next(known, object)
    if base.__name__ in ("Module", "object"):
        return ""
    return f": a flax.{'linen' if issubclass(value, nn.Module) else 'nnx'}.{base.__name__}"


def _signature(function: Any, *, only: set[str] | None = None, bound: bool = False) -> str:
    """The arguments with their defaults; without the first, where it is bound."""
    parameters = list(inspect.signature(function).parameters.values())[int(bound) :]
    is_module = {"parent", "name"} <= {parameter.name for parameter in parameters}  # of Linen
    kept = [
        parameter.replace(annotation=parameter.empty, default=_default(parameter))
        for parameter in parameters
        if only is None or parameter.name in only
        if not (is_module and parameter.name in ("parent", "name"))
    ]
    return str(inspect.Signature(kept))


class _Shown(str):
    """A default, as it is written."""

    def __repr__(self) -> str:
        return str(self)


def _default(parameter: inspect.Parameter) -> Any:
    default = parameter.default
    if default is parameter.empty or isinstance(default, bool | int | float | str | tuple | None):
        return default
    name = getattr(default, "__name__", "...")
    return _Shown(name if name.isidentifier() else "...")


def _commands() -> Iterator[str]:
    group: Any = typer.main.get_command(app)
    yield f"$ jbn {_arguments(group)}"
    for name, command in group.commands.items():
        yield f"$ jbn {name} {_arguments(command)}"


def _arguments(command: Any) -> str:
    shown = []
    for parameter in command.params:
        is_option = parameter.opts[0].startswith("-")
        names = [*parameter.opts, *parameter.secondary_opts]
        shown.append("/".join(names) if is_option else parameter.name.upper())
    return " ".join(shown)


def main() -> None:
    text = "\n".join(public_api()) + "\n"
    LIST.write_text(text)
    if sys.argv[1:] == ["--release"]:
        RELEASED.write_text(f"# {jbn.__version__}\n{text}")


if __name__ == "__main__":
    main()
