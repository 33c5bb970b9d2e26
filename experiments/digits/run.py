"""Runs both configs on handwritten digits, keeps their results, and draws the README's picture.

python experiments/digits/run.py && python experiments/write_numbers.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from jbn.report.figures import draw_learning_curves

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs" / "digits"
SHOWN = "article"  # the config whose curves are the picture


def main() -> None:
    """Trains, then writes `results.json` and `learning_curves.svg` beside this file."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(CONFIGS.glob("*.toml")):
            out = Path(folder) / path.stem
            # A process each, and no compilation cache: compile times are those of a first run.
            command = [sys.executable, "-m", "jbn", "run", path, "--out", out, "--no-cache"]
            subprocess.run(command, check=True)
            environment = json.loads((out / "environment.json").read_text())
            environment["command"] = f"jbn run configs/digits/{path.name}"
            results[path.stem] = {
                "environment": environment,
                "summary": json.loads((out / "summary.json").read_text()),
            }
            if path.stem == SHOWN:
                lines = (out / "metrics.jsonl").read_text().splitlines()
                figure = draw_learning_curves([json.loads(line) for line in lines], ink="black")
                figure.patch.set(visible=True, facecolor="white")
                figure.savefig(HERE / "learning_curves.svg", metadata={"Date": None})
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
