"""Layer normalization, forward and backward: jbn, plain autodiff and Flax's, in one process.

    python experiments/bench/layer_norm.py

All sides: y and the gradients of x, scale and bias for a given cotangent, compiled, float32
parameters, y in x's dtype. "Plain" is a shifted variance in `jax.numpy`, differentiated by JAX.
Flax with its default variance (fast and inexact) and with the accurate one. Also what each keeps
between forward and backward, in x's bytes. Writes `layer_norm.json` beside this file.
"""

import functools
import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
from in_turn import compared, environment, seconds_in_turn

import jbn

CASES = [
    ("float32", (512, 64)),
    ("float32", (4096, 256)),
    ("float32", (4096, 768)),
    ("float32", (256, 4096)),
    ("bfloat16", (4096, 768)),
]
NUM_ROUNDS = 25


def plain(x, scale, bias):
    """The formula, with the digits that a shift keeps, left to JAX."""
    shifted = x.astype(jnp.float32)
    shifted -= jax.lax.stop_gradient(jnp.mean(shifted, -1, keepdims=True))
    d = shifted - jnp.mean(shifted, -1, keepdims=True)
    factor = jax.lax.rsqrt(jnp.mean(d * d, -1, keepdims=True) + 1e-6)
    return (d * factor * scale + bias).astype(x.dtype)


def flax(x, scale, bias, **options):
    """Flax's layer as a function."""
    layer = nn.LayerNorm(dtype=x.dtype, **options)
    return layer.apply({"params": {"scale": scale, "bias": bias}}, x)


LAYERS = {
    "jbn": jbn.layer_norm,
    "plain": plain,
    "Flax, fast": flax,
    "Flax, accurate": lambda *args: flax(*args, use_fast_variance=False),
}


def forward_and_backward(layer):
    """(x, scale, bias, dy) -> y and the cotangents."""

    def both(x, scale, bias, dy):
        y, vjp = jax.vjp(layer, x, scale, bias)
        return y, vjp(dy)

    return jax.jit(both)


def main() -> None:
    """Measures, prints, and writes the JSON."""
    result = {
        "command": "python experiments/bench/layer_norm.py",
        "environment": environment(),
        "num_rounds": NUM_ROUNDS,
        "cases": [],
    }
    for dtype, shape in CASES:
        x, dy = (
            jax.random.normal(key, shape, dtype) for key in jax.random.split(jax.random.key(0))
        )
        args = (x, jnp.ones(shape[-1]), jnp.zeros(shape[-1]))
        programs, kept = {}, {}
        for name, layer in LAYERS.items():
            programs[name] = functools.partial(forward_and_backward(layer), *args, dy)
            _, vjp = jax.vjp(jax.jit(layer), *args)
            kept[name] = sum(leaf.nbytes for leaf in jax.tree.leaves(vjp)) / x.nbytes
        times = compared(seconds_in_turn(programs, NUM_ROUNDS))
        result["cases"].append({"dtype": dtype, "shape": shape} | times | {"kept": kept})
        print(result["cases"][-1])
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
