"""What a run leaves on disk, and that nothing there is lost."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jbn.checkpoint import load_arrays, read_config, variables_path
from jbn.config import UserError
from jbn.run import LOCK, prepare_folder

FILES = [
    *("config.json", "environment.json", "metrics.jsonl"),
    *("norms.json", "report.html", "summary.json"),
]


def test_a_run_leaves_these_files(small_run):
    assert sorted(path.name for path in small_run.iterdir() if path.is_file()) == FILES
    arrays = sorted(path.name for path in (small_run / "variables").iterdir())
    assert arrays == ["batch_norm.npz", "no_norm.npz"]


def test_metrics_have_a_line_per_epoch_seed_and_arm(small_run):
    rows = [json.loads(line) for line in (small_run / "metrics.jsonl").read_text().splitlines()]
    keys = [(row["arm"], row["epoch"], row["seed"]) for row in rows]
    assert keys == [(a, e, s) for a in ("batch_norm", "no_norm") for e in (1, 2) for s in (5, 6)]
    for row in rows:
        assert 0 < row["train_loss"] < 5
        assert 0 < row["gradient_norm"] < 50
        assert 0 <= row["val_accuracy"] <= 1
        assert set(row) == {
            *("arm", "epoch", "seed", "gradient_norm"),
            *("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
        }


def test_the_summary_holds_mean_and_deviation_over_seeds(small_run):
    summary = json.loads((small_run / "summary.json").read_text())
    for arm in summary["arms"].values():
        for key in ("test_accuracy", "test_loss"):
            values = arm[key]["per_seed"]
            np.testing.assert_allclose(arm[key]["mean"], np.mean(values))
            np.testing.assert_allclose(arm[key]["std"], np.std(values, ddof=1))
        assert arm["compile_seconds"] > 0
        assert arm["train_seconds"] > 0
    counts = [arm["num_parameters"] for arm in summary["arms"].values()]
    assert counts == [64 * 8 + 8 + 2 * 8 + 8 * 10 + 10, 64 * 8 + 8 + 8 * 10 + 10]


def test_the_environment_says_what_it_takes_to_run_it_again(small_run):
    environment = json.loads((small_run / "environment.json").read_text())
    assert {"jax", "flax", "optax", "jbn", "python"} <= set(environment["versions"])
    assert environment["device"] == "cpu, 4 devices"
    assert len(environment["data_sha256"]["digits"]) == 64
    assert {"git_commit", "command", "platform"} <= set(environment)


def test_the_arrays_have_an_axis_of_seeds(small_run):
    arrays = load_arrays(variables_path(small_run, "batch_norm"))
    assert arrays["params"]["Dense_0"]["kernel"].shape == (2, 64, 8)
    assert arrays["batch_stats"]["BatchNorm_0"]["mean"].shape == (2, 8)
    kernels = arrays["params"]["Dense_0"]["kernel"]
    assert not np.array_equal(kernels[0], kernels[1])


@pytest.fixture
def earlier_run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "small")


def test_an_earlier_run_of_the_same_config_is_moved_aside_whole(earlier_run):
    config = read_config(earlier_run)
    (earlier_run / "notes.txt").write_text("mine")
    moved = prepare_folder(earlier_run, config)
    assert moved.name == "small.1"
    assert (moved / "notes.txt").read_text() == "mine"
    assert set(FILES) <= {path.name for path in moved.iterdir()}
    assert [path.name for path in earlier_run.iterdir()] == [LOCK]
    (earlier_run / "config.json").write_text(config.model_dump_json())
    (earlier_run / LOCK).unlink()
    assert prepare_folder(earlier_run, config).name == "small.2"


def test_a_run_of_another_config_stays_and_is_an_error(earlier_run):
    config = read_config(earlier_run).model_copy(update={"seed": 9})
    with pytest.raises(UserError, match="holds a run of another config"):
        prepare_folder(earlier_run, config)
    assert set(FILES) <= {path.name for path in earlier_run.iterdir()}


def test_a_folder_with_other_files_stays_and_is_an_error(tmp_path, small_run):
    config = read_config(small_run)
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="found a folder with other files"):
        prepare_folder(tmp_path, config)
    with pytest.raises(UserError, match="found a file"):
        prepare_folder(tmp_path / "thesis.tex", config)
    with pytest.raises(UserError, match="can't be written to: Not a directory"):
        prepare_folder(tmp_path / "thesis.tex" / "run", config)
    assert (tmp_path / "thesis.tex").read_text() == "x"


def test_an_empty_folder_will_do_once(tmp_path, small_run):
    config = read_config(small_run)
    assert prepare_folder(tmp_path, config) is None
    (tmp_path / "config.json").write_text(config.model_dump_json())
    with pytest.raises(UserError, match="a run is going on there"):
        prepare_folder(tmp_path, config)


def test_a_folder_needs_a_name(monkeypatch, earlier_run):
    monkeypatch.chdir(earlier_run)
    with pytest.raises(UserError, match="wanted a folder with a name of its own"):
        prepare_folder(Path(), read_config(earlier_run))
