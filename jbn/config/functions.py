"""Functions of the user's own, which a config names."""

import functools
import importlib
import importlib.machinery
import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jbn.config.errors import UserError


def import_function(key: str, path: str) -> Callable[..., Any]:
    """The function at "package.module:function", which the config has at the key.

    Raises:
        UserError: it can't be imported, or is no function.
    """
    module, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UserError(f"{key}: found {path!r}, which can't be imported: {error}") from None
    if not callable(function) or isinstance(function, types.BuiltinFunctionType):
        raise UserError(f"{key}: found {path!r}, wanted a function written in Python")
    return function


def call_with(function: Callable[..., Any], key: str, arguments: Mapping[str, Any]) -> Any:
    """Calls the function with those of the arguments that it takes by name.

    Raises:
        UserError: it wants others, too.
    """
    if not callable(function):
        raise UserError(
            f"{key}: found a {type(function).__name__}, wanted a function that makes it"
        )
    taken = {name: value for name, value in arguments.items() if takes(function, name)}
    try:
        _signature(function).bind(**taken)
    except TypeError as error:
        raise UserError(
            f"{key}: {name_of(function)} can't be called: {error}; wanted a function of some of "
            f"{', '.join(arguments)}, by these names"
        ) from None
    return function(**taken)


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether the function has an argument of this name."""
    if isinstance(function, functools.partial) and name in function.keywords:
        return False  # it has it already
    found = _signature(function).parameters.get(name)
    return found is not None and found.kind in (found.KEYWORD_ONLY, found.POSITIONAL_OR_KEYWORD)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """The arguments; of a class, those that make one. A metaclass may hide them."""
    if not inspect.isclass(function):
        return inspect.signature(function)
    _, *arguments = inspect.signature(function.__init__).parameters.values()
    return inspect.Signature(arguments)


def source_of(path: str) -> tuple[str, str] | None:
    """The module of "package.module:function" and its source; None if there is no such text."""
    module = path.partition(":")[0]
    try:
        return module, inspect.getsource(importlib.import_module(module))
    except (ImportError, OSError, TypeError):
        return None


def lies_in(folder: Path, path: str) -> bool:
    """Whether Python may import "package.module:function" from within the folder.

    A package around the module counts, too.
    """
    names, root = path.partition(":")[0].split("."), folder.resolve()
    for entry in sys.path:
        for number in range(1, len(names) + 1):
            *packages, name = names[:number]
            for suffix in ("", *importlib.machinery.all_suffixes()):  # bytecode and libraries, too
                place = Path(entry, *packages).resolve() / f"{name}{suffix}"
                is_within = any(of.is_relative_to(root) for of in (place, place.resolve()))
                if is_within and os.path.lexists(place):
                    return True
    return False


def name_of(function: Callable[..., Any]) -> str:
    """What the function is called, for people to read."""
    return getattr(function, "__qualname__", None) or repr(function)
