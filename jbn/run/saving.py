"""What saves a run's turns as they train, and brings them back."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jbn.config import CheckpointConfig, Trial, UserError
from jbn.processes import largest
from jbn.run.events import (
    Best,
    Event,
    LanesTooMany,
    PartEnded,
    TrainingBegan,
    TrialsEnded,
    TurnState,
)
from jbn.run.stop import Stop, Stopped
from jbn.store import Checkpoints, Folder, Saved
from jbn.train import Metrics, StepMetrics, to_host


class Saver:
    """A sink that saves the turn which trains, when the config says so or the run shall end.

    It comes after the sink of the folder: what it saves has its epochs in the folder's tables.

    Args:
        folder: of the run.
        checkpoints: of the run.
        config: says when.
        keeps_final: whether the last state of a turn stays, if its training was saved at all.
        say: is told what a person should know.
        stop: whether the run shall end.
    """

    def __init__(
        self,
        folder: Folder,
        checkpoints: Checkpoints,
        config: CheckpointConfig,
        *,
        keeps_final: bool,
        say: Callable[[str], None],
        stop: Stop,
    ):
        self._folder = folder
        self._checkpoints = checkpoints
        self._config = config
        self._keeps_final = keeps_final
        self._say = say
        self._stop = stop
        self._last = 0.0, 0, 0  # the time, the steps and the epochs when the turn was saved

    def restore(self, trials: Sequence[Trial], first: TurnState) -> TurnState | None:
        """The turn as it was saved last, if it was; its later epochs are dropped."""
        saved = self.last(trials, first)
        self._folder.rewind(trials, 0 if saved is None else saved.progress["epoch"])
        self._last = time.monotonic(), 0, 0
        if saved is None:
            return None
        turn = _turn_of(saved, first)
        self._last = time.monotonic(), saved.step, turn.epoch
        return turn

    def last(self, trials: Sequence[Trial], like: TurnState) -> Saved | None:
        """What was saved last of a turn, with states like that one's; None if nothing was."""
        with self._folder.written():
            self._checkpoints.wait()
        number, states = trials[0].number, _states_of(like)

        def check(saved: Saved) -> None:
            try:
                turn = _turn_of(saved, like)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"checkpoint {saved.step} of trial {number}: {error!r}") from None
            num_epochs = trials[0].config.train.num_epochs
            shapes = [np.shape(of) for of in (turn.diverged_step, *turn.metrics.values())]
            if not 0 <= turn.epoch <= num_epochs or {*shapes} != {(len(trials),)}:
                raise UserError(
                    f"checkpoint {saved.step} of trial {number}: found {turn.epoch} epochs of "
                    f"trials {shapes}, wanted up to {num_epochs} of {len(trials)}"
                )

        return self._checkpoints.load(number, _identity(trials), states, self._say, check)

    def __call__(self, event: Event) -> None:
        match event:
            case TrainingBegan():
                self._stop.is_training = True
            case LanesTooMany(group, trials):
                self._stop.is_training = False  # it compiles again
                with self._folder.written():
                    was_saved = self._checkpoints.has(trials[0].number)
                if was_saved:
                    raise UserError(
                        f"{group.program.label}: no longer fits the device's memory; make room "
                        "there, and the same command goes on from what was saved last"
                    )
            case PartEnded():
                number, is_due = largest([self._stop.number or 0, self._is_due(event)])
                if number or is_due or self._is_end_to_keep(event):
                    self._save(event)
                if number:
                    with self._folder.written():
                        self._checkpoints.wait()
                    raise Stopped(number)
            case TrialsEnded(_, trials):
                self._stop.is_training = False
                with self._folder.written():
                    self._checkpoints.remove(trials[0].number, but_last=self._keeps_final)
                (number,) = largest([self._stop.number or 0])
                if number:
                    raise Stopped(number)

    def _is_due(self, event: PartEnded) -> bool:
        wanted, (then, steps, epochs) = self._config, self._last
        of_interval = (
            (wanted.every_minutes, (time.monotonic() - then) / 60),
            (wanted.every_steps, event.num_steps - steps),
            (wanted.every_epochs, event.turn.epoch - epochs),
        )
        return any(interval is not None and since >= interval for interval, since in of_interval)

    def _is_end_to_keep(self, event: PartEnded) -> bool:
        is_end = event.turn.epoch == event.group.program.config.train.num_epochs
        if not (is_end and self._keeps_final):  # without a look at the disk
            return False
        with self._folder.written():
            return self._checkpoints.has(event.trials[0].number)

    def _save(self, event: PartEnded) -> None:
        """Saves the turn, unless nothing in it is worth it: the last good state stays."""
        turn = event.turn
        if (turn.diverged_step >= 0).all():
            return
        self._folder.sync_metrics()
        saved = Saved(event.num_steps, _states_of(turn), _progress_of(turn))
        with self._folder.written():
            self._checkpoints.save(event.trials[0].number, _identity(event.trials), saved)
        self._last = time.monotonic(), event.num_steps, turn.epoch


def _states_of(turn: TurnState) -> dict[str, Any]:
    """What of the turn is on the devices."""
    return {"last": turn.state, "best": None if turn.best is None else turn.best.state}


def _progress_of(turn: TurnState) -> dict[str, Any]:
    """All of the turn but its states, as NumPy arrays."""
    progress = {
        "epoch": turn.epoch,
        "seconds": turn.seconds,
        "diverged_step": turn.diverged_step,
        "metrics": dict(turn.metrics),
    }
    if turn.steps is not None:
        (sums, weight), gradient_norm = to_host(turn.steps)
        steps = {"sums": dict(sums), "weight": weight, "gradient_norm": gradient_norm}
        progress["steps"] = steps
    if turn.best is not None:
        progress["best"] = {"epoch": turn.best.epoch, "metric": turn.best.metric}
    return progress


def _turn_of(saved: Saved, first: TurnState) -> TurnState:
    progress = saved.progress
    best = first.best
    if best is not None:
        best = Best(saved.state["best"], progress["best"]["epoch"], progress["best"]["metric"])
    steps = None
    if "steps" in progress:
        of_steps = progress["steps"]
        batch = Metrics(of_steps["sums"], of_steps["weight"])
        steps = StepMetrics(batch, of_steps["gradient_norm"])
    return TurnState(
        saved.state["last"],
        int(progress["epoch"]),
        float(progress["seconds"]),
        np.asarray(progress["diverged_step"]),
        progress.get("metrics", {}),
        steps,
        best,
    )


def _identity(trials: Sequence[Trial]) -> str:
    """What a turn's training depends on, but for its length."""
    configs = {id(trial.config): trial.config for trial in trials}
    exclude: Any = {"train": {"num_epochs"}}
    texts = {key: config.model_dump_json(exclude=exclude) for key, config in configs.items()}
    return json.dumps([(trial.number, trial.seed, texts[id(trial.config)]) for trial in trials])
