"""How long one small run takes, from the process's start to its end, against a script of Keras.

    python experiments/bench/start.py && python experiments/write_numbers.py

One arm, one seed, of the article's network: `jbn run` the first time, with an empty cache folder;
`jbn run` where an earlier one has kept its programs; and `keras_script.py`, which does the same
work. And what a person waits for: the first line of `jbn run`, `jbn --help` and `jbn show`, beside
`import jax`. Whole processes, in turn, in another order in every round. Writes `start.json` beside
this file.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from in_turn import environment, quartiles

HERE = Path(__file__).parent
CONFIG = HERE.parents[1] / "configs" / "digits" / "article.toml"
NUM_ROUNDS = 9
ONE_RUN = ("--set", "arms={}", "--set", "num_seeds=1")


def seconds(*command: object, cache: Path | None = None) -> tuple[float, float]:
    """How long a process of this Python takes to its first line, and to its end."""
    names = {} if cache is None else {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    clock = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        env={**os.environ, **names},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = time.perf_counter() - clock
        process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{command} failed")
    return first, time.perf_counter() - clock


def main() -> None:
    """Measures, and writes the JSON."""
    with tempfile.TemporaryDirectory() as folder:
        kept, new, out = (Path(folder, name) for name in ("kept", "new", "out"))

        def run(cache: Path) -> tuple[float, float]:
            shutil.rmtree(out, ignore_errors=True)
            return seconds("-m", "jbn", "run", CONFIG, *ONE_RUN, "--out", out, cache=cache)

        def run_first() -> tuple[float, float]:
            shutil.rmtree(new, ignore_errors=True)
            return run(new)

        programs: dict[str, Callable[[], tuple[float, float]]] = {
            "first": run_first,
            "kept": lambda: run(kept),
            "keras": lambda: seconds(HERE / "keras_script.py"),
            "import jax": lambda: seconds("-c", "import jax"),
            "help": lambda: seconds("-m", "jbn", "--help"),
            "show": lambda: seconds("-m", "jbn", "show", CONFIG),
        }
        rng = np.random.default_rng()  # times don't repeat anyway
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        for number in range(NUM_ROUNDS + 1):  # the first of them reads Python's files
            for name in rng.permutation(list(programs)).tolist():
                measured = programs[name]()
                if number:
                    times[name].append(measured)
    first_line, whole = (
        {name: np.array([of[i] for of in measured]) for name, measured in times.items()}
        for i in (0, 1)
    )
    result = {
        "command": "python experiments/bench/start.py",
        "environment": environment(keras=version("keras")),
        "num_rounds": NUM_ROUNDS,
        "seconds": {name: quartiles(of) for name, of in whole.items()},
        "first_line_seconds": quartiles(first_line["kept"]),
        "over_keras": {name: quartiles(whole[name] / whole["keras"]) for name in ("first", "kept")},
        "beyond_import_jax_seconds": {
            name: quartiles(whole[name] - whole["import jax"]) for name in ("help", "show")
        },
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
