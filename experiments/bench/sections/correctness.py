"""Is jbn right on this device? Errors against float64, each with the bound that it must keep."""

import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from peers import EPSILON, NORMS, OFFSETS, error, exact, forward_and_backward, jbn_batch_norm

import jbn
from jbn.export import load_function
from sections import Row, Size

# Further out, 16 bits have no digits of the standard deviation.
CASES = (
    ("batch_norm", "float32", OFFSETS),
    ("batch_norm", "bfloat16", OFFSETS[:3]),
    ("batch_norm", "float16", OFFSETS[:4]),
    ("layer_norm", "float32", OFFSETS),
    ("layer_norm", "bfloat16", OFFSETS[:3]),
    ("group_norm", "float32", OFFSETS),
)
SHAPES = {"tiny": (64, 32), "small": (4096, 64), "full": (65536, 64)}
# What the docstrings promise of y, relative to max(1, |y|); of dx, relative to the largest |dy|.
# For 16 bits it is one unit in the last place.
BOUNDS = {"float32": 1e-6, "bfloat16": 2.0**-7, "float16": 2.0**-10}
_EXPORT = """
import sys, jax.numpy, jbn, jbn.export
example = jax.numpy.ones((4, int(sys.argv[2])))
jbn.export.save_function(sys.argv[1], lambda x: jbn.layer_norm(x, epsilon=1e-5), example)
"""


def rows(size: Size) -> Iterator[Row]:
    """One row a check: its errors, the bound, and whether jbn's error keeps it."""
    rng = np.random.default_rng(0)
    shape = SHAPES[size]
    for norm, dtype, offsets in CASES[:: 4 if size == "tiny" else 1]:
        compiled = {name: forward_and_backward(layer) for name, layer in NORMS[norm].items()}
        for offset in offsets[:: 4 if size == "tiny" else 1]:
            x, dy = (jnp.asarray(shift + rng.normal(size=shape), dtype) for shift in (offset, 0))
            wanted = exact(norm, np.asarray(x), np.asarray(dy))
            found = {name: both(x, dy) for name, both in compiled.items()}
            yield from _y_and_dx(norm, dtype, found, wanted, np.asarray(dy), offset)
    for norm, dtype, offsets in CASES[:: 4 if size == "tiny" else 1]:
        yield _alone(norm, dtype, offsets[-1], rng.normal(size=shape))
    x, dy = (np.asarray(shift + rng.normal(size=shape), np.float32) for shift in (1e4, 0))
    yield from _masked(x, dy)
    yield _ghost(x, dy)
    yield from _running(x)
    yield _inputs(x)
    yield _exported(x)
    yield from _sharded(x, dy)


def _row(
    check: str, dtype: str, errors: dict[str, float], bound: float, offset: float = 1e4
) -> Row:
    return {
        "check": check,
        "dtype": dtype,
        "mean_over_std": offset,
        "errors": errors,
        "bound": bound,
        "right": errors["jbn"] <= bound,
    }


def _y_and_dx(
    check: str, dtype: str, found: dict[str, Any], wanted: Any, dy: np.ndarray, offset: float = 1e4
) -> Iterator[Row]:
    """A row for y and one for dx, of each library's pair of them."""
    for index, (of, scale) in enumerate({"y": 1.0, "dx": float(np.abs(dy).max())}.items()):
        errors = {name: error(pair[index], wanted[index]) for name, pair in found.items()}
        yield _row(f"{check}, {of}", dtype, errors, BOUNDS[dtype] * scale, offset)


def _alone(norm: str, dtype: str, offset: float, noise: np.ndarray) -> Row:
    """y where no derivative is taken: another program, and on a GPU another formula."""
    x = jnp.asarray(offset + noise, dtype)
    wanted, _ = exact(norm, np.asarray(x), noise)
    errors = {
        name: error(jax.jit(layer)(x).astype(dtype), wanted) for name, layer in NORMS[norm].items()
    }
    return _row(f"{norm} forward alone, y", dtype, errors, BOUNDS[dtype], offset)


def _masked(x: np.ndarray, dy: np.ndarray) -> Iterator[Row]:
    """NaN under the mask; the counted rows are as if they were alone."""
    counted = np.arange(len(x)) % 3 > 0
    mask = jnp.asarray(counted)[:, None]

    norm = functools.partial(jbn_batch_norm, mask=mask)
    found = forward_and_backward(norm)(jnp.where(mask, x, jnp.nan), jnp.where(mask, dy, 0))
    wanted = exact("batch_norm", x[counted], dy[counted])
    found = tuple(np.asarray(value)[counted] for value in found)
    yield from _y_and_dx("batch_norm under a mask", "float32", {"jbn": found}, wanted, dy)


def _ghost(x: np.ndarray, dy: np.ndarray) -> Row:
    """Each of four parts of the batch by its own statistics."""
    size = len(x) // 4
    norm = functools.partial(
        jbn.ghost_batch_norm, use_running_average=False, virtual_batch_size=size, epsilon=EPSILON
    )
    y, _ = jax.jit(norm)(x, jbn.init_batch_stats(x.shape[-1]))
    parts = zip(np.split(x, 4), np.split(dy, 4), strict=True)
    wanted = np.concatenate([exact("batch_norm", *part)[0] for part in parts])
    return _row("ghost_batch_norm, y", "float32", {"jbn": error(y, wanted)}, 1e-6)


def _running(x: np.ndarray) -> Iterator[Row]:
    """The running statistics after one batch."""
    norm = functools.partial(jbn.batch_norm, use_running_average=False, momentum=0.9)
    _, stats = jax.jit(norm)(x, jbn.init_batch_stats(x.shape[-1]))
    exact_x = x.astype(np.float64)
    for of, found, wanted in (
        ("mean", stats.mean, 0.1 * exact_x.mean(0)),
        ("variance", stats.var, 0.9 + 0.1 * exact_x.var(0)),
    ):
        yield _row(f"batch_norm, running {of}", "float32", {"jbn": error(found, wanted)}, 1e-6)


def _inputs(x: np.ndarray) -> Row:
    """Inputs standardized by the statistics of a stream of 16 batches."""
    update = jax.jit(jbn.update_input_stats)
    stats = functools.reduce(update, np.split(x, 16), jbn.init_input_stats(x.shape[-1]))
    exact_x = x.astype(np.float64)
    wanted = (exact_x - exact_x.mean(0)) / exact_x.std(0)
    found = jax.jit(jbn.standardize)(x, stats)
    return _row("input statistics, standardized", "float32", {"jbn": error(found, wanted)}, 1e-6)


def _exported(x: np.ndarray) -> Row:
    """A function that a process on a CPU exported, loaded and called here."""
    check = "export made on a CPU, loaded here"
    if importlib.util.find_spec("flatbuffers") is None:
        return {"check": check, "not_measured": "flatbuffers isn't installed"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "norm.bin")
        program = [sys.executable, "-c", _EXPORT, str(path), str(x.shape[-1])]
        root = str(Path(jbn.__file__).parents[1])
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": root}
        subprocess.run(program, env=environment, check=True)
        y = load_function(path)(x)
    wanted, _ = exact("layer_norm", x, x)
    return _row(check, "float32", {"jbn": error(y, wanted)}, 1e-6)


def _sharded(x: np.ndarray, dy: np.ndarray) -> Iterator[Row]:
    """A batch spread over all devices: the statistics are those of the whole batch."""
    devices = jax.devices()
    if len(devices) < 2:
        yield {"check": "sharded over devices", "not_measured": "one device"}
        return
    mesh = jax.make_mesh((len(devices),), ("batch",), (AxisType.Auto,))
    placed = jax.device_put((x, dy), jax.NamedSharding(mesh, jax.P("batch")))
    for norm, layers in NORMS.items():
        found = {"jbn": forward_and_backward(layers["jbn"])(*placed)}
        check = f"{norm}, the batch over {len(devices)} devices"
        yield from _y_and_dx(check, "float32", found, exact(norm, x, dy), dy)
