"""What `jbn run` does with one seed of the article's network, as a script of Keras on JAX.

`start.py` times it from beginning to end.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from sklearn import datasets

x, y = datasets.load_digits(return_X_y=True)
train, val, test = np.split(np.random.default_rng(0).permutation(len(y)), [1440, 1618])
mean, std = x[train].mean(0), x[train].std(0)
x = (x - mean) / np.where(std > 0, std, 1)

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(0.001),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(x[train], y[train], batch_size=32, epochs=10, validation_data=(x[val], y[val]), verbose=2)
model.evaluate(x[test], y[test], verbose=2)
