"""What native code prints while processes train together, made fit for a person.

It is run as a script beside a process, which sends it all that is written to its standard output
and error below Python, and it ends with the process.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

# From here on there is nothing but what XLA says, in many lines, of another process's end.
_LOST = re.compile(r"[EF]\d{4} .*\b(coordination_service|preemption_sync_manager|client\.h)")
_SAYS_WHICH = re.compile(r"stopped sending heartbeats\):\s*\S*?(\d+)")
_GLOO = re.compile(r"\[Gloo\]|peer ranks|Expected number of")
_END_OF_GLOO = re.compile(r"\s*(is)?[\s:.\d]*")


def told(lines: Iterable[str]) -> Iterator[str]:
    """The lines that a person should see.

    >>> list(told(["[Gloo] Rank 0 is connected to 1 peer ranks.\\n", "a warning\\n"]))
    ['a warning\\n']
    """
    lost: list[str] = []
    is_gloo = False
    for line in lines:
        # Two of its threads may share a line, and then parts of their lines follow one another.
        is_gloo = bool(_GLOO.search(line) or (is_gloo and _END_OF_GLOO.fullmatch(line)))
        if lost or _LOST.match(line):
            lost.append(line)
        elif not is_gloo:
            yield line
    if lost:
        yield f"jbn: {_in_words(''.join(lost))}\n"


def _in_words(text: str) -> str:
    """What XLA says of an end, in a line."""
    if "RegisterTask" in text:
        return "the processes didn't find each other: wanted all of them, and one address for all"
    which = _SAYS_WHICH.search(text)
    name = f"process {which[1]}" if which else "another process"
    if "leader task" in text:  # of which the others ask whether all live
        name = "process 0"
    return f"{name} is gone: start all again, and they go on from what was saved last"


def separate() -> None:
    """Sends what native code prints to a script like this one; what Python prints stays."""
    script = [sys.executable, "-I", str(Path(__file__))]
    filtering = subprocess.Popen(script, stdin=subprocess.PIPE)
    assert filtering.stdin is not None
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        stream.flush()
        kept = os.fdopen(os.dup(number), "w", buffering=1, encoding=stream.encoding)
        setattr(sys, name, kept)
        os.dup2(filtering.stdin.fileno(), number)
    filtering.stdin.close()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # it ends after the process
        signal.signal(number, signal.SIG_IGN)
    with open(0, encoding="utf-8", errors="replace") as stream:
        for line in told(stream):
            print(line, end="", file=sys.stderr, flush=True)
