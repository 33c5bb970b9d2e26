"""Batches gathered on the host, ahead of their use."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
_AHEAD = 2  # items that are made, or wait, beside the one in use


def made_ahead(make: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """`make(item)` of each item, in order, made in another thread while earlier ones are used.

    >>> list(made_ahead(lambda number: number**2, range(5)))
    [0, 1, 4, 9, 16]
    """
    with ThreadPoolExecutor(1) as thread:
        waiting: collections.deque[Future[_Made]] = collections.deque()
        for item in items:
            waiting.append(thread.submit(make, item))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
