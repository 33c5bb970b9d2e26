"""Networks in evaluation, by Keras: keras_*.npz.

    KERAS_BACKEND=torch python tests/golden/make_keras.py

with keras 3.15.1 on torch 2.13.0 (CPU) and NumPy 2.4.6: a backend that is not Flax's. Each file has
the versions it was made by. A file holds the input `x`, the output `y` in evaluation, and the
weights with `weights/` before each path. That of the MLP also has `train_x`, a further batch, and
with `after/` before each path the weights after the statistics have moved by it.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

FOLDER = Path(__file__).parent
RNG = np.random.default_rng(0)


def mlp():
    return [
        keras.Input((6,)),
        layers.Dense(8, name="hidden"),
        layers.BatchNormalization(momentum=0.7, epsilon=1e-2, name="hidden_norm"),
        layers.ReLU(),
        layers.Dense(4, use_bias=False, name="second"),
        layers.BatchNormalization(center=False, scale=False, name="second_norm"),
        layers.Dropout(0.2),
        layers.Dense(3, name="head"),
    ]


def cnn():
    return [
        keras.Input((7, 8, 3)),
        layers.Conv2D(8, 3, strides=2, padding="same", name="stem"),
        layers.BatchNormalization(scale=False, momentum=0.7, name="stem_norm"),
        layers.ReLU(),
        layers.Conv2D(12, (3, 2), groups=2, use_bias=False, name="grouped"),
        layers.GroupNormalization(3, name="group_norm"),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="depthwise"),
        layers.GroupNormalization(-1, name="instance_norm"),
        layers.ReLU(),
        layers.Conv2DTranspose(6, (4, 3), strides=2, padding="same", name="up"),
        layers.LayerNormalization(center=False, name="layer_norm"),
        layers.Flatten(),
        layers.BatchNormalization(name="flat_norm"),
        layers.Dense(5, name="head"),
    ]


def tokens():
    return [
        keras.Input((9,)),
        layers.Embedding(7, 6, name="embed"),
        layers.RMSNormalization(name="norm"),
        layers.Conv1D(8, 3, activation="relu", name="conv"),
        layers.Conv1DTranspose(8, 3, strides=2, activation="relu", use_bias=False, name="up"),
        layers.SeparableConv1D(5, 3, depth_multiplier=2, name="separable"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(3, name="head"),
    ]


def trained(name, parts, batches):
    """The model after a step of training for each batch, with scales that aren't all ones."""
    model = keras.Sequential(parts, name=name)
    for v in model.weights:
        if v.name in ("gamma", "scale"):
            v.assign(RNG.uniform(0.5, 1.5, v.shape))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    for x in batches:
        model.train_on_batch(x, np.ones((len(x), *model.output_shape[1:])))
    return model


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def arrays(prefix, model):
    convert = keras.ops.convert_to_numpy
    return {prefix + v.path: np.array(convert(v)) for v in model.weights}


def output(model, x, training):
    return keras.ops.convert_to_numpy(keras.ops.stop_gradient(model(x, training=training)))


def save(model, x, **more):
    versions = f"keras {keras.__version__} on {keras.backend.backend()}, numpy {np.__version__}"
    np.savez_compressed(
        FOLDER / f"keras_{model.name}.npz",
        x=x,
        y=output(model, x, training=False),
        versions=np.array(versions),
        **arrays("weights/", model),
        **more,
    )


def main():
    keras.utils.set_random_seed(0)
    model = trained("mlp", mlp(), 2 + 3 * floats(5, 7, 6))
    before = model.get_weights()
    train_x = 2 + 3 * floats(7, 6)
    output(model, train_x, training=True)
    after = arrays("after/", model)
    model.set_weights(before)
    save(model, floats(5, 6), train_x=train_x, **after)

    save(trained("cnn", cnn(), floats(5, 6, 7, 8, 3)), floats(4, 7, 8, 3))

    save(trained("tokens", tokens(), RNG.integers(7, size=(3, 6, 9))), RNG.integers(7, size=(4, 9)))


if __name__ == "__main__":
    main()
