"""How two configs differ, and whether one is the other with more seeds or epochs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jbn.config.errors import shown
from jbn.config.schema import Config
from jbn.config.sweep import flattened

# What changes no result: how trials are executed, saved, judged and shown.
_EXECUTION = {"on_divergence", "report", "checkpoint", "devices"}


def differences(there: Config, here: Config) -> list[str]:
    """What makes another run of a config, a phrase for each key.

    What differs alike in all arms is one phrase. The order of arms and of axes counts: trials are
    numbered by it.

    Args:
        there: the config of a run.
        here: another.

    Returns:
        Phrases such as "seed: 0 there, 9 in this config"; none where both are one run.
    """
    mine, other = _identity(there), _identity(here)
    arms, other_arms = mine.pop("arms"), other.pop("arms")
    axes, other_axes = there.sweep.axes, here.sweep.axes
    return [
        *(_phrase(key, *pair) for key, pair in _changes(mine, other).items()),
        *_other_order("the axes of the sweep", list(axes), list(other_axes)),
        *(f"arms.{arm}: not in this config" for arm in arms if arm not in other_arms),
        *(f"arms.{arm}: not there" for arm in other_arms if arm not in arms),
        *_other_order("arms", list(arms), list(other_arms)),
        *_of_arms(arms, other_arms, {*axes, *other_axes}),
    ]


def is_extension(there: Config, here: Config) -> bool:
    """Whether a run of the one config, with more seeds or longer trainings, is one of the other."""
    longer = num_epochs(here)
    return (
        bool(differences(there, here))
        and here.num_seeds >= there.num_seeds
        and all(longer.get(arm, 0) >= number for arm, number in num_epochs(there).items())
        and not differences(extended(there, here.num_seeds, longer), here)
    )


def extended(config: Config, num_seeds: int, num_epochs: Mapping[str, int]) -> Config:
    """The config with so many seeds, and so many epochs of each arm."""
    arms = {}
    for name, arm in config.arms.items():
        train = arm.train.model_copy(
            update={"num_epochs": num_epochs.get(name, arm.train.num_epochs)}
        )
        arms[name] = arm.model_copy(update={"train": train})
    return config.model_copy(update={"num_seeds": num_seeds, "arms": arms})


def num_epochs(config: Config) -> dict[str, int]:
    """The epochs of each arm, where the sweep doesn't say them."""
    return {name: arm.train.num_epochs for name, arm in config.arms.items()}


def with_execution_of(config: Config, other: Config) -> Config:
    """The config, with those keys of the other that change no result.

    `sweep.max_lanes` isn't among them: it numbers the groups.
    """
    return config.model_copy(update={name: getattr(other, name) for name in _EXECUTION})


def _identity(config: Config) -> dict[str, Any]:
    """What a run's results depend on."""
    table = config.model_dump(mode="json", exclude=_EXECUTION)
    # An epoch is cut there, into programs that come to other roundings.
    kept = config.checkpoint
    table["checkpoint"] = {"every_steps": kept.every_steps, "keep_best": kept.keep_best}
    # The best epochs are those of this metric.
    table["report"] = {"metric": config.report.metric if kept.keep_best else None}
    table["sweep"] = {"mode": config.sweep.mode, **table["sweep"]["axes"]}
    return table


def _of_arms(there: Mapping[str, Any], here: Mapping[str, Any], swept: set[str]) -> Iterator[str]:
    """What differs in the arms that both have. Swept keys are the sweep's."""
    changes = {
        arm: {key: pair for key, pair in _changes(table, here[arm]).items() if key not in swept}
        for arm, table in there.items()
        if arm in here
    }
    keys = dict.fromkeys(key for of_arm in changes.values() for key in of_arm)
    for key in keys:
        pairs = {arm: of_arm[key] for arm, of_arm in changes.items() if key in of_arm}
        first = next(iter(pairs.values()))
        if len(pairs) == len(changes) and all(pair == first for pair in pairs.values()):
            yield _phrase(key, *first)
        else:
            yield from (_phrase(f"arms.{arm}.{key}", *pair) for arm, pair in pairs.items())


def _changes(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys, with both values. A key that is missing in one of them has `...` there."""
    mine, other = dict(flattened(there)), dict(flattened(here))
    pairs = {key: (mine.get(key, ...), other.get(key, ...)) for key in {**mine, **other}}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _other_order(what: str, there: Sequence[str], here: Sequence[str]) -> list[str]:
    if there == here or set(there) != set(here):
        return []
    return [f"{what}: {', '.join(there)} there, {', '.join(here)} in this config"]


def _phrase(key: str, there: Any, here: Any) -> str:
    return f"{key}: {_text(there)} there, {_text(here)} in this config"


def _text(value: Any) -> str:
    if value is ...:
        return "nothing"
    return "none" if value is None else shown(value)
