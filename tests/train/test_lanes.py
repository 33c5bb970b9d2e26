"""Lanes of one program: each is the run alone, whatever happens in the others."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jbn
from jbn.config import config_from_dict, plan
from jbn.data import Dataset, Examples, fit_inputs
from jbn.train import (
    Batch,
    Hypers,
    compile_program,
    default_num_lanes,
    make_lanes,
    make_task,
    run_training,
)
from jbn.train.lanes import _one_by_one

SECTIONS = {
    "model": {"hidden_sizes": [8]},
    "train": {"num_epochs": 2, "batch_size": 8},
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
}
SWEEP = {
    "mode": "zip",
    "optimizer": {"learning_rate": [0.1, 1e30, 0.3], "weight_decay": [0.0, 0.0, 0.1]},
    "norm": {"momentum": [0.9, 0.9, 0.5]},
    "model": {"init_gain": [1.0, 1.0, 2.0]},
    "data": {"input_scale": [1.0, 1.0, 7.0], "label_noise": [0.0, 0.0, 0.5]},
}


def dataset(config):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=56).astype(np.int32)
    x = (rng.normal(size=(56, 4)) + 2 * y[:, None] * [1, -1, 1, 0]).astype(np.float32)
    train, val, test = (
        Examples(x[rows], y[rows]) for rows in (slice(40), slice(40, 48), slice(48, 56))
    )
    return Dataset(train, val, test, fit_inputs(config.data, x[:40]), 3, sha256="", where="here")


@pytest.fixture(scope="module")
def swept():
    """A program of three points and two seeds: its trials, their metrics, variables and tests."""
    table = {"name": "x", "num_seeds": 2, "data": {"normalize": "none"}, **SECTIONS}
    (program,) = plan(config_from_dict({**table, "sweep": SWEEP}))
    data = dataset(program.config)
    task = make_task(program.config, data.spec)
    compiled = compile_program(task, program, data, len(program.trials), jax.devices())
    lanes = make_lanes(program, program.trials)
    state, epochs = compiled.init(lanes), []
    # Six lanes on four virtual devices: two on each of three.
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)} == {3}
    for _ in range(2):
        ((state, _, metrics),) = compiled.run_epoch(state, lanes, None)
        epochs.append(jax.device_get(metrics))
    variables, test = jax.device_get(compiled.finish(state, lanes))
    return program, data, epochs, variables, test


@pytest.mark.parametrize("number", [0, 1, 4, 5])
def test_a_lane_is_the_run_alone(swept, number):
    program, data, epochs, variables, test = swept
    config = program.trials[number].config
    hypers = Hypers.of(config)
    task = make_task(config, data.spec)
    train = jax.jit(functools.partial(run_training, task))
    key = jax.random.key(program.trials[number].seed)
    state, metrics = train(key, data.train, data.val, hypers)
    lane = jax.tree.map(lambda *leaves: np.stack([leaf[number] for leaf in leaves]), *epochs)
    chex.assert_trees_all_close(lane, jax.device_get(metrics), rtol=1e-3, atol=1e-5)
    mine = jax.tree.map(lambda leaf: leaf[number], variables)
    chex.assert_trees_all_close(mine, jax.device_get(state.variables), rtol=1e-3, atol=1e-5)
    alone = task.evaluate(state.variables, Batch(*data.test), hypers)
    np.testing.assert_allclose(test["loss"][number], alone.means["loss"], rtol=1e-3)


def test_a_lane_that_diverges_says_when_and_harms_no_other(swept):
    program, _, epochs, _, test = swept
    first, second = (metrics.diverged_step for metrics in epochs)
    diverges = np.array([trial.config.optimizer.learning_rate > 1 for trial in program.trials])
    assert diverges.sum() == 2
    # After one step of rate 1e30 the weights are about 1e30, and the next loss overflows.
    assert set(first[diverges]) <= {1, 2}
    assert (second[diverges] == 5).all()  # it is still so at the first step of the next epoch
    assert (first[~diverges] == -1).all()
    assert (second[~diverges] == -1).all()
    assert np.isfinite(test["loss"][~diverges]).all()
    assert np.isfinite(epochs[1].gradient_norm[~diverges]).all()


def test_a_run_that_diverges_in_its_last_step_has_diverged():
    table = {"name": "x", "num_seeds": 1, **SECTIONS, "optimizer": {"learning_rate": 1e30}}
    table |= {"train": {"num_epochs": 1, "batch_size": 40}}
    table["optimizer"]["kind"] = "sgd"
    (arm,) = config_from_dict(table).arms.values()
    data = dataset(arm)
    train = jax.jit(functools.partial(run_training, make_task(arm, data.spec)))
    _, metrics = train(jax.random.key(0), data.train, data.val, Hypers.of(arm))
    assert np.isfinite(metrics.train["loss"]).all()
    assert metrics.diverged_step.tolist() == [0]


def test_what_all_trials_share_has_no_axis_of_lanes(swept):
    program, *_ = swept
    hypers = make_lanes(program, program.trials).hypers
    assert {name for name, number in hypers._asdict().items() if jnp.ndim(number) == 0} == {
        "norm_epsilon"
    }
    assert hypers.learning_rate.shape == (6,)


def test_lanes_one_by_one_are_those_of_vmap():
    def function(state, numbers, shared):
        return {"y": state["x"] * numbers[0] + numbers[1] + shared.sum(), "n": numbers[1]}

    arguments = (
        {"x": jnp.arange(6.0).reshape(3, 2)},
        (jnp.arange(3.0), jnp.float32(2)),
        jnp.ones(4),
    )
    axes = (0, (0, None), None)
    chex.assert_trees_all_close(
        _one_by_one(function, axes)(*arguments), jax.vmap(function, axes)(*arguments)
    )


class Convolves(nn.Module):
    """A user's model."""

    num_outputs: int
    norm: object

    @nn.compact
    def __call__(self, x, train):
        x = jax.checkpoint(lambda x: x)(nn.remat(nn.Conv)(2, (3, 3))(x))
        return nn.Dense(self.num_outputs)(x.mean((1, 2)))


@pytest.mark.parametrize(
    ("model", "num_lanes"),
    [
        ({"kind": "mlp"}, 64),
        ({"kind": "cnn"}, 4),
        ({"kind": "resnet18"}, 4),
        ({"factory": "train.test_lanes:Convolves"}, 4),
    ],
    ids=str,
)
def test_a_program_that_convolves_has_few_lanes_on_a_cpu(model, num_lanes):
    (program,) = plan(config_from_dict({"name": "x", "model": model}))
    spec = jbn.data.load(program.config.data).spec
    assert default_num_lanes(make_task(program.config, spec, platform="cpu")) == num_lanes
    accelerated = make_task(program.config, spec, platform="gpu")
    assert default_num_lanes(accelerated) == 1024


def test_convolutional_lanes_train():
    """One after the other on a CPU, inside of the program; like lanes come out alike."""
    sections = {
        "model": {"kind": "cnn", "channels": [2]},
        "train": {"num_epochs": 1, "batch_size": 720},
    }
    (program,) = plan(config_from_dict({"name": "x", "num_seeds": 2, **sections}))
    data = jbn.data.load(program.config.data)
    task = make_task(program.config, data.spec)
    compiled = compile_program(task, program, data, 2, jax.devices())
    lanes = make_lanes(program, [program.trials[0]] * 2)
    ((_, _, metrics),) = compiled.run_epoch(compiled.init(lanes), lanes, None)
    losses = metrics.train["loss"]
    assert losses[0] == losses[1]
    assert np.isfinite(losses).all()
