"""Every config in the repository runs, a short version of it."""

from pathlib import Path

import jax
import pytest
from rich.console import Console

from jbn.config import load_config
from jbn.progress import show_progress
from jbn.run import run

ROOT = Path(__file__).parents[1] / "configs"
# One epoch of few batches; handwritten digits in the place of larger images.
SHORT = ("num_seeds=1", "train.num_epochs=1", "train.batch_size=360", "data.name=digits")


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.toml")), ids=lambda path: path.stem)
def test_a_short_version_runs(path, tmp_path):
    config = load_config(path, SHORT)
    if config.sweep.axes:
        axes = {key: values[:2] for key, values in config.sweep.axes.items()}
        config = config.model_copy(update={"sweep": config.sweep.model_copy(update={"axes": axes})})
    with show_progress(Console(quiet=True)) as progress:
        summary = run(config, tmp_path / "run", jax.devices()[0], progress)
    for arm in summary["arms"].values():
        assert arm["num_diverged"] == 0
        assert 0 < arm["test_accuracy"]["mean"] < 1
