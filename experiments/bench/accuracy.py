"""How far batch normalization is from float64: jbn, Flax (both formulas) and Keras.

    python experiments/bench/accuracy.py

For each dtype and each |mean| / std: 4096 × 8 normal numbers of std 1, training mode, epsilon 1e-5,
everything compiled. The largest error of y, and of the gradient of x for a random cotangent, each
relative to max(1, |exact value|), against the formula in float64 on the same numbers. Writes
`accuracy.json` beside this file.
"""

import json
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
from in_turn import environment

import jbn

SHAPE = (4096, 8)
EPSILON = 1e-5
MEAN_OVER_STD = {
    "float32": [0, 10, 1e2, 1e3, 1e4, 1e5],
    "bfloat16": [0, 10, 1e2],  # further out these numbers have no digits of the standard deviation
    "float16": [0, 10, 1e2, 1e3],
}


def jbn_layer(x):
    """jbn's y."""
    stats = jbn.init_batch_stats(x.shape[-1])
    return jbn.batch_norm(x, stats, use_running_average=False, epsilon=EPSILON)[0]


def flax_layer(use_fast_variance: bool):
    """Flax's y, by one of its formulas."""
    layer = nn.BatchNorm(
        use_running_average=False,
        epsilon=EPSILON,
        use_scale=False,
        use_bias=False,
        use_fast_variance=use_fast_variance,
    )

    def apply(x):
        stats = {"mean": jnp.zeros(x.shape[-1]), "var": jnp.ones(x.shape[-1])}
        return layer.apply({"batch_stats": stats}, x, mutable=["batch_stats"])[0]

    return apply


def keras_layer(x):
    """Keras's y."""
    layer = keras.layers.BatchNormalization(epsilon=EPSILON, dtype=x.dtype.name)
    layer.build(x.shape)
    variables = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]
    return layer.stateless_call(variables, state, x, training=True)[0]


LAYERS = {
    "jbn": jbn_layer,
    "Flax, fast": flax_layer(use_fast_variance=True),
    "Flax, accurate": flax_layer(use_fast_variance=False),
    "Keras": keras_layer,
}


def exact(x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y and dx in float64."""
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    r = 1 / np.sqrt(x.var(0) + EPSILON)
    y = (x - x.mean(0)) * r
    return y, r * (dy - dy.mean(0) - y * (dy * y).mean(0))


def error(found: jax.Array, wanted: np.ndarray) -> float:
    """The largest error, relative to max(1, |wanted|)."""
    found = np.asarray(found, np.float64)
    return float(np.max(np.abs(found - wanted) / np.maximum(1, np.abs(wanted))))


def main() -> None:
    """Measures, prints, and writes the JSON."""
    rng = np.random.default_rng(0)
    rows = []
    for dtype, offsets in MEAN_OVER_STD.items():
        for offset in offsets:
            x = jnp.asarray(offset + rng.normal(size=SHAPE), dtype)
            dy = jnp.asarray(rng.normal(size=SHAPE), dtype)
            wanted = exact(np.asarray(x), np.asarray(dy))
            row = {"dtype": dtype, "mean_over_std": offset, "y": {}, "dx": {}}
            for name, layer in LAYERS.items():

                @jax.jit
                def forward_and_backward(x, dy, layer=layer):
                    y, backward = jax.vjp(lambda x: layer(x).astype(x.dtype), x)
                    return y, *backward(dy)

                for key, found, value in zip(
                    ("y", "dx"), forward_and_backward(x, dy), wanted, strict=True
                ):
                    row[key][name] = error(found, value)
            rows.append(row)
            print(row)
    result = {
        "command": "python experiments/bench/accuracy.py",
        "environment": environment(keras=keras.__version__),
        "shape": SHAPE,
        "rows": rows,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
