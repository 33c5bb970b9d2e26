"""What a run says while it goes on: lines that say what they show, and bars."""

import io

import jax
import numpy as np
import pytest
from recorded import fake_compile
from rich.console import Console

from jbn.config import config_from_dict, plan, plan_groups
from jbn.data import load_all
from jbn.run import Said, progress_sink
from jbn.run import compiler as compiling
from jbn.run.compiler import Compiler
from jbn.run.engine import train_group
from jbn.run.sinks import describe


def shown(monkeypatch, table, max_lanes=None, compile_program=fake_compile, **options):
    """What stands on the console after the config's groups."""
    monkeypatch.setattr(compiling, "compile_program", compile_program)
    console = Console(width=100, record=True, file=io.StringIO(), **options)
    programs = plan(config_from_dict({"name": "x", **table}))
    datasets = load_all(program.config.data for program in programs)
    with progress_sink(console) as sink:
        sink(Said("[bold] is text"))
        for group in plan_groups(programs, max_lanes):
            compiler = Compiler(programs, datasets, jax.devices())
            for event in train_group(group, compiler, max_lanes=max_lanes or 8):
                sink(event)
    return console.export_text().splitlines()


def test_one_trial_has_its_numbers_and_several_have_their_range(monkeypatch):
    lines = shown(monkeypatch, {"num_seeds": 1, "train": {"num_epochs": 1}})
    assert lines[0] == "[bold] is text"
    assert lines[1].startswith("batch: compiled in 0.")
    assert lines[2:] == ["batch: epoch 1/1, loss 1, validation accuracy 100.0%"]
    lines = shown(monkeypatch, {"num_seeds": 3, "train": {"num_epochs": 2}})
    assert lines[2:] == [
        "batch, 3 trials: epoch 1/2, loss 1 to 3, validation accuracy 100.0%",
        "batch, 3 trials: epoch 2/2, loss 2 to 4, validation accuracy 100.0%",
    ]


def test_turns_say_which_of_a_programs_trials_they_are(monkeypatch):
    lines = shown(monkeypatch, {"num_seeds": 3, "train": {"num_epochs": 1}}, max_lanes=2)
    names = [line.partition(": epoch")[0] for line in lines if "epoch" in line]
    assert names == ["batch, trials 1-2 of 3", "batch, trial 3 of 3"]


def test_lanes_that_do_not_fit_are_said(monkeypatch):
    def compile_program(task, program, dataset, num_lanes, devices, build):
        if num_lanes > 2:
            raise MemoryError
        return fake_compile(task, program, dataset, num_lanes, devices, build)

    lines = shown(monkeypatch, {"num_seeds": 4}, compile_program=compile_program)
    assert lines[1] == "batch: 4 lanes don't fit the memory; 2 go on"


def test_a_terminal_has_a_bar_for_each_turn(monkeypatch):
    monkeypatch.delenv("CI")
    table = {"num_seeds": 3, "train": {"num_epochs": 2}}
    text = "\n".join(shown(monkeypatch, table, max_lanes=2, force_terminal=True))
    assert "[bold] is text" in text
    assert "batch, trials 1-2 of 3" in text
    assert "2/2" in text


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"train_loss": [1e-5, 2.0]}, "loss 1e-05 to 2"),
        ({"train_loss": [0.12345], "val_accuracy": [0.5]}, "loss 0.123, validation accuracy 50.0%"),
        (
            {"train_loss": [np.nan, 2, 1], "val_accuracy": [0, 0.5, 1]},
            "loss 1 to 2, validation accuracy 50.0 to 100.0%, 1 diverged",
        ),
        ({"train_loss": [np.nan, np.inf], "val_accuracy": [0, 1]}, "diverged"),
        ({"train_loss": [1.0], "val_error": [2.0]}, "loss 1"),
    ],
)
def test_the_metrics_that_exist_in_words(metrics, words):
    assert describe({name: np.array(values) for name, values in metrics.items()}) == words
