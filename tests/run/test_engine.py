"""Groups in turns of lanes: as many as fit the memory, no trial lost, none twice."""

import contextlib

import jax
import numpy as np
import pytest
from recorded import Recorder, fake_compile

from jbn.config import UserError, config_from_dict, plan, plan_groups
from jbn.data import load_all
from jbn.run import EpochEnded, LanesCompiled, TrialsEnded
from jbn.run import compiler as compiling
from jbn.run.compiler import Compiler
from jbn.run.engine import train_group
from jbn.train import EpochPart


def trained(monkeypatch, num_seeds, max_lanes, compile_program, *, lanes=(), done=(), at_once=None):
    """What happens when so many seeds are trained, in groups of at most `max_lanes`."""
    monkeypatch.setattr(compiling, "compile_program", compile_program)
    programs = plan(
        config_from_dict({"name": "x", "num_seeds": num_seeds, "train": {"num_epochs": 3}})
    )
    recorder = Recorder()
    datasets = load_all(program.config.data for program in programs)
    compiler = Compiler(programs, datasets, jax.devices())
    for group in plan_groups(programs, max_lanes):
        options = {"max_lanes": at_once or max_lanes, "lanes": lanes, "done": done}
        for event in train_group(group, compiler, **options):
            recorder(event)
    return recorder


@pytest.mark.parametrize(
    ("num_seeds", "max_lanes", "at_once", "sizes"),
    [
        *((5, 8, 8, [5]), (8, 8, 8, [8]), (9, 8, 8, [5, 4]), (1, 1, 1, [1])),
        *((7, 3, 3, [3, 3, 1]), (6, 4, 4, [3, 3])),
        *((9, None, 4, [3, 3, 3]), (7, 4, 2, [2, 2, 2, 1]), (9, 8, 3, [3, 2, 3, 1])),
    ],
)
def test_turns_hold_every_trial_once_in_lanes_of_one_number(
    monkeypatch, num_seeds, max_lanes, at_once, sizes
):
    compiled = []

    def compile_program(task, program, dataset, num_lanes, devices, build):
        compiled.append(num_lanes)
        return fake_compile(task, program, dataset, num_lanes, devices, build)

    recorder = trained(monkeypatch, num_seeds, max_lanes, compile_program, at_once=at_once)
    assert [len(turn) for turn in recorder.turns] == sizes
    assert [number for turn in recorder.turns for number in turn] == list(range(num_seeds))
    assert compiled == [max(sizes)]  # one program, even where a turn is smaller
    ended = recorder.of(TrialsEnded)
    assert [t.number for event in ended for t in event.trials] == list(range(num_seeds))
    for event in ended:
        seeds = [trial.seed for trial in event.trials]
        np.testing.assert_array_equal(event.results["test_loss"], np.array(seeds) / 20)
        np.testing.assert_array_equal(event.results["val_loss"], np.array(seeds) + 3)
        np.testing.assert_array_equal(event.variables["params"]["kernel"][: len(seeds)], seeds)
        assert event.results["num_parameters"].tolist() == [1] * len(seeds)
    for event in recorder.of(EpochEnded):
        assert event.num_epochs == 3
        wanted = [trial.seed + event.epoch for trial in event.trials]
        np.testing.assert_array_equal(event.metrics["train_loss"], wanted)


def limited_to(most, at):
    """A device whose memory holds so many lanes; it says so when it compiles, trains or tests."""

    def exhausted():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")

    def compile_program(task, program, dataset, num_lanes, devices, build):
        compiled = fake_compile(task, program, dataset, num_lanes, devices, build)
        if num_lanes <= most:
            return compiled
        match at:
            case "compiling":
                exhausted()
            case "training":
                return compiled._replace(run_epoch=lambda state, lanes, steps: exhausted())
        return compiled._replace(finish=lambda state, lanes: exhausted())

    return compile_program


@pytest.mark.parametrize("at", ["compiling", "training", "testing"])
def test_out_of_memory_halves_the_lanes_and_goes_on(monkeypatch, at):
    recorder = trained(monkeypatch, 16, 16, limited_to(5, at))
    assert recorder.turns[2:] == np.arange(16).reshape(4, 4).tolist()
    assert recorder.halved == [(16, 8), (8, 4)]
    ended = [trial.number for event in recorder.of(TrialsEnded) for trial in event.trials]
    assert ended == list(range(16))


def test_turns_are_executed_as_they_were_before(monkeypatch):
    """First by 4, and by 3 from trial 4 on; a turn with a trial that isn't done begins again."""
    lanes, done = [(0, 8), (0, 4), (4, 3)], {0, 1, 2, 3, 4, 5}
    recorder = trained(monkeypatch, 12, 12, fake_compile, lanes=lanes, done=done)
    assert recorder.turns == [[4, 5, 6], [7, 8, 9], [10, 11]]
    assert [event.num_lanes for event in recorder.of(LanesCompiled)] == [3]


def test_where_not_even_one_fits_it_is_said(monkeypatch):
    with pytest.raises(UserError, match="not even one trial fits the device's memory; choose a s"):
        trained(monkeypatch, 3, 16, limited_to(0, "training"))


def test_another_failure_is_not_taken_for_it(monkeypatch):
    def compile_program(*arguments):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        trained(monkeypatch, 3, 16, compile_program)


def test_the_first_diverged_step_is_kept(monkeypatch):
    def compile_program(task, program, dataset, num_lanes, devices, build):
        compiled = fake_compile(task, program, dataset, num_lanes, devices, build)

        def run_epoch(state, lanes, _):
            ((state, steps, metrics),) = compiled.run_epoch(state, lanes, None)
            diverged = np.array([[-1, -1, -1], [7, 8, 9], [-1, 8, 9]])[:, state["epoch"][0] - 1]
            yield EpochPart(state, steps, metrics._replace(diverged_step=diverged))

        return compiled._replace(run_epoch=run_epoch)

    (ended,) = trained(monkeypatch, 3, 3, compile_program).of(TrialsEnded)
    assert ended.results["diverged_step"].tolist() == [-1, 7, 8]


def test_data_that_do_not_fit_the_device_stay_on_the_host(monkeypatch):
    """A device of a memory of its own, which holds half a million bytes; digits are more."""

    class Device:
        platform = "gpu"
        process_index = 0

        def memory_stats(self):
            return {"bytes_limit": 500_000}

    fed = []

    def compile_fed(*arguments, most_steps, on_host):
        fed.append(on_host)
        return fake_compile(*arguments)

    monkeypatch.setattr(compiling, "compile_in_parts", compile_fed)
    monkeypatch.setattr(compiling, "compile_program", fake_compile)
    monkeypatch.setattr(jax, "default_device", lambda device: contextlib.nullcontext())
    programs = plan(config_from_dict({"name": "x", "num_seeds": 1}))
    datasets = load_all(program.config.data for program in programs)
    for devices, wanted in ((jax.devices(), 0), ([Device()], 1)):
        Compiler(programs, datasets, devices).compile(programs[0], 1)
        assert fed == [True] * wanted
