"""Runs the configs on MNIST, and keeps their results.

python experiments/mnist/run.py && python experiments/write_numbers.py

The files of MNIST are looked for where docs/reference/data_sets.md says.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from jbn.store import read_parts, read_summary

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs" / "mnist"


def main() -> None:
    """Trains, then writes `results.json` beside this file."""
    results = {}
    for path in sorted(CONFIGS.glob("*.toml")):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "run")
            # A compilation cache that is empty at first; the downloaded data stay where they are.
            cache = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "cache"))}
            command = [sys.executable, "-m", "jbn", "run", path, "--out", out]
            subprocess.run(command, check=True, env=cache)
            (environment,) = read_parts(out)
            environment["command"] = f"jbn run configs/mnist/{path.name}"
            results[path.stem] = {"environment": environment, "summary": read_summary(out)}
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
