"""What happens while a run goes on, and what may listen to it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jbn.config import Group, Trial
from jbn.train import StepMetrics, TrainState


class Said(NamedTuple):
    """Something that a person should know."""

    text: str


class TurnBegan(NamedTuple):
    """Some of a group's trials begin, in lanes beside each other."""

    group: Group
    trials: Sequence[Trial]


class LanesCompiled(NamedTuple):
    """From the trial on, the group is executed so many lanes at a time."""

    group: Group
    first: Trial
    num_lanes: int
    seconds: float  # 0 where the compiled program was there


class LanesTooMany(NamedTuple):
    """The trials don't fit the memory together; they begin again, fewer at a time."""

    group: Group
    trials: Sequence[Trial]
    num_lanes: int
    next_num_lanes: int


class TrainingBegan(NamedTuple):
    """The trials train from here on, or go on from where they were saved."""

    group: Group
    trials: Sequence[Trial]
    epoch: int  # has ended before; 0: none has


class EpochEnded(NamedTuple):
    """An epoch of the turn's trials, and what it came to."""

    group: Group
    trials: Sequence[Trial]
    epoch: int  # from 1
    num_epochs: int
    metrics: Mapping[str, np.ndarray]  # by name, a number for each trial


class Best(NamedTuple):
    """Each trial as it was after the epoch with its best validation metric."""

    state: TrainState  # with an axis of lanes
    epoch: np.ndarray  # of each trial; 0 where the metric was never finite
    metric: np.ndarray


class TurnState(NamedTuple):
    """All that the rest of a turn depends on."""

    state: TrainState  # with an axis of lanes: first the trials', then what fills up
    epoch: int  # has ended
    seconds: float  # the turn has taken
    diverged_step: np.ndarray  # of each trial; -1 where it hasn't diverged
    metrics: Mapping[str, np.ndarray]  # of the last epoch
    steps: StepMetrics | None = None  # of the epoch that goes on, with an axis of lanes
    best: Best | None = None  # where the config keeps it


class PartEnded(NamedTuple):
    """The turn has come to where it can be saved: an epoch's end, or between parts of one."""

    group: Group
    trials: Sequence[Trial]
    num_steps: int  # that each trial has made
    turn: TurnState  # its state's memory is reused when the training goes on


class TrialsEnded(NamedTuple):
    """The turn's trials are done."""

    group: Group
    trials: Sequence[Trial]
    results: Mapping[str, np.ndarray]  # by name, a number for each trial
    variables: Any  # on the device, with an axis of lanes: first the trials', then what fills up
    best_variables: Any  # those of each trial's best epoch; None where they aren't kept
    seconds: float  # to train and test all of them


Event = (
    Said
    | TurnBegan
    | LanesCompiled
    | LanesTooMany
    | TrainingBegan
    | EpochEnded
    | PartEnded
    | TrialsEnded
)
Sink = Callable[[Event], None]  # what listens changes nothing


def say(sinks: Sequence[Sink], text: str | None) -> None:
    """Tells all of them, if there is something to say."""
    for sink in sinks if text else ():
        sink(Said(text or ""))
