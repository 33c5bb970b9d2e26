"""Compiles the parts of a program side by side."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jax.stages import Lowered

Lower = Callable[[], Lowered]
Build = Callable[[Mapping[str, Lower]], dict[str, Any]]  # from functions that lower to executables


def compile_together(parts: Mapping[str, Lower]) -> dict[str, Any]:
    """Compiles the parts. Each is traced and lowered while XLA compiles the former ones.

    >>> import jax, jax.numpy as jnp
    >>> compile_together({"sine": lambda: jax.jit(jnp.sin).lower(0.0)})["sine"](0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    with ThreadPoolExecutor(max(1, len(parts))) as pool:
        waiting = {name: pool.submit(lower().compile) for name, lower in parts.items()}
        return {name: compiled.result() for name, compiled in waiting.items()}
