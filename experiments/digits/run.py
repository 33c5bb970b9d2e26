"""Runs the configs of small data sets, keeps their results, and draws the README's picture.

python experiments/digits/run.py && python experiments/write_numbers.py
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from jbn.data import load, normalize_inputs
from jbn.report import load_curves
from jbn.report.figures import draw_learning_curves
from jbn.report.metric import ACCURACY
from jbn.report.style import to_svg
from jbn.store import read_config, read_parts, read_summary
from jbn.trained import load_run

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs"
SETS = ("diabetes", "digits")
SHOWN = "article"  # the config whose curves are the picture


def largest_normalized_values(run_dir: Path, arm: str) -> list[dict[str, float]]:
    """For each seed: the largest |value| after a norm on a test image, before scale and bias, the
    running variance of its unit, and the share of the summed test loss that two images make."""
    config = read_config(run_dir)
    dataset = load(config.arms[arm].data)
    found = []
    for seed in range(config.seed, config.seed + config.num_seeds):
        run = load_run(run_dir, arm=arm, seed=seed)
        logits, captured = run.model.apply(
            run.variables,
            normalize_inputs(run.config.data, run.input_stats, dataset.test.x),
            train=False,
            capture_intermediates=True,
            mutable=["intermediates"],
        )
        loss = -jax.nn.log_softmax(logits)[np.arange(len(dataset.test.y)), dataset.test.y]
        seen = {"value": 0.0, "running_variance": 0.0}
        for name, stats in run.variables["batch_stats"].items():
            y = captured["intermediates"][name]["__call__"][0]
            params = run.variables["params"][name]
            x_hat = np.abs((y - params["bias"]) / params["scale"])
            unit = x_hat.max(0).argmax()
            if x_hat[:, unit].max() > seen["value"]:
                value, variance = x_hat[:, unit].max(), stats["var"][unit]
                seen = {"value": float(value), "running_variance": float(variance)}
        worst_two = float(np.sort(loss)[-2:].sum() / loss.sum())
        found.append({"seed": seed, **seen, "loss_share_of_two_images": worst_two})
    return found


def main() -> None:
    """Trains, then writes `results.json` and `learning_curves.svg` beside this file."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(p for data in SETS for p in (CONFIGS / data).glob("*.toml")):
            out = Path(folder) / path.stem
            # A compilation cache that is empty at first: compile times are those of a first run.
            folder_of_cache = str(Path(folder) / f"{path.stem}-cache")
            cache = {**os.environ, "JAX_COMPILATION_CACHE_DIR": folder_of_cache}
            command = [sys.executable, "-m", "jbn", "run", path, "--out", out]
            subprocess.run(command, check=True, env=cache, cwd=HERE.parents[1])
            (environment,) = read_parts(out)
            environment["command"] = f"jbn run configs/{path.parent.name}/{path.name}"
            results[path.stem] = {"environment": environment, "summary": read_summary(out)}
            if path.stem == "article_custom":
                found = largest_normalized_values(out, "batch_norm_hard")
                results[path.stem]["largest_normalized_values"] = found
            if path.stem == SHOWN:
                figure = draw_learning_curves(load_curves(out), ACCURACY, ink="black")
                figure.patch.set(visible=True, facecolor="white")
                (HERE / "learning_curves.svg").write_text(to_svg(figure))
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
