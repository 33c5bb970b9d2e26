"""What tells of a training whose numbers aren't finite any more."""

from collections.abc import Callable

import jax

from jbn.config import Trial, UserError
from jbn.run.compiler import Compiler
from jbn.run.events import Event, PartEnded
from jbn.run.saving import Saver
from jbn.train import Hypers, TrainKeys, to_host
from jbn.train.divergence import Divergence, find_divergence

_MOST_ARRAYS = 4  # in a line


class DivergenceSink:
    """A sink that says of the run's first trial that diverges where it did.

    To find the array it trains the trial again, from what was saved last. It comes before the saver
    among the sinks, so that what is saved stays good.

    Args:
        compiler: has the tasks and the data.
        saver: has what was saved.
        stops: whether the run stops there.
        say: is told where it goes on.
    """

    def __init__(
        self, compiler: Compiler, saver: Saver, *, stops: bool, say: Callable[[str], None]
    ):
        self._compiler = compiler
        self._saver = saver
        self._stops = stops
        self._say = say
        self._has_said = False

    def __call__(self, event: Event) -> None:
        if not isinstance(event, PartEnded) or self._has_said:
            return
        diverged = event.turn.diverged_step >= 0
        if not diverged.any():
            return
        self._has_said = True
        lane = int(diverged.argmax())
        trial, step = event.trials[lane], int(event.turn.diverged_step[lane])
        try:
            found = self._find(event, lane, step)
        except (jax.errors.JaxRuntimeError, MemoryError):  # no room for a second state
            found = None
        text = _in_words(trial, step, found)
        if self._stops:
            raise UserError(
                f"{text}; the run stops there, as on_divergence says, and keeps what was saved "
                "before"
            )
        self._say(text)

    def _find(self, event: PartEnded, lane: int, step: int) -> Divergence | None:
        program, trial = event.group.program, event.trials[lane]
        task, train = self._compiler.task_of(program), self._compiler.dataset_of(program).train
        keys, hypers = TrainKeys.of(jax.random.key(trial.seed)), Hypers.of(trial.config)
        saved = self._saver.last(event.trials, event.turn)
        if saved is None:
            state = jax.jit(task.init)(keys, hypers)
        else:
            state = jax.tree.map(lambda leaf: leaf[lane], to_host(saved.state["last"]))
        last_step = step + task.num_batches  # rounding may move it a little
        return find_divergence(task, state, train, keys, hypers, last_step=last_step)


def _in_words(trial: Trial, step: int, found: Divergence | None) -> str:
    point = "".join(f", {key}={value}" for key, value in trial.point.items())
    text = f"{trial.arm}{point}, seed {trial.seed}: diverged at step {step}"
    if found is None:
        return text
    names = found.arrays[:_MOST_ARRAYS]
    more = len(found.arrays) - len(names)
    return f"{text}: not finite are {', '.join(names)}{f' and {more} more' if more else ''}"
