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

import jax
import jax.numpy as jnp
import keras
import numpy as np
from in_turn import environment
from peers import EPSILON, GROUPS, NORMS, OFFSETS, error, exact, forward_and_backward
from sklearn.preprocessing import StandardScaler

import jbn

NUM_BATCHES = 16  # of the stream of inputs


def keras_layer(make, call_options, x):
    """x -> y of a Keras layer in training."""
    layer = make(epsilon=EPSILON, dtype=x.dtype.name)
    layer.build(x.shape)
    variables = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]
    return layer.stateless_call(variables, state, x, **call_options)[0]


LAYERS = keras.layers
KERAS = {
    "batch_norm": (LAYERS.BatchNormalization, {"training": True}),
    "layer_norm": (LAYERS.LayerNormalization, {}),
    "group_norm": (functools.partial(LAYERS.GroupNormalization, groups=GROUPS), {}),
}
# Norm, dtype, x's shape, offsets: further out, 16 bits have no digits of the standard deviation.
CASES = [
    ("batch_norm", "float32", (4096, 8), OFFSETS),
    ("batch_norm", "bfloat16", (4096, 8), OFFSETS[:3]),
    ("batch_norm", "float16", (4096, 8), OFFSETS[:4]),
    ("layer_norm", "float32", (64, 512), OFFSETS),
    ("group_norm", "float32", (64, 512), OFFSETS),
]


def measure_norm(norm: str, dtype: str, shape: tuple[int, ...], offset: float, rng) -> dict:
    """One row: the errors of each library."""
    x = jnp.asarray(offset + rng.normal(size=shape), dtype)
    dy = jnp.asarray(rng.normal(size=shape), dtype)
    wanted = exact(norm, np.asarray(x), np.asarray(dy))
    row = {"norm": norm, "dtype": dtype, "shape": shape, "mean_over_std": offset, "y": {}, "dx": {}}
    layers = NORMS[norm] | {"Keras": functools.partial(keras_layer, *KERAS[norm])}
    for name, layer in layers.items():
        results = forward_and_backward(layer)(x, dy)
        for key, found, value in zip(("y", "dx"), results, wanted, strict=True):
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
