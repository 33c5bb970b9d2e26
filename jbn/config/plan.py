"""The trials of a config, the programs that train them as lanes, and the groups of each program."""

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jbn.config.schema import ArmConfig, Config, SweepConfig
from jbn.config.sweep import arm_at, count_points, sweep_points, value_at

# Keys that change only numbers in a program. Their names here are those in `jbn.train.Hypers`.
NUMBERS = {
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "norm_momentum": "norm.momentum",
    "norm_epsilon": "norm.epsilon",
    "init_gain": "model.init_gain",
    "label_noise": "data.label_noise",
    "input_scale": "data.input_scale",
}
MOST_TRIALS = 1024  # the most trials in a group without `sweep.max_lanes`
_DEFAULTS = {key: value_at(ArmConfig(), key) for key in NUMBERS.values()}


class Trial(NamedTuple):
    """One training: an arm at a point of the sweep, from one seed."""

    number: int  # from 0: arm by arm, point by point, seed by seed; those of an extension follow
    arm: str
    point: Mapping[str, Any]  # the values that the sweep sets: dotted key -> value
    seed: int
    config: ArmConfig
    extension: int = 0  # of the run, from 1, that added it; 0: the run began with it


class Program(NamedTuple):
    """Trials of one arm that differ only in their seeds and their `NUMBERS`."""

    arm: str
    config: ArmConfig  # what the trials share; the `NUMBERS` have their defaults
    trials: tuple[Trial, ...]
    label: str  # the arm, and how this program differs from its other programs


class Group(NamedTuple):
    """Some trials of one program, whose number `sweep.max_lanes` limits."""

    number: int  # from 0: program by program; those of an extension follow
    program: Program
    trials: tuple[Trial, ...]
    size: int  # of each group that the program's trials were split into; the last may be smaller


def plan(config: Config, seed_counts: Sequence[int] = ()) -> list[Program]:
    """The programs of the config, which together have all its trials.

    Args:
        config: of the run.
        seed_counts: how many seeds the run had before each of its extensions.
    """
    programs: dict[tuple[str, ArmConfig], list[Trial]] = {}
    seeds = range(config.seed, config.seed + config.num_seeds)
    of_arms = trial_numbers(config, seed_counts).tolist()
    for (arm, arm_config), of_points in zip(config.arms.items(), of_arms, strict=True):
        for point, numbers in zip(sweep_points(config.sweep), of_points, strict=True):
            at_point = arm_at(arm_config, point)
            trials = programs.setdefault((arm, _shared(at_point)), [])
            for place, (seed, number) in enumerate(zip(seeds, numbers, strict=True)):
                extension = bisect.bisect(seed_counts, place)
                trials.append(Trial(number, arm, point, seed, at_point, extension))
    for trials in programs.values():
        trials.sort(key=lambda trial: trial.number)
    return [
        Program(arm, shared, tuple(trials), _label(arm, trials, config.sweep))
        for (arm, shared), trials in programs.items()
    ]


def trial_shape(config: Config) -> tuple[int, int, int]:
    """The numbers of arms, points and seeds."""
    return len(config.arms), count_points(config.sweep), config.num_seeds


def trial_numbers(config: Config, seed_counts: Sequence[int] = ()) -> np.ndarray:
    """The number of each trial, of the shape (arms, points, seeds).

    Where a run was extended, the trials of the seeds that came new are numbered after all others.

    Args:
        config: of the run.
        seed_counts: how many seeds the run had before each of its extensions.
    """
    numbers = np.empty(trial_shape(config), int)
    first = 0
    for start, stop in itertools.pairwise([0, *seed_counts, config.num_seeds]):
        block = numbers[..., start:stop]
        block[:] = np.arange(first, first + block.size).reshape(block.shape)
        first += block.size
    return numbers


def plan_groups(programs: Sequence[Program], max_lanes: int | None = None) -> list[Group]:
    """The groups of each program's trials, in order; after them those of each extension.

    There are as few groups of one size as `max_lanes` allows; the last may be smaller. The groups
    follow from the config and the extensions alone, so they are the same in every part of a run.
    """
    groups: list[Group] = []
    extensions = {trial.extension for program in programs for trial in program.trials}
    for extension, program in itertools.product(sorted(extensions), programs):
        trials = [trial for trial in program.trials if trial.extension == extension]
        size = split_evenly(len(trials), max_lanes or MOST_TRIALS)
        for first in range(0, len(trials), size):
            some = tuple(trials[first : first + size])
            groups.append(Group(len(groups), program, some, size))
    return groups


def split_evenly(number: int, most: int) -> int:
    """The size of each part if as few parts as possible have at most `most` each.

    The last part may be smaller.

    >>> split_evenly(100, 64), split_evenly(7, 3)
    (50, 3)
    """
    return math.ceil(number / math.ceil(number / most))


def describe_plan(programs: Sequence[Program]) -> str:
    """The plan in words: "384 trials = 6 programs × 64 lanes"."""
    lanes = [len(program.trials) for program in programs]

    def count(number: int, noun: str) -> str:
        return f"{number} {noun}{'' if number == 1 else 's'}"

    total = f"{count(sum(lanes), 'trial')} = {count(len(lanes), 'program')}"
    if len(set(lanes)) == 1:
        return f"{total} × {count(lanes[0], 'lane')}"
    return f"{total} of {min(lanes)} to {max(lanes)} lanes"


def _shared(config: ArmConfig) -> ArmConfig:
    """What the trials of one program share: the config, with the defaults of its `NUMBERS`."""
    return arm_at(config, _DEFAULTS)


def _label(arm: str, trials: Sequence[Trial], sweep: SweepConfig) -> str:
    """The arm and the values of swept keys that make another program: "a train.num_epochs=2"."""
    changing = [
        key for key in sweep.axes if key not in NUMBERS.values() and len(sweep.axes[key]) > 1
    ]
    return " ".join([arm, *(f"{key}={trials[0].point[key]}" for key in changing)])
