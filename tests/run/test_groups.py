"""Groups of lanes: as many as fit the memory, none lost, none twice."""

import jax
import numpy as np
import pytest
from recorded import Recorder, fake_compile

from jbn.config import UserError, config_from_dict, plan
from jbn.run import groups
from jbn.run.groups import train_groups


def trained(monkeypatch, num_seeds, max_lanes, compile_sweep):
    """The groups that come of so many seeds, and what was said."""
    monkeypatch.setattr(groups, "compile_sweep", compile_sweep)
    (program,) = plan(
        config_from_dict({"name": "x", "num_seeds": num_seeds, "train": {"num_epochs": 3}})
    )
    recorder = Recorder()
    found = list(train_groups(program, program.trials, None, max_lanes, "arm", recorder))
    return found, recorder


@pytest.mark.parametrize(
    ("num_seeds", "max_lanes", "sizes"),
    [(5, 8, [5]), (8, 8, [8]), (9, 8, [5, 4]), (1, 1, [1]), (7, 3, [3, 3, 1]), (6, 4, [3, 3])],
)
def test_groups_are_of_one_size_and_hold_every_trial_once(monkeypatch, num_seeds, max_lanes, sizes):
    compiled = []

    def compile_sweep(program, dataset, num_lanes):
        compiled.append(num_lanes)
        return fake_compile(program, dataset, num_lanes)

    found, _ = trained(monkeypatch, num_seeds, max_lanes, compile_sweep)
    assert [len(group.trials) for group in found] == sizes
    assert compiled == [sizes[0]]  # one program, even where the last group is smaller
    assert [t.seed for group in found for t in group.trials] == list(range(num_seeds))
    losses = np.concatenate([group.results["train_loss"] for group in found])
    assert losses.shape == (num_seeds, 3)
    np.testing.assert_array_equal(losses, np.arange(num_seeds)[:, None] + [[1, 2, 3]])
    weights = np.concatenate([group.variables["params"] for group in found])
    np.testing.assert_array_equal(weights, np.arange(num_seeds))
    assert [float(group.results["compile_seconds"]) > 0 for group in found][1:] == [False] * (
        len(sizes) - 1
    )


def limited_to(most, at):
    """A device whose memory holds so many lanes; it says so when compiling, or when training."""

    def exhausted():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")

    def compile_sweep(program, dataset, num_lanes):
        sweep = fake_compile(program, dataset, num_lanes)
        if num_lanes <= most:
            return sweep
        if at == "compiling":
            exhausted()
        return sweep._replace(train_chunk=lambda state, lanes: exhausted())

    return compile_sweep


@pytest.mark.parametrize("at", ["compiling", "training"])
def test_out_of_memory_halves_the_group_and_goes_on(monkeypatch, at):
    found, recorder = trained(monkeypatch, 16, 16, limited_to(5, at))
    assert [len(group.trials) for group in found] == [4, 4, 4, 4]
    assert [t.seed for group in found for t in group.trials] == list(range(16))
    assert recorder.said == [
        "arm: 16 lanes don't fit the memory; 8 go on",
        "arm: 8 lanes don't fit the memory; 4 go on",
    ]


def test_where_not_even_one_fits_it_is_said(monkeypatch):
    with pytest.raises(UserError, match="not even one run fits the device's memory; choose a sma"):
        trained(monkeypatch, 3, 16, limited_to(0, "training"))


def test_another_failure_is_not_taken_for_it(monkeypatch):
    def compile_sweep(*arguments):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        trained(monkeypatch, 3, 16, compile_sweep)


def test_the_first_diverged_step_is_kept(monkeypatch):
    def compile_sweep(program, dataset, num_lanes):
        sweep = fake_compile(program, dataset, num_lanes)

        def train_chunk(state, lanes):
            state, metrics = sweep.train_chunk(state, lanes)
            steps = np.array([[-1, -1, -1], [7, 8, 9], [-1, 8, 9]])[:, state["epoch"] - 1]
            return state, metrics._replace(diverged_step=steps)

        return sweep._replace(train_chunk=train_chunk)

    (group,), _ = trained(monkeypatch, 3, 3, compile_sweep)
    assert group.results["diverged_step"].tolist() == [-1, 7, 8]
