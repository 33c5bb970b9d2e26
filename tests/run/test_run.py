"""What a run leaves on disk, that a stopped one goes on, and that nothing there is lost."""

import csv
import errno
import importlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from recorded import Recorder, fake_compile

from jbn.checkpoint import load_arrays, load_run, read_config, variables_path
from jbn.config import DataConfig, UserError, config_from_dict
from jbn.data import load
from jbn.run import groups, run
from jbn.run.folder import FINISHED, LOCK, prepare_folder

run_module = importlib.import_module("jbn.run.run")  # as an attribute it is the function
FILES = [
    *("config.json", "environment.json", "norms.json", "report.html"),
    *("summary.json", "trials.csv", "trials.npz"),
]


def test_a_run_leaves_these_files(small_run):
    assert sorted(path.name for path in small_run.iterdir() if path.is_file()) == FILES
    arrays = [path.relative_to(small_run / "variables") for path in small_run.rglob("*/*.npz")]
    assert sorted(map(str, arrays)) == [
        *("batch_norm/5.npz", "batch_norm/6.npz", "no_norm/5.npz", "no_norm/6.npz")
    ]


def test_trials_have_a_row_each_and_curves_of_every_epoch(small_run):
    with (small_run / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    arms_and_seeds = itertools.product(["batch_norm", "no_norm"], ["5", "6"])
    assert [(row["arm"], row["seed"]) for row in rows] == list(arms_and_seeds)
    assert {row["diverged_step"] for row in rows} == {"-1"}
    curves = load_arrays(small_run / "trials.npz")
    for name in ("train_loss", "val_loss", "gradient_norm"):
        assert curves[name].shape == (4, 2)
        assert ((curves[name] > 0) & (curves[name] < 50)).all()
    for name in ("train_accuracy", "val_accuracy"):
        assert ((curves[name] >= 0) & (curves[name] <= 1)).all()
    ends = [float(row["val_accuracy"]) for row in rows]
    np.testing.assert_allclose(ends, curves["val_accuracy"][:, -1], rtol=1e-6)


def test_the_summary_holds_mean_and_deviation_over_seeds(small_run):
    summary = json.loads((small_run / "summary.json").read_text())
    for arm in summary["arms"].values():
        for key in ("test_accuracy", "test_loss", "val_accuracy"):
            values = arm[key]["per_seed"]
            np.testing.assert_allclose(arm[key]["mean"], np.mean(values))
            np.testing.assert_allclose(arm[key]["std"], np.std(values, ddof=1))
            # The mean of two values drawn with replacement is one of them in half of all draws.
            assert arm[key]["interval"] == sorted(values)
        assert arm["compile_seconds"] > 0
        assert arm["train_seconds"] > 0
        assert (arm["point"], arm["num_points"], arm["num_trials"]) == ({}, 1, 2)
    counts = [arm["num_parameters"] for arm in summary["arms"].values()]
    assert counts == [64 * 8 + 8 + 2 * 8 + 8 * 10 + 10, 64 * 8 + 8 + 8 * 10 + 10]


def test_the_environment_says_what_it_takes_to_run_it_again(small_run):
    environment = json.loads((small_run / "environment.json").read_text())
    assert {"jax", "flax", "optax", "jbn", "python"} <= set(environment["versions"])
    assert environment["device"] == "cpu, 4 devices"
    assert len(environment["data_sha256"]["digits"]) == 64
    assert {"git_commit", "command", "platform"} <= set(environment)


def test_every_seed_has_variables_of_its_own(small_run):
    five, six = (load_arrays(variables_path(small_run, "batch_norm", seed)) for seed in (5, 6))
    assert five["params"]["Dense_0"]["kernel"].shape == (64, 8)
    assert five["batch_stats"]["BatchNorm_0"]["mean"].shape == (8,)
    assert not np.array_equal(
        five["params"]["Dense_0"]["kernel"], six["params"]["Dense_0"]["kernel"]
    )


def test_a_run_of_ghost_norm_and_renorm_comes_back_from_disk(tmp_path):
    """Each seed has the variables that it was tested with, be they statistics or steps."""
    config = config_from_dict(
        {
            "name": "x",
            "num_seeds": 2,
            "model": {"hidden_sizes": [4]},
            "train": {"num_epochs": 1, "batch_size": 30},
            "arms": {
                "ghost": {"norm": {"kind": "ghost", "virtual_batch_size": 10}},
                "renorm": {
                    "norm": {"kind": "renorm", "num_plain_steps": 5, "momentum_warmup": True},
                    "train": {"recompute_stats": True},
                },
            },
        }
    )
    summary = run(config, tmp_path / "x", jax.devices()[0], Recorder())
    dataset = load(DataConfig())
    (x, y), num_steps = dataset.test, len(dataset.train.y) // 30
    for arm, of_arm in summary["arms"].items():
        for seed, tested in enumerate(of_arm["test_loss"]["per_seed"]):
            loaded = load_run(tmp_path / "x", arm=arm, seed=seed)
            loss = -np.log(loaded.predict(x)[np.arange(len(y)), y]).mean()
            np.testing.assert_allclose(loss, tested, rtol=1e-4)
            for stats in loaded.variables["batch_stats"].values():
                assert stats.get("step") == (num_steps if arm == "renorm" else None)
    norms = json.loads((tmp_path / "x" / "norms.json").read_text())
    assert [list(norms[arm]["layers"]) for arm in norms] == [
        ["GhostBatchNorm_0"],
        ["BatchRenorm_0"],
    ]


SWEPT: dict[str, Any] = {
    "name": "swept",
    "num_seeds": 2,
    "sweep": {
        "max_lanes": 3,
        "optimizer": {"learning_rate": [0.1, 0.2, 0.3]},
        "train": {"num_epochs": [2, 1]},
    },
    "arms": {"a": {}, "b": {"norm": {"kind": "none"}}},
}


RATES = {"optimizer": {"learning_rate": [0.1, 0.2]}}


class Stopped(BaseException):
    """What Ctrl-C is, or the power that fails."""


@pytest.fixture
def fake_programs(monkeypatch):
    """Nothing is compiled; returns the groups that were trained, and which one to stop before."""
    trained = []
    stop_before = {}

    def compile_sweep(program, dataset, num_lanes):
        sweep = fake_compile(program, dataset, num_lanes)

        def init(lanes):
            if len(trained) == stop_before.get("group"):
                raise Stopped("stopped")
            trained.append(program.arm)
            return sweep.init(lanes)

        return sweep._replace(init=init)

    monkeypatch.setattr(groups, "compile_sweep", compile_sweep)
    return trained, stop_before


def start(out, table=SWEPT):
    recorder = Recorder()
    summary = run(config_from_dict(table), out, jax.devices()[0], recorder)
    return summary, recorder


def test_a_sweep_is_said_first_and_has_every_trial(tmp_path, fake_programs):
    trained, _ = fake_programs
    _, recorder = start(tmp_path / "a")
    assert recorder.said[0] == "24 runs = 4 programs × 6 lanes"
    assert recorder.said[1] == "data: digits, scikit-learn"
    assert trained == ["a"] * 4 + ["b"] * 4
    assert recorder.begun[:2] == [
        "a train.num_epochs=2, 1 to 3 of 6",
        "a train.num_epochs=2, 4 to 6 of 6",
    ]
    with (tmp_path / "a" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(24))
    wanted = itertools.product("ab", ["0.1", "0.2", "0.3"], "21", "01")
    keys = ("arm", "optimizer.learning_rate", "train.num_epochs", "seed")
    assert [tuple(row[key] for key in keys) for row in rows] == list(wanted)
    # The fake loss is the seed and the number of the epoch: after the trial's own last epoch.
    assert all(
        float(row["val_loss"]) == int(row["seed"]) + int(row["train.num_epochs"]) for row in rows
    )
    curves = load_arrays(tmp_path / "a" / "trials.npz")
    assert np.isnan(curves["val_loss"][:, 1]).tolist() == [
        r["train.num_epochs"] == "1" for r in rows
    ]
    assert not (tmp_path / "a" / "variables").exists()


@pytest.mark.parametrize("stopped_before", [0, 1, 5, 7])
def test_a_stopped_sweep_goes_on_where_it_was(tmp_path, fake_programs, stopped_before):
    trained, stop_before = fake_programs
    start(tmp_path / "whole")
    trained.clear()
    stop_before["group"] = stopped_before
    with pytest.raises(Stopped):
        start(tmp_path / "halves")
    assert not (tmp_path / "halves" / LOCK).exists()
    stop_before.clear()
    _, recorder = start(tmp_path / "halves")
    assert len(trained) == 8
    assert f"{tmp_path / 'halves'} holds a run of this config that was stopped; it goes on" in (
        recorder.said
    )
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert (whole / "trials.csv").read_bytes() == (halves / "trials.csv").read_bytes()
    assert not (halves / FINISHED).exists()
    assert not (tmp_path / "halves.1").exists()


def test_the_best_point_is_that_of_the_highest_validation_accuracy(tmp_path, monkeypatch):
    def compile_sweep(program, dataset, num_lanes):
        sweep = fake_compile(program, dataset, num_lanes)

        def train_chunk(state, lanes):
            state, metrics = sweep.train_chunk(state, lanes)
            accuracy = 100 - (100 * np.abs(np.asarray(lanes.hypers.learning_rate) - 0.2)).astype(
                int
            )
            val = metrics.val._replace(correct=accuracy, count=np.full(num_lanes, 100))
            return state, metrics._replace(val=val)

        return sweep._replace(train_chunk=train_chunk)

    monkeypatch.setattr(groups, "compile_sweep", compile_sweep)
    summary, _ = start(tmp_path / "a")
    for arm in summary["arms"].values():
        assert arm["point"]["optimizer.learning_rate"] == 0.2
        assert (arm["num_points"], arm["num_trials"], arm["num_diverged"]) == (6, 12, 0)
        assert arm["val_accuracy"]["mean"] == 1
        assert arm["test_loss"]["per_seed"] == pytest.approx([0, 0.05])


@pytest.fixture
def earlier_run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "small")


def test_an_earlier_run_of_the_same_config_is_moved_aside_whole(earlier_run):
    config = read_config(earlier_run)
    (earlier_run / "notes.txt").write_text("mine")
    said = prepare_folder(earlier_run, config)
    moved = earlier_run.with_name("small.1")
    assert said == f"{earlier_run} held an earlier run of this config; it is {moved} now"
    assert (moved / "notes.txt").read_text() == "mine"
    assert set(FILES) <= {path.name for path in moved.iterdir()}
    assert sorted(path.name for path in earlier_run.iterdir()) == [FINISHED, LOCK]
    (earlier_run / "config.json").write_text(config.model_dump_json())
    (earlier_run / LOCK).unlink()
    (earlier_run / FINISHED).rmdir()
    assert prepare_folder(earlier_run, config).endswith("small.2 now")


def test_a_run_of_another_config_stays_and_is_an_error(earlier_run):
    config = read_config(earlier_run).model_copy(update={"seed": 9})
    with pytest.raises(UserError, match="holds a run of another config"):
        prepare_folder(earlier_run, config)
    assert set(FILES) <= {path.name for path in earlier_run.iterdir()}


def test_a_run_with_its_arms_or_axes_in_another_order_is_another(tmp_path, fake_programs):
    """Trials are numbered in that order."""
    _, stop_before = fake_programs
    stop_before["group"] = 1
    with pytest.raises(Stopped):
        start(tmp_path / "a")
    turned = {**SWEPT, "arms": dict(reversed(SWEPT["arms"].items()))}
    with pytest.raises(UserError, match="holds a run of another config"):
        start(tmp_path / "a", turned)
    fewer = {**SWEPT, "sweep": {**SWEPT["sweep"], "max_lanes": 2}}
    stop_before.clear()
    assert start(tmp_path / "a", fewer)[1].said[2].endswith("was stopped; it goes on")


def test_a_stopped_run_does_not_go_on_with_other_data(tmp_path, fake_programs):
    _, stop_before = fake_programs
    rng = np.random.default_rng(0)
    data = {"name": "npz", "path": str(tmp_path / "x.npz")}
    table = {"name": "x", "num_seeds": 2, "data": data, "sweep": {"max_lanes": 1, **RATES}}
    stop_before["group"] = 1
    for number in range(2):
        x = rng.normal(size=(40, 3)).astype(np.float32)
        np.savez(data["path"], x=x, y=np.arange(40) % 2)
        error = [Stopped, UserError][number]
        with pytest.raises(error, match=["^stopped$", "a part of a run with other data"][number]):
            start(tmp_path / "a", {**table, "train": {"batch_size": 8}})
    assert not (tmp_path / "a" / LOCK).exists()


def test_a_run_stopped_before_it_began_begins(tmp_path, small_run):
    config = read_config(small_run)
    prepare_folder(tmp_path / "a", config)
    (tmp_path / "a" / LOCK).unlink()
    assert prepare_folder(tmp_path / "a", config) is None


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


def test_the_lock_of_a_process_that_was_killed_is_no_lock(tmp_path, small_run):
    config = read_config(small_run)
    prepare_folder(tmp_path, config)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    host = (tmp_path / LOCK).read_text().split()[0]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / LOCK).write_text(f"{host} {gone.pid}")
    assert prepare_folder(tmp_path, config).endswith("was stopped; it goes on")
    assert (tmp_path / LOCK).read_text().startswith(f"{host} {os.getpid()} ")
    (tmp_path / LOCK).write_text(f"{host} {os.getpid()} of-before-the-machine-began-anew")
    assert prepare_folder(tmp_path, config).endswith("was stopped; it goes on")
    (tmp_path / LOCK).write_text(f"elsewhere {gone.pid}")  # nobody here knows
    with pytest.raises(UserError, match="a run is going on there"):
        prepare_folder(tmp_path, config)


def test_a_folder_needs_a_name(monkeypatch, earlier_run):
    monkeypatch.chdir(earlier_run)
    with pytest.raises(UserError, match="wanted a folder with a name of its own"):
        prepare_folder(Path(), read_config(earlier_run))


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path, fake_programs, monkeypatch):
    trained, _ = fake_programs
    save = run_module.save_group
    left = iter([save, save])

    def save_until_full(*arguments):
        next(left, full)(*arguments)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_module, "save_group", save_until_full)
    with pytest.raises(UserError, match=r"can't be written: No space left on device; .* goes on"):
        start(tmp_path / "a")
    monkeypatch.setattr(run_module, "save_group", save)
    del trained[:]
    start(tmp_path / "a")
    assert len(trained) == 8 - 2


def test_classes_without_examples_are_said(tmp_path):
    rows = "".join(f"{n},{150 * (n % 2)}\n" for n in range(400))
    (tmp_path / "gaps.csv").write_text(rows)
    data = DataConfig(name="csv", path=str(tmp_path / "gaps.csv"))
    said = run_module._describe(data, load(data))
    assert said.endswith(
        "labels go to 150, which makes 151 classes, 149 of them without an example"
    )


def test_the_offset_of_the_inputs_is_kept_with_the_variables(tmp_path):
    np.savez(tmp_path / "a.npz", x=1.7e12 + np.arange(80.0).reshape(40, 2), y=np.arange(40) % 2)
    dataset = load(DataConfig(name="npz", path=str(tmp_path / "a.npz")))
    run_module._save_variables(tmp_path, "a", 0, {}, dataset)
    kept = load_arrays(variables_path(tmp_path, "a", 0))["inputs"]["offset"]
    np.testing.assert_array_equal(kept, dataset.input_offset)
    assert kept.dtype == np.float64
