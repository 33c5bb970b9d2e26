"""What one layer costs: jbn's against Flax's (both formulas) and, where installed, PyTorch's.

Each program is a compiled step of the layer, called again and again from Python on the same x and
dy: results in x's dtype, parameters in float32 (PyTorch's layer, RMS and group norm want them in
x's dtype). What a call costs that computes nothing is measured beside it. The floor is the time to
move the bytes that must be moved, at the bandwidth that a copy has here.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from in_turn import compared, seconds_in_turn

import jbn.linen
from sections import Row, Size
from sections.pytorch import make_torch_layer

# Norm, dtype, x's shape, what is done.
FORWARD, TRAIN, TRAIN_RELU = "forward", "forward + backward", "forward + backward + ReLU"
IMAGES, WIDE_IMAGES = (256, 56, 56, 256), (256, 112, 112, 64)
SQUARE, TALL, TOKENS = (4096, 4096), (16384, 4096), (8, 197, 768)
Case = tuple[str, str, tuple[int, ...], str]
CASES: dict[Size, list[Case]] = {
    "full": [
        ("batch_norm", "bfloat16", IMAGES, TRAIN_RELU),
        ("batch_norm", "bfloat16", IMAGES, TRAIN),
        ("batch_norm", "bfloat16", WIDE_IMAGES, TRAIN_RELU),
        ("batch_norm", "bfloat16", WIDE_IMAGES, TRAIN),
        ("batch_norm", "float32", IMAGES, TRAIN_RELU),
        ("batch_norm", "bfloat16", SQUARE, TRAIN),
        ("batch_norm", "float32", SQUARE, TRAIN),
        ("batch_norm", "bfloat16", TALL, TRAIN),
        ("batch_norm", "bfloat16", IMAGES, FORWARD),
        ("layer_norm", "bfloat16", TALL, TRAIN),
        ("layer_norm", "bfloat16", TALL, FORWARD),
        ("layer_norm", "float32", TALL, TRAIN),
        ("layer_norm", "bfloat16", TOKENS, TRAIN),
        ("layer_norm", "bfloat16", TOKENS, FORWARD),
        ("layer_norm", "bfloat16", SQUARE, TRAIN),
        ("rms_norm", "bfloat16", TALL, TRAIN),
        ("rms_norm", "bfloat16", TALL, FORWARD),
        ("rms_norm", "bfloat16", SQUARE, TRAIN),
        ("group_norm", "bfloat16", IMAGES, TRAIN),
        ("group_norm", "bfloat16", IMAGES, FORWARD),
        ("group_norm", "float32", IMAGES, TRAIN),
        ("batch_norm", "float32", WIDE_IMAGES, TRAIN),
        ("batch_norm", "float32", TALL, TRAIN),
        ("layer_norm", "float32", SQUARE, TRAIN),
        ("layer_norm", "float32", TOKENS, TRAIN),
        ("batch_norm", "bfloat16", TOKENS, TRAIN),
    ],
    "small": [
        ("batch_norm", "float32", (256, 256), TRAIN),
        ("batch_norm", "float32", (4096, 64), TRAIN),
        ("batch_norm", "float32", (32, 28, 28, 32), TRAIN),
        ("batch_norm", "bfloat16", (32, 28, 28, 32), TRAIN),
        ("batch_norm", "float32", (32, 28, 28, 32), TRAIN_RELU),
        ("batch_norm", "float32", (32, 28, 28, 32), FORWARD),
        ("layer_norm", "float32", (512, 64), TRAIN),
        ("layer_norm", "float32", (4096, 256), TRAIN),
        ("layer_norm", "float32", (4096, 768), TRAIN),
        ("layer_norm", "float32", (256, 4096), TRAIN),
        ("layer_norm", "bfloat16", (4096, 768), TRAIN),
        ("layer_norm", "float32", (128, 8, 8, 16), FORWARD),
        ("layer_norm", "float32", TOKENS, FORWARD),
        ("layer_norm", "float32", (512, 256), FORWARD),
        ("layer_norm", "float32", (16, 512, 1024), FORWARD),
        ("rms_norm", "float32", (4096, 256), TRAIN),
        ("rms_norm", "float32", (4096, 256), FORWARD),
        ("group_norm", "float32", (32, 28, 28, 32), TRAIN),
        ("group_norm", "float32", (32, 28, 28, 32), FORWARD),
        ("group_norm", "float32", (128, 8, 8, 16), FORWARD),
        ("instance_norm", "float32", (32, 28, 28, 32), TRAIN),
        ("instance_norm", "float32", (32, 28, 28, 32), FORWARD),
        ("instance_norm", "float32", (128, 8, 8, 16), FORWARD),
    ],
    "tiny": [
        ("batch_norm", "bfloat16", (32, 16), TRAIN_RELU),
        ("rms_norm", "float32", (32, 16), FORWARD),
    ],
}
ACCURATE = {"use_fast_variance": False}
MAKERS: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "batch_norm": {
        "jbn": functools.partial(jbn.linen.BatchNorm, use_running_average=False),
        "Flax, fast": functools.partial(nn.BatchNorm, use_running_average=False),
        "Flax, accurate": functools.partial(nn.BatchNorm, use_running_average=False, **ACCURATE),
    },
    "layer_norm": {
        "jbn": jbn.linen.LayerNorm,
        "Flax, fast": nn.LayerNorm,
        "Flax, accurate": functools.partial(nn.LayerNorm, **ACCURATE),
    },
    # It subtracts no mean, so it loses no digits: there is one formula.
    "rms_norm": {"jbn": jbn.linen.RMSNorm, "Flax, fast": nn.RMSNorm},
    "group_norm": {
        "jbn": functools.partial(jbn.linen.GroupNorm, 8),
        "Flax, fast": functools.partial(nn.GroupNorm, 8),
        "Flax, accurate": functools.partial(nn.GroupNorm, 8, **ACCURATE),
    },
    "instance_norm": {
        "jbn": jbn.linen.InstanceNorm,
        "Flax, fast": nn.InstanceNorm,
        "Flax, accurate": functools.partial(nn.InstanceNorm, **ACCURATE),
    },
}
NUM_ROUNDS = {"tiny": 1, "small": 15, "full": 9}
BYTES_PER_ROUND = {"tiny": 0, "small": 2e8, "full": 4e10}  # so many steps that a round moves them
STEPS_OF_COPY = {"tiny": 1, "small": 4, "full": 20}
MAX_STEPS = 500


def rows(size: Size) -> Iterator[Row]:
    """One row a case."""
    bandwidth, empty_call = _copy_bandwidth(size), _empty_call(size)
    for norm, dtype, shape, what in CASES[size]:
        x, dy = (
            jax.random.normal(key, shape, dtype) for key in jax.random.split(jax.random.key(0))
        )
        moved = _num_passes(norm, what) * x.nbytes
        steps = int(np.clip(BYTES_PER_ROUND[size] / moved, 1, MAX_STEPS))
        programs, kept = {}, {}
        for name, make in MAKERS[norm].items():
            layer = make(dtype=dtype)
            variables = jax.jit(layer.init)(jax.random.key(1), x)
            step = jax.jit(functools.partial(_step, layer, what))
            programs[name] = _calls(step, (x, dy, variables), steps)
            kept[name] = _kept(layer, what, variables, x) / x.nbytes
        if call := make_torch_layer(norm, shape, dtype, what != FORWARD, what == TRAIN_RELU):
            programs["PyTorch"] = functools.partial(call, steps)
        times = compared(seconds_in_turn(programs, NUM_ROUNDS[size]), steps=steps)
        floor = moved / bandwidth * 1e6
        yield {
            "norm": norm,
            "dtype": dtype,
            "shape": shape,
            "what": what,
            **times,
            "steps": steps,
            "num_rounds": NUM_ROUNDS[size],
            "floor_over_time": {name: floor / t for name, t in times["microseconds"].items()},
            "kept_over_x": kept if what != FORWARD else None,
            "copy_bytes_per_second": bandwidth,
            "empty_call_microseconds": empty_call,
        }


def _num_passes(norm: str, what: str) -> int:
    """How often x's size must be moved at least.

    Batch statistics are of all examples, so x is read again after them: 3 times forward (read,
    read, write) and 5 backward (x and dy twice, dx). The statistics of one example can stay on the
    chip: 2 and 3.
    """
    forward, backward = (3, 5) if norm == "batch_norm" else (2, 3)
    return forward if what == FORWARD else forward + backward


def _step(layer: nn.Module, what: str, x: jax.Array, dy: jax.Array, variables: Any) -> Any:
    """What a training step takes of a layer: y, the gradients, the new running statistics."""
    if what == FORWARD:
        return _apply(layer, what, variables["params"], x, variables)
    y, backward, updates = jax.vjp(
        lambda params, x: _apply(layer, what, params, x, variables),
        *(variables["params"], x),
        has_aux=True,
    )
    return y, backward(dy), updates


def _apply(layer: nn.Module, what: str, params: Any, x: jax.Array, variables: Any) -> Any:
    """y, with a ReLU if asked for, and the new running statistics."""
    y, updates = layer.apply({**variables, "params": params}, x, mutable=["batch_stats"])
    return jax.nn.relu(y) if what == TRAIN_RELU else y, updates


def _kept(layer: nn.Module, what: str, variables: Any, x: jax.Array) -> int:
    """Bytes that differentiation keeps between forward and backward."""
    forward = jax.jit(lambda params, x: _apply(layer, what, params, x, variables)[0])
    _, backward = jax.eval_shape(lambda *args: jax.vjp(forward, *args), variables["params"], x)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def _calls(function: Callable, arguments: tuple, num_calls: int) -> Callable[[], Any]:
    """Calls one after the other.

    An accelerator takes them in order, while Python is ahead. A CPU would take several at once, so
    it gets the next one when the last one is done. They aren't steps of a compiled loop, because
    XLA takes what doesn't change out of a loop, and fuses what makes it change with the layer.
    """
    waits = jax.default_backend() == "cpu"

    def call() -> Any:
        for _ in range(num_calls):
            result = function(*arguments)
            if waits:
                jax.block_until_ready(result)
        return result

    return call


def _copy_bandwidth(size: Size) -> float:
    """Bytes read and written a second where each number is replaced; of 1 GiB on an accelerator."""
    x = jnp.ones({"tiny": 2**10, "small": 2**24, "full": 2**28}[size], jnp.float32)
    num_bytes, steps = STEPS_OF_COPY[size] * 2 * x.nbytes, STEPS_OF_COPY[size]
    negate = jax.jit(jnp.negative, donate_argnums=0)

    def calls() -> jax.Array:
        nonlocal x
        for _ in range(steps):
            x = negate(x)
        return x

    seconds = seconds_in_turn({"copy": calls}, NUM_ROUNDS[size])["copy"]
    return num_bytes / float(np.median(seconds))


def _empty_call(size: Size) -> float:
    """Microseconds that a call takes which computes next to nothing."""
    calls = _calls(jax.jit(jnp.negative), (jnp.ones(()),), MAX_STEPS)
    seconds = seconds_in_turn({"call": calls}, NUM_ROUNDS[size])["call"]
    return float(np.median(seconds)) / MAX_STEPS * 1e6
