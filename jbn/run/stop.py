"""A run that is told to end: by SIGTERM, as a cluster does, or by Ctrl-C."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_MOST_SECONDS = 20.0  # until all is saved; a cluster kills after 30


class Stopped(Exception):
    """The run was told to end, and what it had come to is saved."""

    def __init__(self, number: int):
        super().__init__(f"{signal.Signals(number).name}: the run is saved")
        self.number = number


class Stop:
    """Whether the run shall end, which a thread of its own finds out.

    A handler of Python would wait while XLA compiles or computes. While nothing new is there to be
    saved the thread ends the process itself. Else whoever trains looks at `number`, saves and
    raises `Stopped`. A second signal, or too long a wait, ends the process all the same.
    """

    def __init__(self) -> None:
        self.number: int | None = None  # of the signal
        self.is_training = False  # there is something new since the last checkpoint
        self.before_leaving: Callable[[], None] = lambda: None
        self.is_finished: Callable[[], bool] = lambda: False

    def _watch(self, pipe: int) -> None:
        number = _read(pipe)
        if number is None:
            return
        name = signal.Signals(number).name
        if self.is_training:
            print(f"jbn: {name}: saves and leaves; once more: leaves at once", file=sys.stderr)
            self.number = number
            again = select.select([pipe], [], [], _MOST_SECONDS)[0]
            if again and _read(pipe) is None:
                return  # all was saved in time
        self.before_leaving()
        way_on = "the same command goes on from what was saved last"
        if self.is_finished():
            way_on = "the run is finished, and jbn report FOLDER writes its page"
        print(f"jbn: {name}: left; {way_on}", file=sys.stderr, flush=True)
        os._exit(128 + number)  # an orderly end would wait for threads that compile


@contextmanager
def listening() -> Iterator[Stop]:
    """Within it, signals to end are told to a `Stop`. Only the main thread can listen."""
    stop = Stop()
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    signal.set_wakeup_fd(write)
    thread = threading.Thread(target=stop._watch, args=[read], daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(write)  # ends the thread
        thread.join()
        os.close(read)


def _read(pipe: int) -> int | None:
    """The next signal; None at the end."""
    while content := os.read(pipe, 1):
        if content[0] in _SIGNALS:
            return content[0]
    return None
