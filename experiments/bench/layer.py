"""One batch normalization layer, forward and backward: jbn against Flax's, in one process.

    python experiments/bench/layer.py

Both sides: y, the gradients of x, scale and bias, and the new running statistics, in a compiled
loop whose steps depend on each other, float32 parameters, result in x's dtype. Flax with its
default variance (E[x²] - E[x]², fast and inexact) and with the accurate one. Writes `layer.json`
beside this file.
"""

import json
import math
import time
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np

import jbn.linen
from jbn.environment import describe_environment

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


def make_loop(make_layer, shape: tuple[int, ...], dtype: str):
    """A compiled loop of training steps of the layer, and its arguments."""
    layer = make_layer(use_running_average=False, dtype=dtype)
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    variables = layer.init(jax.random.key(1), x)
    num_steps = max(10, ENTRIES_PER_CALL // math.prod(shape))

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
    return loop, (x, variables), num_steps


def main() -> None:
    """Measures in turn, prints, and writes the JSON."""
    environment = describe_environment(jax.devices()[0])
    del environment["command"]
    result = {
        "command": "python experiments/bench/layer.py",
        "environment": environment,
        "num_rounds": NUM_ROUNDS,
        "cases": [],
    }
    for dtype, shape in CASES:
        loops = {name: make_loop(make, shape, dtype) for name, make in LAYERS.items()}
        seconds = {name: [] for name in loops}
        for counted in [False] + [True] * NUM_ROUNDS:
            for name, (loop, carry, num_steps) in loops.items():
                start = time.perf_counter()
                jax.block_until_ready(loop(carry))
                if counted:
                    seconds[name].append((time.perf_counter() - start) / num_steps)
        case = {"dtype": dtype, "shape": shape, "microseconds": {}, "over_jbn": {}}
        for name, measured in seconds.items():
            ratio = np.asarray(measured) / np.asarray(seconds["jbn"])
            case["microseconds"][name] = float(np.median(measured) * 1e6)
            case["over_jbn"][name] = [float(q) for q in np.quantile(ratio, [0.25, 0.5, 0.75])]
        result["cases"].append(case)
        print(case)
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
