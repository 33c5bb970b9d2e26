"""A run's folder where several processes train: the first one has it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jbn import store
from jbn.config import Config, Group, Trial, UserError
from jbn.processes import agreed, is_first
from jbn.store import Folder


class Elsewhere(Folder):
    """A run's folder for a process that doesn't have it: it knows what was there."""

    def __init__(self, known: Mapping[str, Any]):
        vars(self).update(known)

    def add_lanes(self, group: Group, first: Trial, num_lanes: int, compile_seconds: float) -> None:
        """The first process does it."""

    def sync_metrics(self) -> None:
        """The first process does it."""

    def add_metrics(
        self, trials: Sequence[Trial], epoch: int, metrics: Mapping[str, np.ndarray]
    ) -> None:
        """The first process does it."""

    def add_trials(
        self,
        group: Group,
        trials: Sequence[Trial],
        results: Mapping[str, np.ndarray],
        seconds: float,
    ) -> None:
        """Knows that the trials are done."""
        self.done |= {trial.number for trial in trials}

    def save_variables(
        self, trial: Trial, variables: Mapping[str, Any], *, best: bool = False
    ) -> None:
        """The first process does it."""

    def rewind(self, trials: Sequence[Trial], epoch: int) -> None:
        """The first process does it."""

    @contextlib.contextmanager
    def written(self) -> Iterator[None]:
        """Raises UserError where the folder can't be written to."""
        with store.written(self.path):
            yield


def check_same_config(config: Config) -> None:
    """Raises UserError where this process has another config than the first."""
    if agreed(config) != config:
        raise UserError("found another config than process 0 has, wanted one and the same for all")


@contextlib.contextmanager
def opened(
    out: Path,
    config: Config,
    part: Mapping[str, Any],
    metrics: Mapping[str, Any],
    sources: Mapping[str, str],
    *,
    extend: bool,
) -> Iterator[Folder]:
    """As `jbn.store.opened`, in the first process; the others know what it found."""
    if is_first():
        with store.opened(out, config, part, metrics, sources, extend=extend) as folder:
            agreed({name: of for name, of in vars(folder).items() if name != "_lock"})
            yield folder
    else:
        yield Elsewhere(agreed(None))
