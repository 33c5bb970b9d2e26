"""The article's network, one seed, whole training: jbn against Keras on JAX, in one process.

    python experiments/bench/article.py

Both sides: the same data, network, loss and optimizer, batches of 32 in a new order each epoch, 10
epochs, and after each the loss and accuracy of the validation split, in one batch. Compiled and
warmed up first; then pairs in turn, so that a slow moment of the machine meets both. Keras trains
with `model.fit`, as its users do; jbn with `jax.jit` of `run_training`, which measures the
gradient norm besides. Writes `article.json` beside this file.
"""

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np
from in_turn import environment, quartiles
from rich import box
from rich.console import Console
from rich.table import Table

from jbn.config import DataConfig, load_config
from jbn.data import Dataset, Examples, load, normalize_inputs
from jbn.train import Hypers, make_task, run_training

ROOT = Path(__file__).parents[2]
NUM_PAIRS = 15


def jbn_trainer(config, dataset: Dataset) -> Callable[[int], float]:
    """Trains with one seed; returns the final validation accuracy."""
    spec = dataset.spec._replace(input_stats=None)  # the inputs are normalized
    train_run = jax.jit(functools.partial(run_training, make_task(config, spec)))
    train, val = jax.device_put((dataset.train, dataset.val))
    hypers = Hypers.of(config)

    def train_once(seed: int) -> float:
        result = jax.block_until_ready(train_run(jax.random.key(seed), train, val, hypers))
        return float(result[1].val["accuracy"][-1])

    return train_once


def keras_trainer(config, dataset: Dataset) -> Callable[[int], float]:
    """Trains with one seed; returns the final validation accuracy."""
    layers = [keras.Input(dataset.train.x.shape[1:])]
    for size in config.model.hidden_sizes:
        norm = keras.layers.BatchNormalization(
            momentum=config.norm.momentum, epsilon=config.norm.epsilon
        )
        layers += [keras.layers.Dense(size, activation="relu"), norm]
    layers.append(keras.layers.Dense(dataset.num_classes, activation="softmax"))
    model = keras.Sequential(layers)
    model.compile(
        optimizer=keras.optimizers.Adam(config.optimizer.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    initial = model.get_weights()

    def train_once(seed: int) -> float:
        keras.utils.set_random_seed(seed)
        model.set_weights(initial)
        history = model.fit(
            *dataset.train,
            batch_size=config.train.batch_size,
            epochs=config.train.num_epochs,
            validation_data=tuple(dataset.val),
            validation_batch_size=len(dataset.val.y),
            verbose=0,
        )
        return history.history["val_accuracy"][-1]

    return train_once


def seconds(function: Callable[[int], float], seed: int) -> tuple[float, float]:
    """How long one call takes, and what it returns."""
    start = time.perf_counter()
    result = function(seed)
    return time.perf_counter() - start, result


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    config = load_config(ROOT / "configs" / "digits" / "article.toml").arms["batch_norm"]
    dataset = normalized(config.data, load(config.data))
    trainers = {
        "jbn": jbn_trainer(config, dataset),
        "keras": keras_trainer(config, dataset),
    }
    first = {name: seconds(train, 0)[0] for name, train in trainers.items()}
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
    for seed in range(1, NUM_PAIRS + 1):
        for name, train in trainers.items():
            pairs[name].append(seconds(train, seed))
    timed = {name: np.asarray(measured) for name, measured in pairs.items()}
    ratio = timed["keras"][:, 0] / timed["jbn"][:, 0]
    result = {
        "command": "python experiments/bench/article.py",
        "environment": environment(keras=keras.__version__),
        "num_pairs": NUM_PAIRS,
        "keras_over_jbn": quartiles(ratio),
    } | {
        name: {
            "first_call_seconds": first[name],
            "seconds": quartiles(measured[:, 0]),
            "val_accuracy": float(measured[:, 1].mean()),
        }
        for name, measured in timed.items()
    }
    (Path(__file__).with_suffix(".json")).write_text(json.dumps(result, indent=2) + "\n")
    print_table(result)


def normalized(config: DataConfig, dataset: Dataset) -> Dataset:
    """The data set with its inputs as the network takes them, for both sides."""
    splits = {
        name: Examples(
            np.asarray(normalize_inputs(config, dataset.input_stats, split.x)).reshape(
                len(split.y), -1
            ),
            split.y,
        )
        for name, split in dataset._asdict().items()
        if isinstance(split, Examples)
    }
    return dataset._replace(**splits)


def print_table(result: dict) -> None:
    """The result as a table."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", "first call", "warm: median (quartiles)", "validation accuracy"):
        table.add_column(heading)
    for name in ("jbn", "keras"):
        side, warm = result[name], result[name]["seconds"]
        table.add_row(
            name,
            f"{side['first_call_seconds']:.2f} s",
            f"{warm['median'] * 1e3:.1f} ms ({warm['q1'] * 1e3:.1f} to {warm['q3'] * 1e3:.1f})",
            f"{side['val_accuracy']:.4f}",
        )
    ratio = result["keras_over_jbn"]
    Console().print(table)
    print(
        f"Keras / jbn, pair by pair: {ratio['median']:.2f} "
        f"({ratio['q1']:.2f} to {ratio['q3']:.2f}), n = {result['num_pairs']}"
    )


if __name__ == "__main__":
    main()
