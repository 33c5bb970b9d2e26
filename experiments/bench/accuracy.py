"""How far normalization is from float64: jbn, Flax (both formulas), Keras and scikit-learn.

    python experiments/bench/accuracy.py

For each |mean| / std normal numbers of std 1, normalized by batch (training mode), layer and group
normalization with epsilon 1e-5, everything compiled: the largest error of y, and of the gradient of
x for a random cotangent, each relative to max(1, |exact value|), against the formula in float64 on
the same numbers. And of inputs standardized by the statistics of a stream of batches. Writes
`accuracy.json` beside this file.
"""

import functools
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
from sklearn.preprocessing import StandardScaler

import jbn

EPSILON = 1e-5
GROUPS = 8
OFFSETS = [0, 10, 1e2, 1e3, 1e4, 1e5]
NUM_BATCHES = 16  # of the stream of inputs


# Each function is x -> y


def jbn_batch_norm(x):
    stats = jbn.init_batch_stats(x.shape[-1])
    return jbn.batch_norm(x, stats, use_running_average=False, epsilon=EPSILON)[0]


def flax_batch_norm(x, **options):
    layer = nn.BatchNorm(
        use_running_average=False, epsilon=EPSILON, use_scale=False, use_bias=False, **options
    )
    stats = {"mean": jnp.zeros(x.shape[-1]), "var": jnp.ones(x.shape[-1])}
    return layer.apply({"batch_stats": stats}, x, mutable=["batch_stats"])[0]


def flax_layer_norm(x, **options):
    return nn.LayerNorm(epsilon=EPSILON, use_scale=False, use_bias=False, **options).apply({}, x)


def flax_group_norm(x, **options):
    layer = nn.GroupNorm(GROUPS, epsilon=EPSILON, use_scale=False, use_bias=False, **options)
    return layer.apply({}, x)


def keras_layer(make, call_options, x):
    layer = make(epsilon=EPSILON, dtype=x.dtype.name)
    layer.build(x.shape)
    variables = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]
    return layer.stateless_call(variables, state, x, **call_options)[0]


def four(ours, flax, make_keras_layer, **call_options):
    """The columns of a table."""
    return {
        "jbn": ours,
        "Flax, fast": flax,
        "Flax, accurate": functools.partial(flax, use_fast_variance=False),
        "Keras": functools.partial(keras_layer, make_keras_layer, call_options),
    }


LAYERS = keras.layers
NORMS = {
    "batch_norm": four(jbn_batch_norm, flax_batch_norm, LAYERS.BatchNormalization, training=True),
    "layer_norm": four(
        functools.partial(jbn.layer_norm, epsilon=EPSILON),
        flax_layer_norm,
        LAYERS.LayerNormalization,
    ),
    "group_norm": four(
        functools.partial(jbn.group_norm, num_groups=GROUPS, epsilon=EPSILON),
        flax_group_norm,
        functools.partial(LAYERS.GroupNormalization, groups=GROUPS),
    ),
}
# Norm, dtype, x's shape, offsets: further out, 16 bits have no digits of the standard deviation.
CASES = [
    ("batch_norm", "float32", (4096, 8), OFFSETS),
    ("batch_norm", "bfloat16", (4096, 8), OFFSETS[:3]),
    ("batch_norm", "float16", (4096, 8), OFFSETS[:4]),
    ("layer_norm", "float32", (64, 512), OFFSETS),
    ("group_norm", "float32", (64, 512), OFFSETS),
]


def exact(norm: str, x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y and dx in float64."""
    if norm == "batch_norm":
        y, dx = exact("layer_norm", x.T, dy.T)
        return y.T, dx.T
    if norm == "group_norm":
        groups = (len(x) * GROUPS, -1)
        y, dx = exact("layer_norm", x.reshape(groups), dy.reshape(groups))
        return y.reshape(x.shape), dx.reshape(x.shape)
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + EPSILON)
    y = (x - x.mean(-1, keepdims=True)) * r
    dx = dy - dy.mean(-1, keepdims=True) - y * (dy * y).mean(-1, keepdims=True)
    return y, r * dx


def error(found, wanted: np.ndarray) -> float:
    """The largest error, relative to max(1, |wanted|)."""
    found = np.asarray(found, np.float64)
    return float(np.max(np.abs(found - wanted) / np.maximum(1, np.abs(wanted))))


def measure_norm(norm: str, dtype: str, shape: tuple[int, ...], offset: float, rng) -> dict:
    """One row: the errors of each library."""
    x = jnp.asarray(offset + rng.normal(size=shape), dtype)
    dy = jnp.asarray(rng.normal(size=shape), dtype)
    wanted = exact(norm, np.asarray(x), np.asarray(dy))
    row = {"norm": norm, "dtype": dtype, "shape": shape, "mean_over_std": offset, "y": {}, "dx": {}}
    for name, layer in NORMS[norm].items():

        @jax.jit
        def forward_and_backward(x, dy, layer=layer):
            y, backward = jax.vjp(lambda x: layer(x).astype(x.dtype), x)
            return y, *backward(dy)

        for key, found, value in zip(("y", "dx"), forward_and_backward(x, dy), wanted, strict=True):
            row[key][name] = error(found, value)
    return row


def measure_inputs(offset: float, rng) -> dict:
    """One row: the errors of inputs standardized by the statistics of a stream."""
    x = np.asarray(offset + rng.normal(size=(4096, 8)), np.float32)
    batches = np.split(x, NUM_BATCHES)
    update = jax.jit(jbn.update_input_stats)
    stats = functools.reduce(update, batches, jbn.init_input_stats(8))
    scaler = functools.reduce(lambda s, batch: s.partial_fit(batch), batches, StandardScaler())
    layer = keras.layers.Normalization()
    layer.adapt(x)  # all at once: it takes no stream of arrays
    found = {
        "jbn": jax.jit(jbn.standardize)(x, stats),
        "scikit-learn": scaler.transform(x),
        "Keras": layer(x),
    }
    wanted = x.astype(np.float64)
    wanted = (wanted - wanted.mean(0)) / wanted.std(0)
    return {"mean_over_std": offset, "y": {name: error(y, wanted) for name, y in found.items()}}


def main() -> None:
    """Measures, prints, and writes the JSON."""
    rng = np.random.default_rng(0)
    rows = [
        measure_norm(norm, dtype, shape, offset, rng)
        for norm, dtype, shape, offsets in CASES
        for offset in offsets
    ]
    inputs = [measure_inputs(offset, rng) for offset in OFFSETS]
    print(*rows, *inputs, sep="\n")
    result = {
        "command": "python experiments/bench/accuracy.py",
        "environment": environment(keras=keras.__version__),
        "rows": rows,
        "inputs": inputs,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
