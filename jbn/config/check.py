"""Finds what doesn't fit together in a config, though each value fits its key."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from jbn.config.errors import UserError
from jbn.config.schema import BATCH_NORMS, ArmConfig, PublishedName, SharedConfig, SweepConfig
from jbn.config.sweep import MOST_TRIALS, arm_at, count_points, sweep_points, value_at

# Each key matters only where another key has one of these values. Elsewhere it changes nothing.
_RESNETS = ("resnet18", "resnet50")
_NORMS = (*BATCH_NORMS, "layer", "rms", "group", "instance")
_DECAYING = ("sgd", "momentum", "adamw")
MATTERS_FOR: dict[str, tuple[str, tuple[str, ...]]] = {
    "data.dir": ("data.name", get_args(PublishedName)),
    "data.path": ("data.name", ("npz", "csv")),
    "data.num_targets": ("data.name", ("csv",)),
    "data.mixture": ("data.name", ("mixture",)),
    "data.input_scale": ("data.normalize", ("none",)),
    "data.normalize_per": ("data.normalize", ("standardize", "min_max")),
    "model.hidden_sizes": ("model.kind", ("mlp",)),
    "model.activation": ("model.kind", ("mlp",)),
    "model.norm_position": ("model.kind", ("mlp",)),
    "model.channels": ("model.kind", ("cnn",)),
    "model.stem": ("model.kind", _RESNETS),
    "model.num_filters": ("model.kind", _RESNETS),
    "model.zero_last_scale": ("model.kind", _RESNETS),
    "model.kernel_init": ("model.kind", ("mlp", "cnn")),
    "norm.momentum": ("norm.kind", BATCH_NORMS),
    "norm.momentum_warmup": ("norm.kind", BATCH_NORMS),
    "norm.epsilon": ("norm.kind", _NORMS),
    "norm.use_bias": ("norm.kind", tuple(kind for kind in _NORMS if kind != "rms")),
    "norm.use_scale": ("norm.kind", _NORMS),
    "norm.virtual_batch_size": ("norm.kind", ("ghost",)),
    "norm.num_plain_steps": ("norm.kind", ("renorm",)),
    "norm.num_groups": ("norm.kind", ("group",)),
    "optimizer.momentum": ("optimizer.kind", ("momentum",)),
    "optimizer.weight_decay": ("optimizer.kind", _DECAYING),
}


def find_mistakes(
    arms: Mapping[str, SharedConfig], sweep: SweepConfig, num_seeds: int
) -> Iterator[str]:
    """A line for each mistake in how keys, arms and sweep fit together.

    Args:
        arms: the arms without the values of the sweep. Every value fits its key.
        sweep: the sweep. Every value fits its key.
        num_seeds: how many seeds each arm has at each point.
    """
    try:
        num_points = count_points(sweep)
    except UserError as error:
        yield str(error)
        return
    num_trials = len(arms) * num_points * num_seeds
    if num_trials > MOST_TRIALS:
        yield (
            f"sweep and num_seeds: found {num_trials} trials, arms × points × seeds = "
            f"{len(arms)} × {num_points} × {num_seeds}, wanted at most {MOST_TRIALS}"
        )
        return
    points = sweep_points(sweep)
    misfits = {name: _misfit(arm, points) for name, arm in arms.items()}
    if any(misfits.values()):
        if len(set(misfits.values())) == 1:
            yield next(iter(misfits.values()))
        else:
            yield from (f"arms.{name}: {line}" for name, line in misfits.items() if line)
        return
    if sweep.axes:
        yield from _repeated(points)
        yield from _without_effect(arms, points)
        yield from _made_the_same(arms, points[0])


def _misfit(arm: SharedConfig, points: Sequence[Mapping[str, Any]]) -> str:
    """The first mistake of the arm at the first point that has one, or ""."""
    for point in points:
        try:
            arm_at(arm, point)
        except ValidationError as error:
            # Each value fits its key. So the error is `ArmConfig`'s, about several keys together.
            reason = error.errors()[0]["ctx"]["error"]
            return f"sweep, at {_in_words(point)}: {reason}" if point else str(reason)
    return ""


def _repeated(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line on the point that comes most often, if it comes more than once."""
    point, times = Counter(map(_in_words, points)).most_common(1)[0]
    if times > 1:
        yield f"sweep: found {point} {times} times, wanted each point once"


def _without_effect(
    arms: Mapping[str, SharedConfig], points: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """A line for each swept key that matters to no arm at any point."""
    for key in points[0]:
        where, values = _condition(key)
        if not where:
            continue
        at_points = (arm_at(arm, point) for arm in arms.values() for point in points)
        if any(_matters(key, config) for config in at_points):
            continue
        wanted = f"{where} {' or '.join(map(repr, values))}"
        if where == "model.kind":
            wanted += " without model.factory"
        yield f"sweep.{key}: changes nothing, as no arm has {wanted}"


def _made_the_same(arms: Mapping[str, SharedConfig], point: Mapping[str, Any]) -> Iterator[str]:
    """A line for each pair of arms that differ only in swept keys, which the sweep sets in both."""
    for (name, arm), (other_name, other) in itertools.combinations(arms.items(), 2):
        if arm != other and arm_at(arm, point) == arm_at(other, point):
            key = next(key for key in point if value_at(arm, key) != value_at(other, key))
            yield (
                f"sweep.{key}: sets every arm, which makes arms.{name} and arms.{other_name} the "
                "same; leave it, or one of the arms, out"
            )


def _matters(key: str, config: ArmConfig) -> bool:
    """Whether another value of the key would change the arm's trials, by `MATTERS_FOR`."""
    where, values = _condition(key)
    if where == "model.kind" and config.model.factory is not None:
        return False
    if where == "optimizer.kind" and config.optimizer.factory is not None:
        return True  # the training says whether the factory takes it
    return value_at(config, where) in values


def _condition(key: str) -> tuple[str, tuple[str, ...]]:
    """The entry of the key or its section in `MATTERS_FOR`; an empty one if it always matters."""
    always: tuple[str, tuple[str, ...]] = ("", ())
    return MATTERS_FOR.get(key) or MATTERS_FOR.get(key.rpartition(".")[0], always)


def _in_words(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in point.items())
