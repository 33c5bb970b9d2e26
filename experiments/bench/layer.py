"""One batch normalization layer, forward and backward: jbn against Flax's, in one process.

    python experiments/bench/layer.py

Both sides: y, the gradients of x, scale and bias, and the new running statistics, in a compiled
loop whose steps depend on each other, float32 parameters, result in x's dtype. Flax with its
default variance (E[x²] - E[x]², fast and inexact) and with the accurate one. Writes `layer.json`
beside this file.
"""

import functools
import json
import math
from pathlib import Path

import flax.linen as nn
import jax
from in_turn import compared, environment, seconds_in_turn

import jbn.linen

CASES = [
    ("float32", (32, 128)),
    ("float32", (256, 256)),
    ("float32", (4096, 64)),
    ("float32", (32, 28, 28, 32)),
    ("bfloat16", (32, 28, 28, 32)),
]
LAYERS = {
    "jbn": jbn.linen.BatchNorm,
    "Flax, fast": nn.BatchNorm,
    "Flax, accurate": lambda **options: nn.BatchNorm(**options, use_fast_variance=False),
}
NUM_ROUNDS = 15
ENTRIES_PER_CALL = 4_000_000  # so many steps a call that it takes tens of milliseconds


def make_loop(make_layer, shape: tuple[int, ...], dtype: str, num_steps: int):
    """A compiled loop of training steps of the layer, with its arguments."""
    layer = make_layer(use_running_average=False, dtype=dtype)
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    variables = layer.init(jax.random.key(1), x)

    def step(_, carry):
        x, variables = carry

        def apply(params, x):
            variables_in = {**variables, "params": params}
            y, updates = layer.apply(variables_in, x, mutable=["batch_stats"])
            return y, updates["batch_stats"]

        y, backward, batch_stats = jax.vjp(apply, variables["params"], x, has_aux=True)
        dparams, dx = backward(y * 0.5 + x)
        params = jax.tree.map(lambda p, g: p - 1e-6 * g, variables["params"], dparams)
        return x - 1e-3 * dx, {"params": params, "batch_stats": batch_stats}

    loop = jax.jit(lambda carry: jax.lax.fori_loop(0, num_steps, step, carry))
    return functools.partial(loop, (x, variables))


def main() -> None:
    """Measures, prints, and writes the JSON."""
    result = {
        "command": "python experiments/bench/layer.py",
        "environment": environment(),
        "num_rounds": NUM_ROUNDS,
        "cases": [],
    }
    for dtype, shape in CASES:
        steps = max(10, ENTRIES_PER_CALL // math.prod(shape))
        loops = {name: make_loop(make, shape, dtype, steps) for name, make in LAYERS.items()}
        times = compared(seconds_in_turn(loops, NUM_ROUNDS), steps=steps)
        result["cases"].append({"dtype": dtype, "shape": shape} | times)
        print(result["cases"][-1])
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
