"""jbn's functions, each call one compiled program.

For small arrays that is far quicker than op by op, where each operation is a program. Tests write
`from compiled import jbn` where running op by op isn't their subject.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import jbn as package


class _Compiled:
    """The package's attributes; its functions compiled."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(package, name)
        if isinstance(value, type) or not callable(value):
            return value
        return compiled(value)


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which takes its arrays as a program's arguments and all else as constants."""
    programs: dict[Any, Callable[..., Any]] = {}

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        leaves, structure = jax.tree.flatten((args, options))
        is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
        arrays = [leaf if array else None for leaf, array in zip(leaves, is_array, strict=True)]
        constants = tuple(
            None if array else leaf for leaf, array in zip(leaves, is_array, strict=True)
        )

        def program(arrays: list[Any]) -> Any:
            pairs = zip(arrays, constants, strict=True)
            given = [constant if array is None else array for array, constant in pairs]
            args, options = jax.tree.unflatten(structure, given)
            return function(*args, **options)

        key = structure, constants, tuple(map(type, constants))  # 1, 1.0 and True are equal
        return programs.setdefault(key, jax.jit(program))(arrays)

    return call


jbn: Any = _Compiled()
