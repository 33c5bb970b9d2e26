"""What listens to a run: the folder, and the terminal. Each is a function of an event."""

import bisect
import operator
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import rich.progress
from rich.console import Console

from jbn.config import Program
from jbn.run.compiler import Compiler
from jbn.run.events import (
    EpochEnded,
    Event,
    LanesCompiled,
    LanesTooMany,
    Said,
    Sink,
    TrainingBegan,
    TrialsEnded,
    TurnBegan,
)
from jbn.store import INPUTS, Folder
from jbn.train import to_host

_MOST_BARS = 12
# What a line has room for, as far as it was measured: in words, a factor, a format and a unit.
_SHOWN = {
    "train_loss": ("loss", 1, ".3g", ""),
    "val_accuracy": ("validation accuracy", 100, ".1f", "%"),
    "val_rmse": ("validation RMSE", 1, ".3g", ""),
}


def folder_sink(folder: Folder, compiler: Compiler) -> Sink:
    """Everything on disk as it comes; variables where nothing is swept."""

    def record(event: Event) -> None:
        match event:
            case LanesCompiled(group, first, num_lanes, seconds):
                folder.add_lanes(group, first, num_lanes, seconds)
            case EpochEnded(_, trials, epoch, _, metrics):
                folder.add_metrics(trials, epoch, metrics)
            case TrialsEnded(group, trials, results, variables, best_variables, seconds):
                if not folder.config.sweep.axes:
                    inputs = _inputs(compiler, group.program)
                    of_lanes = to_host((variables, best_variables))
                    for lane, trial in enumerate(trials):
                        last, best = jax.tree.map(lambda leaf, lane=lane: leaf[lane], of_lanes)
                        folder.save_variables(trial, {**last, INPUTS: inputs})
                        if best is not None:
                            folder.save_variables(trial, {**best, INPUTS: inputs}, best=True)
                folder.add_trials(group, trials, results, seconds)

    return record


@contextmanager
def progress_sink(console: Console) -> Iterator[Sink]:
    """Bars if the console is a terminal and `CI` isn't set, else a line per event."""
    if console.is_terminal and not os.environ.get("CI"):
        bars = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[status]}"),
            rich.progress.TimeElapsedColumn(),
            console=console,
        )
        with bars:
            yield _bars(bars)
    else:
        yield _lines(console)


def _lines(console: Console) -> Sink:
    def show(event: Event) -> None:
        match event:
            case Said(text):
                _say(console, text)
            case LanesTooMany():
                _say(console, _halved(event))
            case LanesCompiled(group, _, _, seconds) if seconds:
                _say(console, f"{group.program.label}: compiled in {seconds:.1f} s")
            case TrainingBegan(_, _, epoch) if epoch:
                _say(console, f"{_name(event)}: goes on after epoch {epoch}")
            case EpochEnded(_, _, epoch, num_epochs, metrics):
                name = _name(event)
                _say(console, f"{name}: epoch {epoch}/{num_epochs}, {describe(metrics)}")

    return show


def _bars(bars: rich.progress.Progress) -> Sink:
    """A bar for each turn; the last one is that of the turn that is going on."""

    def show(event: Event) -> None:
        match event:
            case Said(text):
                _say(bars.console, text)
            case TurnBegan(group):
                for task in bars.tasks[:-_MOST_BARS]:  # what doesn't fit the terminal isn't seen
                    bars.remove_task(task.id)
                num_epochs = group.program.config.train.num_epochs
                bars.add_task(_name(event), total=num_epochs, status="starts")
            case LanesTooMany():
                bars.remove_task(bars.task_ids[-1])
                _say(bars.console, _halved(event))
            case LanesCompiled(_, _, _, seconds) if seconds:
                bars.update(bars.task_ids[-1], status=f"compiled in {seconds:.1f} s")
            case TrainingBegan(_, _, epoch) if epoch:
                status = f"goes on after epoch {epoch}"
                bars.update(bars.task_ids[-1], completed=epoch, status=status)
            case EpochEnded(_, _, epoch, _, metrics):
                bars.update(bars.task_ids[-1], completed=epoch, status=describe(metrics))

    return show


def describe(metrics: Mapping[str, np.ndarray]) -> str:
    """The loss, and the validation accuracy or RMSE, of trials, as far as there are any, in words.

    Of several trials the smallest and the largest number: a mean would say little, for their
    learning rates may differ. What diverged is counted, and left out.

    >>> describe({"train_loss": np.array([0.25]), "val_accuracy": np.array([0.968])})
    'loss 0.25, validation accuracy 96.8%'
    >>> loss, accuracy = np.array([2.1, 0.03, np.nan]), np.array([0.9, 1, 0])
    >>> describe({"train_loss": loss, "val_accuracy": accuracy})
    'loss 0.03 to 2.1, validation accuracy 90.0 to 100.0%, 1 diverged'
    """
    has_diverged = ~np.isfinite(metrics.get("train_loss", np.zeros(1)))
    if has_diverged.all():
        return "diverged"
    parts = []
    for name, (words, scale, form, unit) in _SHOWN.items():
        if name in metrics:
            values = scale * metrics[name][~has_diverged]
            texts = dict.fromkeys(format(value, form) for value in (values.min(), values.max()))
            parts.append(f"{words} {' to '.join(texts)}{unit}")
    if has_diverged.any():
        parts.append(f"{has_diverged.sum()} diverged")
    return ", ".join(parts)


def _name(event: TurnBegan | TrainingBegan | EpochEnded) -> str:
    """What the turn's trials are called: their program, and which of its trials they are."""
    label, number = event.group.program.label, len(event.trials)
    everything = event.group.program.trials  # by their numbers
    if len(everything) == 1:
        return label
    if number == len(everything):
        return f"{label}, {number} trials"
    by_number = operator.attrgetter("number")
    first = bisect.bisect_left(everything, event.trials[0].number, key=by_number) + 1
    which = f"trials {first}-{first + number - 1}" if number > 1 else f"trial {first}"
    return f"{label}, {which} of {len(everything)}"


def _halved(event: LanesTooMany) -> str:
    label = event.group.program.label
    return f"{label}: {event.num_lanes} lanes don't fit the memory; {event.next_num_lanes} go on"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _inputs(compiler: Compiler, program: Program) -> dict[str, Any]:
    """What it takes to make the model, to prepare inputs for it, and to bring targets back."""
    dataset, task = compiler.dataset_of(program), compiler.task_of(program)
    stats = task.spec.input_stats
    assert stats is not None  # a run has them
    inputs = {
        "num_outputs": np.asarray(task.loss.num_outputs or 0),
        **stats._asdict(),
        "remainders": stats.remainders._asdict(),
    }
    if dataset.target_stats is not None:
        inputs["targets"] = dataset.target_stats._asdict()
    if dataset.input_offset is not None:
        inputs["offset"] = dataset.input_offset
    return inputs
