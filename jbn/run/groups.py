"""A program's trials in groups that are lanes of it together, as many as fit the memory."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jbn.config import Program, Trial, UserError
from jbn.data import Dataset
from jbn.progress import Progress
from jbn.train import EpochMetrics, Sweep, compile_sweep, make_lanes


class Group(NamedTuple):
    """What came out of trials that were trained together."""

    trials: Sequence[Trial]
    results: Mapping[str, np.ndarray]  # see `train_groups`
    variables: Any  # on the device, each leaf with an axis of the trials


def train_groups(
    program: Program,
    trials: Sequence[Trial],
    dataset: Dataset,
    max_lanes: int,
    label: str,
    progress: Progress,
) -> Iterator[Group]:
    """Trains these trials of the program, at most `max_lanes` at once, a group after the other.

    Where the device's memory isn't enough for a group, half as many go on.

    Yields:
        Each group, with its results: `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy` and
        `gradient_norm` of the shape (trials, epochs); `diverged_step`, `test_loss` and
        `test_accuracy` of the shape (trials,); `compile_seconds`, 0 where the program was there,
        and `train_seconds`.

    Raises:
        UserError: not even one trial fits the memory.
    """
    remaining = list(trials)
    sweep = None
    num_lanes = 0
    while remaining:
        if sweep is None:
            # As many groups as are needed, of one size, so that one program serves them all.
            num_lanes = math.ceil(len(remaining) / math.ceil(len(remaining) / max_lanes))
        group = remaining[:num_lanes]
        done = len(trials) - len(remaining)
        name = label
        if len(group) < len(trials):
            name = f"{label}, {done + 1} to {done + len(group)} of {len(trials)}"
        progress.begin(name, program.config.train.num_epochs)
        compile_seconds = 0.0
        try:
            if sweep is None:
                clock = time.perf_counter()
                sweep = compile_sweep(program, dataset, num_lanes)
                compile_seconds = time.perf_counter() - clock
                progress.compiled(name, compile_seconds)
            results, variables = _train(sweep, program, group, num_lanes, name, progress)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if num_lanes == 1:
                raise UserError(
                    f"{label}: not even one run fits the device's memory; choose a smaller model "
                    "or train.batch_size"
                ) from None
            max_lanes = math.ceil(num_lanes / 2)
            sweep = None
            progress.say(f"{label}: {num_lanes} lanes don't fit the memory; {max_lanes} go on")
            continue
        results["compile_seconds"] = np.array(compile_seconds)
        yield Group(group, results, variables)
        remaining = remaining[num_lanes:]


def _train(
    sweep: Sweep,
    program: Program,
    group: Sequence[Trial],
    num_lanes: int,
    label: str,
    progress: Progress,
) -> tuple[dict[str, np.ndarray], Any]:
    """Trains a group; its results without `compile_seconds`, and its variables."""
    clock = time.perf_counter()
    # A last group that is smaller is filled up with its last trial.
    lanes = make_lanes(program, [*group, *[group[-1]] * (num_lanes - len(group))])
    state = sweep.init(lanes)
    num_epochs = program.config.train.num_epochs
    epochs = []
    for epoch in range(1, num_epochs + 1):
        state, metrics = sweep.train_chunk(state, lanes)
        epochs.append(_of_epoch(jax.device_get(metrics), len(group)))
        progress.epoch(label, epoch, num_epochs, epochs[-1])
    variables, test = sweep.finish(state, lanes)
    test = jax.device_get(test)
    results = {name: np.stack([e[name] for e in epochs], axis=1) for name in epochs[0]}
    diverged = results.pop("diverged_step")
    results["diverged_step"] = np.where(
        (diverged >= 0).any(1),
        np.take_along_axis(diverged, (diverged >= 0).argmax(1)[:, None], 1)[:, 0],
        -1,
    )
    results["test_loss"] = test.loss[: len(group)]
    results["test_accuracy"] = test.accuracy[: len(group)]
    results["train_seconds"] = np.array(time.perf_counter() - clock)
    return results, jax.tree.map(lambda leaf: leaf[: len(group)], variables)


def _of_epoch(metrics: EpochMetrics, num_trials: int) -> dict[str, np.ndarray]:
    """The metrics of an epoch by name, each of the shape (trials,)."""
    columns = {
        "train_loss": metrics.train.loss,
        "train_accuracy": metrics.train.accuracy,
        "val_loss": metrics.val.loss,
        "val_accuracy": metrics.val.accuracy,
        "gradient_norm": metrics.gradient_norm,
        "diverged_step": metrics.diverged_step,
    }
    return {name: np.asarray(column)[:num_trials] for name, column in columns.items()}


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "Out of memory" in text
