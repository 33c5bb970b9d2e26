"""Processes that train together: how they find each other, and agree."""

import os
import pickle
import re
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jbn.config import UserError
from jbn.native_output import separate

# What an error says whose cause is another process.
_OF_ANOTHER = re.compile("Gloo|UNAVAILABLE|CoordinationService|Connection (closed|reset)")
_LOST_AFTER = 15  # seconds of silence: a process is gone, and the others end


def join(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Makes this process one of several on JAX's own runtime, before JAX makes its devices.

    Args:
        coordinator: address and port of process 0, where all meet. None, here and below: JAX finds
            it out itself, from SLURM, Open MPI, Kubernetes or a Cloud TPU.
        num_processes: how many there are.
        process_id: the number of this one, from 0.

    Raises:
        UserError: something isn't given, and JAX doesn't find it out.
    """
    if coordinator is not None and not re.fullmatch(r".+:\d{1,5}", coordinator):
        raise UserError(f"--coordinator: found {coordinator!r}, wanted HOST:PORT")
    separate()
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own would wait, too
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    try:
        jax.distributed.initialize(
            *(coordinator, num_processes, process_id), heartbeat_timeout_seconds=_LOST_AFTER
        )
    except (ValueError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"--distributed: {reason}; where JAX can't find it out, give --coordinator, "
            "--num-processes and --process-id"
        ) from None
    finally:
        signal.signal(signal.SIGINT, before)


def leave(error: BaseException) -> None:
    """Ends one of several processes, with what is wrong: the others learn of it, and end, too.

    An orderly end would wait for them. Without others it does nothing.
    """
    if jax.process_count() == 1:
        return
    if _OF_ANOTHER.search(str(error)):
        time.sleep(2 * _LOST_AFTER)  # XLA finds out which is gone, says so, and ends this one
    try:
        if isinstance(error, UserError):
            for line in str(error).splitlines():
                print(f"jbn: {line}", file=sys.stderr)
        else:
            traceback.print_exception(error)
    finally:  # whoever read what is printed may be gone
        os._exit(2 if isinstance(error, UserError) else 1)


def is_first() -> bool:
    """Whether this process writes and speaks for all."""
    return jax.process_index() == 0


def agreed(value: Any) -> Any:
    """The value of process 0 in every process. All processes call this at the same time."""
    if jax.process_count() == 1:
        return value
    content = np.frombuffer(pickle.dumps(value), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    content = content if is_first() else np.zeros(size, np.uint8)
    return pickle.loads(multihost_utils.broadcast_one_to_all(content).tobytes())


def largest(numbers: Sequence[int]) -> list[int]:
    """The largest number of all processes, at each place. All call this at the same time."""
    if jax.process_count() == 1:
        return list(numbers)
    of_each = multihost_utils.process_allgather(np.array(numbers, np.int32))
    return np.asarray(of_each).max(0).tolist()
