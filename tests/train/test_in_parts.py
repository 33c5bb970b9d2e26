"""Data that stay on the host: the same training, a part at a time."""

import functools
import threading

import chex
import jax
import numpy as np
import pytest
from problems import normal

from jbn.config import config_from_dict, plan
from jbn.data import Dataset, Examples, fit_inputs
from jbn.data.feed import made_ahead
from jbn.train import compile_in_parts, compile_program, in_parts, make_lanes, make_task

IMAGES = np.asarray(50 * normal(70, 6, 6, 1) + 100).astype(np.uint8)
Y = (np.arange(70) % 3).astype(np.int32)
TABLE = {
    "name": "x",
    "num_seeds": 2,
    "optimizer": {"kind": "sgd"},  # Adam makes a step of what rounding leaves of a gradient of 0
    "model": {"hidden_sizes": [8]},
    "data": {"label_noise": 0.2, "augment": {"shift": 1}},
    "train": {"num_epochs": 2, "batch_size": 8},
    "sweep": {"optimizer": {"learning_rate": [0.01, 0.1]}},
}
CASES = {
    "recomputed statistics": {
        "train": {"num_epochs": 2, "batch_size": 8, "ema_decay": 0.9, "order": "class_blocked"}
    },
    "one lane after another": {"model": {"kind": "cnn", "channels": [2]}},
}


def dataset_of(config, x):
    train, val, test = (
        Examples(x[rows], Y[rows]) for rows in (slice(50), slice(50, 60), slice(60, 70))
    )
    return Dataset(train, val, test, fit_inputs(config.data, x[:50]), 3, sha256="", where="here")


@pytest.mark.parametrize(
    "case",
    ["recomputed statistics", pytest.param("one lane after another", marks=pytest.mark.slow)],
)
def test_the_host_comes_to_what_the_device_comes_to(case, monkeypatch):
    """To rounding: programs that are compiled fast differ in it (optimized ones had the bits)."""
    (program,) = plan(config_from_dict({**TABLE, **CASES[case]}))
    dataset = dataset_of(program.config, IMAGES)
    task = make_task(program.config, dataset.spec)
    lanes = make_lanes(program, program.trials)
    monkeypatch.setattr(in_parts, "_BYTES_AT_ONCE", 4 * 2 * 8 * 36)  # two batches
    found = []
    for compile_lanes in (compile_program, functools.partial(compile_in_parts, on_host=True)):
        compiled = compile_lanes(task, program, dataset, 4, jax.devices())
        state, epochs = compiled.init(lanes), []
        for _ in range(2):
            *_, (state, _, metrics) = compiled.run_epoch(state, lanes, None)
            epochs.append(jax.device_get(metrics))
        found.append(jax.device_get((state, epochs, compiled.finish(state, lanes))))
    on_device, on_host = found
    chex.assert_trees_all_close(on_host, on_device, rtol=1e-3, atol=1e-5)
    right = 50 * on_host[1][0].train["accuracy"]  # of 50 examples, each once
    np.testing.assert_allclose(right, np.round(right), atol=1e-4)


def test_what_is_made_ahead_comes_in_order_and_not_all_at_once():
    made, used = [], []
    lock = threading.Lock()

    def make(number):
        with lock:
            made.append(number)
        return number

    for number in made_ahead(make, range(20)):
        used.append(number)
        assert len(made) <= len(used) + 3
    assert used == list(range(20))


def test_an_error_while_making_comes_to_who_uses():
    def fail(number):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(made_ahead(fail, range(3)))
