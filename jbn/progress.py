"""What a run shows while it runs: bars on a terminal, plain lines elsewhere."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import rich.progress
from rich.console import Console

_MOST_BARS = 12


class Progress(Protocol):
    """What a run reports."""

    def say(self, text: str) -> None: ...

    def begin(self, label: str, num_epochs: int) -> None: ...

    def compiled(self, label: str, seconds: float) -> None: ...

    def epoch(
        self, label: str, epoch: int, num_epochs: int, metrics: Mapping[str, np.ndarray]
    ) -> None: ...


@contextmanager
def show_progress(console: Console) -> Iterator[Progress]:
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
            yield _Bars(bars)
    else:
        yield _Lines(console)


class _Lines:
    def __init__(self, console: Console):
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, label: str, num_epochs: int) -> None:
        pass

    def compiled(self, label: str, seconds: float) -> None:
        self.say(f"{label}: compiled in {seconds:.1f} s")

    def epoch(
        self, label: str, epoch: int, num_epochs: int, metrics: Mapping[str, np.ndarray]
    ) -> None:
        self.say(f"{label}: epoch {epoch}/{num_epochs}, {_status(metrics)}")


class _Bars:
    def __init__(self, bars: rich.progress.Progress):
        self._bars = bars
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def say(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, label: str, num_epochs: int) -> None:
        for task in self._bars.tasks[:-_MOST_BARS]:  # what doesn't fit the terminal isn't seen
            self._bars.remove_task(task.id)
        self._tasks[label] = self._bars.add_task(label, total=num_epochs, status="starts")

    def compiled(self, label: str, seconds: float) -> None:
        self._bars.update(self._tasks[label], status=f"compiled in {seconds:.1f} s")

    def epoch(
        self, label: str, epoch: int, num_epochs: int, metrics: Mapping[str, np.ndarray]
    ) -> None:
        self._bars.update(self._tasks[label], completed=epoch, status=_status(metrics))


def _status(metrics: Mapping[str, np.ndarray]) -> str:
    """Means over the lanes that are finite, and how many aren't."""
    loss, accuracy = metrics["train_loss"], metrics["val_accuracy"]
    diverged = ~np.isfinite(loss)
    if diverged.all():
        return "diverged"
    mean = loss[~diverged].mean()
    text = (
        f"loss {mean:{'.4f' if mean < 1e4 else '.2g'}}, "
        f"validation accuracy {accuracy[~diverged].mean():.1%}"
    )
    return f"{text}, {diverged.sum()} diverged" if diverged.any() else text
