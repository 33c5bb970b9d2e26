"""The article's claims, measured: each has a folder here, with its prediction and its config.

    python experiments/claims.py [NAME ...] && python experiments/write_numbers.py

Without names it makes all of them. What comes of a claim is `results.json` and `figure.svg` in its
folder; `write_numbers.py` writes the tables, and RESULTS.md.
"""

import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np
from findings import Finding
from grids import load_grid
from matplotlib.figure import Figure

from jbn.report.style import color_of

HERE = Path(__file__).parent
CLAIMS = {
    "learning_rate": "no careful tuning of the learning rate",
    "initialization": "less dependence on initialization",
    "sample_order": "less dependence on the order of samples",
    "input_normalization": "standardized inputs are not suited for deep learning",
    "momentum_and_epsilon": "momentum and epsilon matter",
}


def draw(finding: Finding) -> Figure:
    """Mean accuracy over the values of each line, and its standard deviation over the seeds."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, (values, accuracy)) in enumerate(finding.lines.items()):
        mean, std = accuracy.mean(-1), accuracy.std(-1, ddof=1)
        is_number = not isinstance(values[0], str)
        x = np.asarray(values) if is_number else np.arange(len(values))
        style = {"color": color_of(number // 2), "linestyle": ("-", "--")[number % 2]}
        axes.plot(x, 100 * mean, marker="o", markersize=3, label=name, **style)
        axes.fill_between(
            x, 100 * (mean - std), 100 * (mean + std), color=style["color"], alpha=0.12, linewidth=0
        )
        if is_number:
            axes.set_xscale("log")
        else:
            axes.set_xticks(x, [value.replace("_", " ") for value in values])
    axes.set_xlabel(finding.x)
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def make(name: str) -> None:
    """Runs a claim's config and leaves what comes of it in its folder."""
    folder = HERE / name
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "run")
        command = [sys.executable, "-m", "jbn", "run", folder / "config.toml", "--out", out]
        clock = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - clock
        grid = load_grid(out)
        environment = json.loads((out / "environment.json").read_text())
    finding = importlib.import_module(f"{name}.measure").measure(grid)
    environment["command"] = f"python experiments/claims.py {name}"
    results = {
        "environment": environment,
        "claim": CLAIMS[name],
        "num_runs": grid.val.size,
        "num_seeds": grid.val.shape[-1],
        "seconds": seconds,
        "verdict": finding.verdict,
        "summary": finding.summary,
        "headings": finding.headings,
        "rows": finding.rows,
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    with matplotlib.rc_context({"svg.hashsalt": "jbn"}):
        draw(finding).savefig(folder / "figure.svg", metadata={"Date": None})
    print(f"{name}: {finding.verdict}, {grid.val.size} runs in {seconds:.0f} s")


if __name__ == "__main__":
    wanted = sys.argv[1:] or list(CLAIMS)
    if unknown := set(wanted) - set(CLAIMS):
        sys.exit(f"claims: found {', '.join(unknown)}, wanted some of {', '.join(CLAIMS)}")
    for name in wanted:
        make(name)
