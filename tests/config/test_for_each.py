"""Mistakes of several items: all of them, each once, and whose they are."""

import pytest

from jbn.config import UserError
from jbn.config.errors import for_each


def halves(number):
    """Half of an even number from 0."""
    wrong = ["odd"] * (number % 2) + [f"found {number}"] * (number < 0)
    if wrong:
        raise UserError("\n".join(wrong))
    return number // 2


@pytest.mark.parametrize(
    ("numbers", "lines"),
    [
        ([1], ["odd"]),
        ([1, 3, 5], ["odd"]),
        ([1, 2, 3], ["a, c: odd"]),
        ([2, -1, -2], ["b: odd", "b: found -1", "c: found -2"]),
        ([1, -1, 3], ["odd", "b: found -1"]),
    ],
)
def test_a_mistake_of_some_items_has_their_names(numbers, lines):
    with pytest.raises(UserError) as caught:
        for_each(halves, zip("abc", numbers, strict=False))
    assert str(caught.value).split("\n") == lines


def test_without_mistakes_it_returns_what_was_made_in_order():
    assert for_each(halves, [("a", 4), ("b", 0), ("a", 4)]) == [2, 0, 2]


def test_any_other_error_is_raised_with_the_name_of_its_item():
    with pytest.raises(ZeroDivisionError) as caught:
        for_each(lambda number: 1 // number, [("a", 1), ("b", 0)])
    assert caught.value.__notes__ == ["b: this is where it happened"]
