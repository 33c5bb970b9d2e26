"""The parts of a training that a user may write: model, loss, optimizer, schedule, augmentation."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jaxtyping import PRNGKeyArray

from jbn.config import ArmConfig, UserError
from jbn.config.functions import call_with, import_function, name_of, takes
from jbn.data import Batch, DataSpec
from jbn.train.loss import Loss, balanced_weights, make_cross_entropy, make_squared_error


class Parts(NamedTuple):
    """Functions in the place of jbn's own; None is jbn's, as the config says."""

    model: Callable[..., Any] | None = None  # as `jbn.models.build_model` calls it
    loss: Loss | None = None
    # (learning_rate, weight_decay, momentum, num_steps), some of them -> GradientTransformation
    optimizer: Callable[..., Any] | None = None
    schedule: Callable[..., Any] | None = None  # (num_steps) -> optax.Schedule, of 1 at first
    augment: Callable[..., Any] | None = None  # (key, batch) -> batch


def make_parts(config: ArmConfig, spec: DataSpec, given: Parts) -> Parts:
    """The parts that are given, or else imported as the config names them; the loss is always one.

    Raises:
        UserError: a function can't be imported, or makes something else.
    """

    def part(found: Any, key: str) -> Any:
        path = config.own_functions.get(key)
        return import_function(key, path) if found is None and path else found

    return Parts(
        model=part(given.model, "model.factory"),
        loss=_make_loss(config, spec) if given.loss is None else given.loss,
        optimizer=part(given.optimizer, "optimizer.factory"),
        schedule=part(given.schedule, "optimizer.schedule_factory"),
        augment=part(given.augment, "data.augment.function"),
    )


def check_taken(config: ArmConfig, parts: Parts) -> None:
    """Raises UserError where the config sets what the user's own function doesn't take.

    Without an error, the training would not be what was asked for.
    """
    defaults = ArmConfig()
    if parts.optimizer is not None:
        for name in ("weight_decay", "momentum"):
            found = getattr(config.optimizer, name)
            is_set = found != getattr(defaults.optimizer, name)
            if is_set and not takes(parts.optimizer, name):
                raise UserError(
                    f"optimizer.{name}: found {found}, which {name_of(parts.optimizer)} doesn't "
                    f"take; wanted the default, or an argument {name} there"
                )
    if parts.model is not None and not takes(parts.model, "norm") and config.norm != defaults.norm:
        raise UserError(
            f"norm: found values other than the defaults, which {name_of(parts.model)} doesn't "
            "take; wanted the defaults, or an argument norm there"
        )


def depends_on_length(config: ArmConfig, parts: Parts) -> str | None:
    """The key by which a step depends on how many follow; None: a training is a longer one's start.

    A function of the user's own depends on it if it takes `num_steps`.
    """
    if config.optimizer.schedule != "constant":
        return "optimizer.schedule"
    own = {"factory": parts.optimizer, "schedule_factory": parts.schedule}
    for key, function in own.items():
        if function is not None and takes(function, "num_steps"):
            return f"optimizer.{key}"
    return None


def make_own_optimizer(
    factory: Callable[..., Any], arguments: dict[str, Any]
) -> optax.GradientTransformation:
    """What the user's factory makes.

    Raises:
        UserError: it takes other arguments, or makes something else.
    """
    made = call_with(factory, "optimizer.factory", arguments)
    if not isinstance(made, optax.GradientTransformation):
        raise UserError(
            f"optimizer.factory: {name_of(factory)} returned a {type(made).__name__}, wanted an "
            "optax.GradientTransformation"
        )
    return made


def make_own_schedule(factory: Callable[..., Any], num_steps: int) -> optax.Schedule:
    """What the user's factory makes.

    Raises:
        UserError: it takes other arguments, or makes something else.
    """
    made = call_with(factory, "optimizer.schedule_factory", {"num_steps": num_steps})
    if not callable(made):
        raise UserError(
            f"optimizer.schedule_factory: {name_of(factory)} returned a {type(made).__name__}, "
            "wanted an optax.Schedule, a function of the number of steps so far"
        )
    return made


def augmented(function: Callable[..., Any], key: PRNGKeyArray, batch: Batch) -> Batch:
    """What the user's function makes of a batch.

    Raises:
        UserError: it takes other arguments, or makes something else.
    """
    try:
        inspect.signature(function).bind(key, batch)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"data.augment.function: {name_of(function)} can't be called: {error}; wanted a "
            "function of a key and a batch"
        ) from None
    made = function(key, batch)
    if not isinstance(made, Batch):
        raise UserError(
            f"data.augment.function: {name_of(function)} returned a {type(made).__name__}, wanted "
            "the batch, such as batch._replace(x=...)"
        )
    return made


def _make_loss(config: ArmConfig, spec: DataSpec) -> Loss:
    key, path = "loss.factory", config.loss.factory
    if path is not None:
        factory = import_function(key, path)
        loss = call_with(factory, key, {"spec": spec})
        if not isinstance(loss, Loss):
            raise UserError(
                f"{key}: {name_of(factory)} returned a {type(loss).__name__}, wanted a "
                "jbn.train.Loss"
            )
        return loss
    if spec.num_classes is None:
        return make_squared_error(1.0 if spec.target_std is None else spec.target_std)
    return make_cross_entropy(
        spec.num_classes,
        label_smoothing=config.loss.label_smoothing,
        class_weights=_class_weights(config, spec.num_classes, spec.class_counts),
    )


def _class_weights(
    config: ArmConfig, num_classes: int, counts: tuple[int, ...] | None
) -> list[float] | None:
    found = config.loss.class_weights
    if found is None:
        return None
    if found == "balanced":
        if counts is None:
            raise UserError(
                "loss.class_weights: found 'balanced', wanted a DataSpec with class_counts, or a "
                "number for each class"
            )
        return balanced_weights(counts)
    if not any(found):
        raise UserError("loss.class_weights: found only 0, wanted a number above it")
    if len(found) != num_classes:
        raise UserError(
            f"loss.class_weights: found {len(found)} numbers, wanted {num_classes}, one for each "
            "class"
        )
    return list(found)
