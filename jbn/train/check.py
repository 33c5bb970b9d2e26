"""Finds where config and data don't fit together, before a training begins."""

from jbn.config import ArmConfig, UserError
from jbn.config.schema import BATCH_NORMS
from jbn.data import DataSpec
from jbn.data.augment import keeps_images


def check_config(config: ArmConfig, spec: DataSpec, *, num_steps: int) -> None:
    """Raises UserError where config and data don't fit together; `num_steps` are all batches."""
    _check_sizes(config, spec.num_examples)
    _check_augment(config, spec.features)
    _check_updates(config, num_steps)
    _check_order(config, spec)


def _check_sizes(config: ArmConfig, num_examples: int) -> None:
    """Raises UserError where the data aren't a batch, or leave a batch of one that can't be."""
    batch_size = config.train.batch_size
    if batch_size > num_examples:
        raise UserError(
            f"train.batch_size: found {batch_size}, wanted at most {num_examples}, the number of "
            "training examples"
        )
    # Of one example each value of a Dense layer is its own mean.
    norm, num_last = config.norm, num_examples % batch_size
    group_size = norm.virtual_batch_size if norm.kind == "ghost" else batch_size
    is_alone = norm.kind in BATCH_NORMS and num_last % group_size == 1
    is_dense = config.model.factory is None and config.model.kind == "mlp"
    if is_alone and is_dense and config.model.hidden_sizes:
        raise UserError(
            f"train.batch_size: found {batch_size}, which leaves a last batch of {num_last} of "
            f"{num_examples} examples, and norm.kind {norm.kind!r} one of them by itself; it wants "
            "at least 2: choose another size"
        )


def _check_order(config: ArmConfig, spec: DataSpec) -> None:
    """Raises UserError where targets can't be sorted."""
    order = config.train.order
    if order in ("sorted", "class_blocked") and spec.target.shape:
        raise UserError(
            f"train.order: found {order!r}, wanted 'shuffled' or 'fixed' for several targets"
        )


def _check_augment(config: ArmConfig, features: tuple[int, ...]) -> None:
    """Raises UserError where what isn't images shall be augmented."""
    if not keeps_images(config.data.augment) and len(features) != 3:
        raise UserError(
            f"data.augment: found inputs of shape {features}, wanted images, of shape (height, "
            "width, channels)"
        )


def _check_updates(config: ArmConfig, num_steps: int) -> None:
    """Raises UserError where training would end before parameters or rate get anywhere."""
    accumulate, warmup_steps = config.optimizer.accumulate, config.optimizer.warmup_steps
    if accumulate > num_steps:
        raise UserError(
            f"optimizer.accumulate: found {accumulate}, wanted at most {num_steps}, the number of "
            "batches in all epochs"
        )
    if warmup_steps >= num_steps // accumulate:
        raise UserError(
            f"optimizer.warmup_steps: found {warmup_steps}, wanted fewer than "
            f"{num_steps // accumulate}, the number of steps in all epochs"
        )
