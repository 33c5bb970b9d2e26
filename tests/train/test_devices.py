"""A batch that devices share is the batch on one device, lanes beside it or not."""

import functools

import chex
import jax
import numpy as np
import pytest
from problems import normal

from jbn.config import UserError, config_from_dict, plan
from jbn.data import Dataset, Examples, fit_inputs
from jbn.run.compiler import Compiler
from jbn.train import compile_in_parts, compile_program, in_rows, make_lanes, make_task

IMAGES = np.asarray(2 * normal(90, 6, 6, 1) + 3)
Y = (np.arange(90) % 3).astype(np.int32)
TABLE = {
    "name": "x",
    "num_seeds": 2,
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    "model": {"hidden_sizes": [8]},
    "data": {"label_noise": 0.2, "augment": {"shift": 1}},
    "train": {"num_epochs": 2, "batch_size": 16},
}
CASES = {
    # 70 examples: the last batch has 6, which are filled up to 16.
    "the last batch is filled up": {},
    "the last batch has its own size": {
        "model": {"factory": "train.test_training_laws:Plain"},
        "data": {"label_noise": 0.2},
    },
    "recomputed statistics": {"train": {**TABLE["train"], "ema_decay": 0.9}},
    "one lane after another": {"model": {"kind": "cnn", "channels": [2]}},
    "one lane": {"num_seeds": 1},
    "groups on a device": {"norm": {"kind": "ghost", "virtual_batch_size": 4}},
    "groups on two devices": {"norm": {"kind": "ghost", "virtual_batch_size": 16}},
}
FEW = ["the last batch is filled up", "the last batch has its own size"]
ON_HOST, ON_DEVICE = (
    functools.partial(compile_in_parts, on_host=on_host, most_steps=2) for on_host in (True, False)
)
IN_PARTS = {
    "the last batch is filled up": [ON_HOST],
    "the last batch has its own size": [ON_HOST],
    "recomputed statistics": [ON_DEVICE],
}


def dataset_of(config, x):
    train, val, test = (
        Examples(x[rows], Y[rows]) for rows in (slice(70), slice(70, 77), slice(77, 90))
    )
    return Dataset(train, val, test, fit_inputs(config.data, x[:70]), 3, sha256="", where="here")


def trained(compile_lanes, program, dataset, devices):
    """What two epochs come to."""
    task = make_task(program.config, dataset.spec)
    lanes = make_lanes(program, program.trials)
    compiled = compile_lanes(task, program, dataset, len(program.trials), devices)
    state, epochs = compiled.init(lanes), []
    for _ in range(2):
        *_, (state, _, metrics) = compiled.run_epoch(state, lanes, None)
        epochs.append(jax.device_get(metrics))
    return jax.device_get((state, epochs, compiled.finish(state, lanes)))


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in FEW else pytest.mark.slow) for case in CASES]
)
def test_a_batch_on_devices_is_the_batch_on_one(case):
    """In one program, and in parts that the host or the device feeds."""
    (program,) = plan(config_from_dict({**TABLE, **CASES[case]}))
    x = IMAGES if program.config.model.factory is None else IMAGES.reshape(90, -1)
    dataset = dataset_of(program.config, x)
    alone = trained(compile_program, program, dataset, jax.devices()[:1])
    rows = in_rows(jax.devices(), 2)
    for compile_lanes in [compile_program, *IN_PARTS.get(case, ())]:
        shared = trained(compile_lanes, program, dataset, rows)
        chex.assert_trees_all_close(shared, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.optimized
@pytest.mark.parametrize(
    ("norm", "num_lanes"), [("batch", 1), ("batch", 2), ("ghost", 1), ("none", 2)]
)
def test_a_step_costs_sums_and_no_copies(norm, num_lanes):
    """Each device computes its share: what goes between them are sums, of parameters' sizes."""
    table = {**TABLE, "norm": {"kind": norm, "virtual_batch_size": 4}, "num_seeds": num_lanes}
    (program,) = plan(config_from_dict(table))
    dataset = dataset_of(program.config, IMAGES)
    compiled = {}

    def build(parts):
        compiled["epoch"] = parts["epoch"]().compile()
        return compiled

    task = make_task(program.config, dataset.spec)
    compile_program(task, program, dataset, num_lanes, in_rows(jax.devices(), 2), build)
    lines = compiled["epoch"].as_text().splitlines()
    found = [line for line in lines if " all-" in line or "collective" in line]
    assert found
    assert all(" all-reduce" in line for line in found)


def test_batches_that_the_devices_dont_divide_are_refused_before_anything_is_done():
    table = {**TABLE, "data": {"name": "digits"}, "train": {"batch_size": 18}}
    programs = plan(config_from_dict(table))
    with pytest.raises(UserError, match=r"batch_size: found 18, wanted a multiple of 4: so many"):
        Compiler(programs, {}, in_rows(jax.devices(), "all"))
    with pytest.raises(
        UserError, match=r"devices\.batch: found 5, wanted a divisor of 4, the devices that"
    ):
        in_rows(jax.devices(), 5)


def test_rows_take_the_devices_in_their_order():
    assert in_rows([0, 1, 2, 3], 2) == [[0, 1], [2, 3]]
    assert in_rows([0, 1, 2], "all") == [[0, 1, 2]]
