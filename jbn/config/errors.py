"""The error that a user reads."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class UserError(ValueError):
    """jbn can't use what the user gave. Each line names one mistake and says what to do.

    A file's text may be part of it: what such a text has beside letters and signs is escaped.
    """

    def __init__(self, text: str):
        super().__init__("\n".join(map(printable, text.split("\n"))))


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Puts the name before each line of a mistake in the block."""
    try:
        yield
    except UserError as error:
        lines = str(error).split("\n")
        raise UserError("\n".join(f"{name}: {line}" for line in lines)) from None


def for_each(function: Callable[[_Item], _Made], items: Iterable[tuple[str, _Item]]) -> list[_Made]:
    """What the function makes of each item. An error that is no mistake gets a note of the name.

    Args:
        function: of an item.
        items: each with its name.

    Raises:
        UserError: the function found mistakes. All of all items are there, each once. The names of
            its items stand before a mistake that not all items have.
    """
    made: list[_Made] = []
    names: list[str] = []
    mistakes: dict[str, list[str]] = {}  # the names of each
    for name, item in items:
        names.append(name)
        try:
            made.append(function(item))
        except UserError as error:
            for line in str(error).split("\n"):
                mistakes.setdefault(line, []).append(name)
        except Exception as error:  # a function of the user's own may raise anything
            error.add_note(f"{name}: this is where it happened")
            raise
    if mistakes:
        lines = (
            line if of == names else f"{shortened(', '.join(of))}: {line}"
            for line, of in mistakes.items()
        )
        raise UserError("\n".join(lines))
    return made


def printable(text: str) -> str:
    """The text in one line, where what can't be seen, or moves other text, is escaped.

    >>> print(printable("one\\nline"), printable(chr(0x202E)))
    one\\nline \\u202e
    """
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def shown(value: Any) -> str:
    """The value as Python writes it, shortened to fit into a line."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "a number of thousands of digits"
    return shortened(text)


def shortened(text: str) -> str:
    """A file's text in one line, without its middle where it is long."""
    text = printable(text)
    return text if len(text) <= 80 else f"{text[:60]} … {text[-10:]}"
