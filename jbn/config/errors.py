"""The error that a user reads."""

import contextlib
from collections.abc import Iterator
from typing import Any


class UserError(ValueError):
    """jbn can't use what the user gave. Each line names one mistake and says what to do.

    A file's text may be part of it: what such a text has beside letters and signs is escaped.
    """

    def __init__(self, text: str):
        super().__init__("\n".join(map(printable, text.split("\n"))))


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Puts the name before each line of a mistake in the block; any other error gets a note."""
    try:
        yield
    except UserError as error:
        lines = str(error).split("\n")
        raise UserError("\n".join(f"{name}: {line}" for line in lines)) from None
    except Exception as error:  # a function of the user's own may raise anything
        error.add_note(f"{name}: this is where it happened")
        raise


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
