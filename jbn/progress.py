"""What a run shows while it runs: bars on a terminal, plain lines elsewhere."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import rich.progress
from rich.console import Console


class Progress(Protocol):
    """What a run reports."""

    def say(self, text: str) -> None: ...

    def begin(self, arm: str, num_epochs: int) -> None: ...

    def compiled(self, arm: str, seconds: float) -> None: ...

    def epoch(
        self, arm: str, epoch: int, num_epochs: int, rows: Sequence[Mapping[str, Any]]
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

    def begin(self, arm: str, num_epochs: int) -> None:
        pass

    def compiled(self, arm: str, seconds: float) -> None:
        self.say(f"{arm}: compiled in {seconds:.1f} s")

    def epoch(
        self, arm: str, epoch: int, num_epochs: int, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        self.say(f"{arm}: epoch {epoch}/{num_epochs}, {_status(rows)}")


class _Bars:
    def __init__(self, bars: rich.progress.Progress):
        self._bars = bars
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def say(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, arm: str, num_epochs: int) -> None:
        self._tasks[arm] = self._bars.add_task(arm, total=num_epochs, status="compiling")

    def compiled(self, arm: str, seconds: float) -> None:
        self._bars.update(self._tasks[arm], status=f"compiled in {seconds:.1f} s")

    def epoch(
        self, arm: str, epoch: int, num_epochs: int, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        self._bars.update(self._tasks[arm], completed=epoch, status=_status(rows))


def _status(rows: Sequence[Mapping[str, Any]]) -> str:
    """Means over the seeds; a seed that diverged makes them so."""

    def mean(key: str) -> float:
        return sum(float("nan") if row[key] is None else row[key] for row in rows) / len(rows)

    return f"loss {mean('train_loss'):.4f}, validation accuracy {mean('val_accuracy'):.1%}"
