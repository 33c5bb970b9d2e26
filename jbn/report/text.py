"""Values and names in few characters, for tables and figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from jbn.config.errors import printable


def text_of(value: Any, digits: int = 3) -> str:
    """A value of a config in few characters: of numbers that have more digits, so many.

    >>> text_of(0.0215443), text_of(0.9999), text_of(1e-5), text_of(100.0), text_of([64, 32])
    ('0.0215', '0.9999', '1e-5', '100', '64, 32')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text_of(inner, digits)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(text_of(inner, digits) for inner in value)
    if isinstance(value, bool):
        return str(value).lower()  # as in TOML
    if not isinstance(value, float):
        return str(value)
    with_one_more = float(f"{value:.{digits + 1}g}")
    rounded = value if value == with_one_more else float(f"{value:.{digits}g}")
    if rounded == 1 != value:  # a momentum near 1 is another thing than 1
        return text_of(value, digits + 1)
    mantissa, has_exponent, exponent = f"{rounded:.{digits + 3}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if has_exponent else mantissa


def texts_of(values: Sequence[Any]) -> list[str]:
    """For a figure: the values with as few digits as tell them apart."""
    for digits in range(2, 17):
        texts = [text_of(value, digits) for value in values]
        if len(set(texts)) == len(set(map(repr, values))):
            break
    return [shortened(text) for text in texts]


def shortened(text: str, most: int = 24) -> str:
    """The text in one line, without its middle where it is longer than there is room for.

    >>> shortened("data/a_long_name_of_a_file.npz", 16)
    'data/a_l…ile.npz'
    """
    text, half = printable(text), most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[1 - half :]}"
