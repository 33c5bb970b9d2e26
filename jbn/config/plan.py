"""The runs that a config stands for, and the programs that these are lanes of."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jbn.config.schema import ArmConfig, Config
from jbn.config.sweep import arm_at, sweep_points, value_at

# The keys that change no program, only its numbers; by their names in `jbn.train.Hypers`.
NUMBERS = {
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "momentum": "norm.momentum",
    "epsilon": "norm.epsilon",
    "init_gain": "model.init_gain",
    "label_noise": "data.label_noise",
    "input_scale": "data.input_scale",
}
_DEFAULTS = {key: value_at(ArmConfig(), key) for key in NUMBERS.values()}


class Trial(NamedTuple):
    """One run: an arm at a point of the sweep, from one seed."""

    number: int  # from 0: arm by arm, point by point, seed by seed
    arm: str
    point: Mapping[str, Any]  # what the sweep sets: dotted key -> value
    seed: int
    config: ArmConfig


class Program(NamedTuple):
    """Trials of one arm that differ in their seeds and `NUMBERS` alone."""

    arm: str
    config: ArmConfig  # what the trials share; `NUMBERS` are at their defaults
    trials: tuple[Trial, ...]


def plan(config: Config) -> list[Program]:
    """Every trial of the config, in the programs that they are lanes of."""
    programs: dict[tuple[str, ArmConfig], list[Trial]] = {}
    number = 0
    for arm, arm_config in config.arms.items():
        for point in sweep_points(config.sweep):
            at_point = arm_at(arm_config, point)
            trials = programs.setdefault((arm, _shared(at_point)), [])
            for seed in range(config.seed, config.seed + config.num_seeds):
                trials.append(Trial(number, arm, point, seed, at_point))
                number += 1
    return [Program(arm, shared, tuple(trials)) for (arm, shared), trials in programs.items()]


def describe_plan(programs: Sequence[Program]) -> str:
    """The plan in words: "384 runs = 6 programs × 64 lanes"."""
    lanes = [len(program.trials) for program in programs]

    def count(number: int, noun: str) -> str:
        return f"{number} {noun}{'' if number == 1 else 's'}"

    total = f"{count(sum(lanes), 'run')} = {count(len(lanes), 'program')}"
    if len(set(lanes)) == 1:
        return f"{total} × {count(lanes[0], 'lane')}"
    return f"{total} of {min(lanes)} to {max(lanes)} lanes"


def _shared(config: ArmConfig) -> ArmConfig:
    """What trials of one program have in common: the config with its numbers at their defaults."""
    return arm_at(config, _DEFAULTS)
