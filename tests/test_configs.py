"""Every config in the repository runs, a short version of it."""

from pathlib import Path

import jax
import pytest

from jbn.config import load_config
from jbn.data import load
from jbn.run import run
from jbn.train import check_task, make_task

ROOT = Path(__file__).parents[1] / "configs"
# One epoch of few batches; handwritten digits in the place of larger images.
SHORT = ("num_seeds=1", "train.num_epochs=1", "train.batch_size=160")


PATHS = sorted(ROOT.rglob("*.toml"))


def short(path):
    """The config with at most two values of each swept key."""
    digits = ["data.name=digits"] if path.parent.name == "mnist" else []
    config = load_config(path, [*SHORT, *digits])
    axes = {key: values[:2] for key, values in config.sweep.axes.items()}
    return config.model_copy(update={"sweep": config.sweep.model_copy(update={"axes": axes})})


def kinds(arm):
    """What chooses the code that an arm runs."""
    return arm.model.kind, arm.norm.kind, arm.optimizer.kind, str(arm.own_functions)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_short_version_runs(path, tmp_path, monkeypatch):
    """Of arms of the same kinds, in this config or an earlier one, the first is run."""
    monkeypatch.chdir(ROOT.parent)  # as the configs are run
    monkeypatch.syspath_prepend(path.parent)  # as the command does
    config, seen = short(path), set()
    for earlier in PATHS[: PATHS.index(path)]:
        seen |= set(map(kinds, short(earlier).arms.values()))
    arms = {}
    for name, arm in config.arms.items():
        if kinds(arm) not in seen or not arms:
            arms[name] = arm
        else:
            check_task(make_task(arm, load(arm.data).spec))
        seen.add(kinds(arm))
    config = config.model_copy(update={"arms": arms})
    summary = run(config, tmp_path / "run", device=jax.devices()[0])
    assert list(summary["arms"]) == list(arms)
    for arm in summary["arms"].values():
        assert arm["num_diverged"] == 0
        assert 0 < arm["test_loss"]["mean"] < 100
