"""What a run leaves on disk, that a stopped one goes on, and that nothing there is lost."""

import csv
import errno
import itertools
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from recorded import Recorder, fake_compile

from jbn import store
from jbn.config import DataConfig, UserError, config_from_dict
from jbn.data import load
from jbn.run import EpochEnded, TrialsEnded, run
from jbn.run import compiler as compiling
from jbn.run.describe import describe_data
from jbn.store.table import append_rows
from jbn.trained import load_run

pytestmark = pytest.mark.usefixtures("programs_compiled_once")


def test_a_run_leaves_these_files(small_run):
    files = sorted(str(path.relative_to(small_run)) for path in small_run.rglob("*.*"))
    assert files == [
        *("config.json", "groups.csv", "metrics.csv", "norms.json", "report.html", "run.json"),
        *("summary.json", "trials.csv"),
        *("variables/batch_norm/5.npz", "variables/batch_norm/6.npz"),
        *("variables/no_norm/5.npz", "variables/no_norm/6.npz"),
    ]


def test_trials_have_a_row_each_and_metrics_one_for_every_epoch(small_run):
    trials, metrics = store.read_trials(small_run), store.read_metrics(small_run)
    arms_and_seeds = list(itertools.product(["batch_norm", "no_norm"], [5, 6]))
    assert list(zip(trials["arm"].tolist(), trials["seed"].tolist(), strict=True)) == arms_and_seeds
    assert set(trials["diverged_step"]) == {-1}
    assert metrics["trial"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert metrics["epoch"].tolist() == [1, 2] * 4
    for name in ("train_loss", "val_loss", "gradient_norm"):
        assert ((metrics[name] > 0) & (metrics[name] < 50)).all()
    for name in ("train_accuracy", "val_accuracy"):
        assert ((metrics[name] >= 0) & (metrics[name] <= 1)).all()
    np.testing.assert_array_equal(trials["val_accuracy"], metrics["val_accuracy"][1::2])
    np.testing.assert_array_equal(trials["val_loss"], metrics["val_loss"][1::2])


def test_the_summary_holds_mean_and_deviation_over_seeds(small_run):
    for arm in store.read_summary(small_run)["arms"].values():
        for key in ("test_accuracy", "test_loss", "val_accuracy"):
            values = arm[key]["per_seed"]
            np.testing.assert_allclose(arm[key]["mean"], np.mean(values))
            np.testing.assert_allclose(arm[key]["std"], np.std(values, ddof=1))
            # The mean of two values drawn with replacement is one of them in half of all draws.
            assert arm[key]["interval"] == pytest.approx(sorted(values))
        assert arm["compile_seconds"] > 0
        assert arm["train_seconds"] > 0
        assert (arm["point"], arm["num_points"], arm["num_trials"]) == ({}, 1, 2)
    arms = store.read_summary(small_run)["arms"].values()
    counts = [arm["num_parameters"] for arm in arms]
    assert counts == [64 * 8 + 8 + 2 * 8 + 8 * 10 + 10, 64 * 8 + 8 + 8 * 10 + 10]


def test_the_part_says_what_it_takes_to_run_it_again(small_run):
    (part,) = store.read_parts(small_run)
    assert {"jax", "flax", "optax", "jbn", "python"} <= set(part["versions"])
    assert part["device"] == "cpu, 4 devices"
    assert len(part["data_sha256"]["digits"]) == 64
    assert {"git_commit", "command", "platform", "began"} <= set(part)


def test_every_seed_has_variables_of_its_own(small_run):
    five, six = (store.read_variables(small_run, "batch_norm", seed) for seed in (5, 6))
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
    summary = run(config, str(tmp_path / "x"), device=jax.devices()[0])
    dataset = load(DataConfig())
    (x, y), num_steps = dataset.test, len(dataset.train.y) // 30
    for arm, of_arm in summary["arms"].items():
        for seed, tested in enumerate(of_arm["test_loss"]["per_seed"]):
            loaded = load_run(tmp_path / "x", arm=arm, seed=seed)
            loss = -np.log(loaded.predict(x)[np.arange(len(y)), y]).mean()
            np.testing.assert_allclose(loss, tested, rtol=1e-4)
            for stats in loaded.variables["batch_stats"].values():
                assert stats.get("step") == (num_steps if arm == "renorm" else None)
    norms = store.read_norms(tmp_path / "x")
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
    """Nothing is compiled; returns the arms of the turns that were trained, and when to stop.

    That is a turn, and an epoch of it: before the first epoch, or after the epoch of that number.
    """
    trained = []
    stop_at = {}

    def compile_program(task, program, dataset, num_lanes, devices, build):
        compiled = fake_compile(task, program, dataset, num_lanes, devices, build)

        def stop_after(epoch):
            if (len(trained) - 1, epoch) == stop_at.get("turn"):
                raise Stopped("stopped")

        def init(lanes):
            trained.append(program.arm)
            stop_after(0)
            return compiled.init(lanes)

        def run_epoch(state, lanes, steps):
            stop_after(state["epoch"][0])
            return compiled.run_epoch(state, lanes, steps)

        return compiled._replace(init=init, run_epoch=run_epoch)

    monkeypatch.setattr(compiling, "compile_program", compile_program)
    return trained, stop_at


def start(out, table=SWEPT):
    recorder = Recorder()
    config = config_from_dict(table)
    summary = run(config, out, device=jax.devices()[0], sinks=[recorder], command="jbn run x.toml")
    return summary, recorder


def test_a_sweep_is_said_first_and_has_every_trial(tmp_path, fake_programs):
    trained, _ = fake_programs
    out = tmp_path / "a"
    _, recorder = start(out)
    assert recorder.said == ["24 trials = 4 programs × 6 lanes", "data: digits, scikit-learn"]
    assert trained == ["a"] * 4 + ["b"] * 4
    assert recorder.turns[:2] == [[0, 1, 4], [5, 8, 9]]  # of 2 epochs: the others are of 1
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(24))
    wanted = itertools.product("ab", ["0.1", "0.2", "0.3"], "21", "01")
    keys = ("arm", "optimizer.learning_rate", "train.num_epochs", "seed")
    assert [tuple(row[key] for key in keys) for row in rows] == list(wanted)
    # The fake loss is the seed and the number of the epoch: after the trial's own last epoch.
    assert all(
        float(row["val_loss"]) == int(row["seed"]) + int(row["train.num_epochs"]) for row in rows
    )
    with (out / "metrics.csv").open() as file:
        epochs = list(csv.DictReader(file))
    assert [(row["trial"], row["epoch"]) for row in epochs] == [
        (row["trial"], str(epoch))
        for row in rows
        for epoch in range(1, int(row["train.num_epochs"]) + 1)
    ]
    assert all(float(row["train_loss"]) == int(row["seed"]) + int(row["epoch"]) for row in epochs)
    assert not (out / "variables").exists()


def but_for(names, path):
    """The table's text without these columns."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [[value for name, value in row.items() if name not in names] for row in rows]


@pytest.mark.parametrize("stopped_at", [(0, 0), (0, 1), (1, 0), (1, 1), (5, 0), (7, 0)])
def test_a_stopped_sweep_goes_on_where_it_was(tmp_path, fake_programs, stopped_at):
    trained, stop_at = fake_programs
    start(tmp_path / "whole")
    trained.clear()
    stop_at["turn"] = stopped_at
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    with pytest.raises(Stopped):
        start(halves)
    assert not (halves / "running").exists()
    assert not store.is_finished(halves)
    stop_at.clear()
    _, recorder = start(halves)
    assert len(trained) == 8 + 1  # the turn that was stopped, once more
    assert f"{halves} holds a run of this config that was stopped; it goes on" in recorder.said
    assert (whole / "metrics.csv").read_bytes() == (halves / "metrics.csv").read_bytes()
    of_part = ("seconds", "part")
    assert but_for(of_part, whole / "trials.csv") == but_for(of_part, halves / "trials.csv")
    assert [part["command"] for part in store.read_parts(halves)] == ["jbn run x.toml"] * 2
    assert not (tmp_path / "halves.1").exists()


@pytest.mark.parametrize("num_epochs_before", [1, 3])
def test_a_stopped_run_comes_to_the_same_bits(tmp_path, num_epochs_before):
    """Trained in earnest: it is stopped in its first turn's first epoch, or its second's."""
    config = config_from_dict(
        {
            "name": "x",
            "num_seeds": 3,
            "model": {"hidden_sizes": [4]},
            "train": {"num_epochs": 2, "batch_size": 240},
            "sweep": {"max_lanes": 2},
        }
    )
    epochs = []

    def stop(event):
        if isinstance(event, EpochEnded):
            epochs.append(event.epoch)
            if len(epochs) == num_epochs_before:
                raise Stopped("stopped")

    whole, halves = tmp_path / "whole", tmp_path / "halves"
    run(config, whole, device=jax.devices()[0])
    with pytest.raises(Stopped):
        run(config, halves, device=jax.devices()[0], sinks=[stop])
    run(config, halves, device=jax.devices()[0])
    assert (whole / "metrics.csv").read_bytes() == (halves / "metrics.csv").read_bytes()
    for seed in range(3):
        a, b = (store.read_variables(out, "batch", seed) for out in (whole, halves))
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_groups_are_those_of_the_config_that_the_run_began_with(tmp_path, fake_programs):
    """7 trials at most 3 at a time are 3, 3 and 1, whenever the run was stopped."""
    _, stop_at = fake_programs
    table = {"name": "x", "num_seeds": 7, "sweep": {"max_lanes": 3}, "train": {"num_epochs": 1}}
    stop_at["turn"] = (1, 0)
    with pytest.raises(Stopped):
        start(tmp_path / "a", table)
    _, recorder = start(tmp_path / "a", {**table, "sweep": {"max_lanes": 7}})
    assert recorder.turns == [[3, 4, 5], [6]]
    assert store.read_config(tmp_path / "a").sweep.max_lanes == 3
    trials = store.read_trials(tmp_path / "a")
    assert trials["group"].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert trials["part"].tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_lanes_halved_once_are_so_in_every_part(tmp_path, monkeypatch):
    """And what a turn that didn't fit has left in the tables is gone."""
    memory = {"lanes": 2, "turns": 2}

    def compile_program(task, program, dataset, num_lanes, devices, build):
        compiled = fake_compile(task, program, dataset, num_lanes, devices, build)

        def finish(state, lanes):
            if num_lanes > memory["lanes"]:
                raise MemoryError
            if not memory["turns"]:
                raise Stopped("stopped")
            memory["turns"] -= 1
            return compiled.finish(state, lanes)

        return compiled._replace(finish=finish)

    monkeypatch.setattr(compiling, "compile_program", compile_program)
    table = {"name": "x", "num_seeds": 8, "train": {"num_epochs": 2}}
    with pytest.raises(Stopped):
        start(tmp_path / "a", table)
    memory |= {"lanes": 8, "turns": 8}
    _, recorder = start(tmp_path / "a", table)
    assert recorder.turns == [[4, 5], [6, 7]]
    metrics = store.read_metrics(tmp_path / "a")
    assert metrics["trial"].tolist() == np.repeat(np.arange(8), 2).tolist()
    assert metrics["epoch"].tolist() == [1, 2] * 8


def test_a_watcher_changes_nothing(tmp_path, fake_programs):
    start(tmp_path / "watched")
    run(config_from_dict(SWEPT), tmp_path / "alone", device=jax.devices()[0])
    for name, columns in (("metrics.csv", ()), ("trials.csv", ("seconds",))):
        watched, alone = (but_for(columns, tmp_path / run / name) for run in ("watched", "alone"))
        assert watched == alone


def test_a_new_metric_is_in_the_tables_without_a_word(tmp_path, monkeypatch):
    """What `jbn.train` measures has its names there, and nowhere else."""

    def compile_program(task, program, dataset, num_lanes, devices, build):
        compiled = fake_compile(task, program, dataset, num_lanes, devices, build)

        def run_epoch(state, lanes, steps):
            (part,) = compiled.run_epoch(state, lanes, steps)
            cosine = {**part.metrics.train, "cosine": np.full(num_lanes, 1 / 3, np.float32)}
            yield part._replace(metrics=part.metrics._replace(train=cosine))

        return compiled._replace(run_epoch=run_epoch)

    monkeypatch.setattr(compiling, "compile_program", compile_program)
    start(tmp_path / "a", {"name": "x", "num_seeds": 2, "train": {"num_epochs": 1}})
    column = store.read_metrics(tmp_path / "a")["train_cosine"]
    np.testing.assert_array_equal(column.astype(np.float32), np.full(2, 1 / 3, np.float32))


def test_the_best_point_is_that_of_the_highest_validation_accuracy(tmp_path, monkeypatch):
    def compile_program(task, program, dataset, num_lanes, devices, build):
        compiled = fake_compile(task, program, dataset, num_lanes, devices, build)

        def run_epoch(state, lanes, steps):
            (part,) = compiled.run_epoch(state, lanes, steps)
            accuracy = 1 - np.abs(np.asarray(lanes.hypers.learning_rate) - 0.2)
            val = {**part.metrics.val, "accuracy": accuracy}
            yield part._replace(metrics=part.metrics._replace(val=val))

        return compiled._replace(run_epoch=run_epoch)

    monkeypatch.setattr(compiling, "compile_program", compile_program)
    summary, _ = start(tmp_path / "a")
    for arm in summary["arms"].values():
        assert arm["point"]["optimizer.learning_rate"] == 0.2
        assert (arm["num_points"], arm["num_trials"], arm["num_diverged"]) == (6, 12, 0)
        assert arm["val_accuracy"]["mean"] == 1
        assert arm["test_loss"]["per_seed"] == pytest.approx([0, 0.05])


def test_a_run_with_its_arms_or_axes_in_another_order_is_another(tmp_path, fake_programs):
    """Trials are numbered in that order."""
    _, stop_at = fake_programs
    stop_at["turn"] = (1, 0)
    with pytest.raises(Stopped):
        start(tmp_path / "a")
    turned = {**SWEPT, "arms": dict(reversed(SWEPT["arms"].items()))}
    with pytest.raises(UserError, match="holds a run of another config"):
        start(tmp_path / "a", turned)
    fewer = {**SWEPT, "sweep": {**SWEPT["sweep"], "max_lanes": 2}}
    stop_at.clear()
    assert start(tmp_path / "a", fewer)[1].said[2].endswith("was stopped; it goes on")


def test_a_stopped_run_does_not_go_on_with_other_data(tmp_path, fake_programs):
    _, stop_at = fake_programs
    rng = np.random.default_rng(0)
    data = {"name": "npz", "path": str(tmp_path / "x.npz")}
    table = {"name": "x", "num_seeds": 2, "data": data, "sweep": {"max_lanes": 1, **RATES}}
    stop_at["turn"] = (1, 0)
    for number in range(2):
        x = rng.normal(size=(40, 3)).astype(np.float32)
        np.savez(data["path"], x=x, y=np.arange(40) % 2)
        error = [Stopped, UserError][number]
        with pytest.raises(error, match=["^stopped$", "a part of a run with other data"][number]):
            start(tmp_path / "a", {**table, "train": {"batch_size": 8}})
    assert not (tmp_path / "a" / "running").exists()


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path, fake_programs, monkeypatch):
    trained, _ = fake_programs
    left = [None, None]

    def append_until_full(path, rows):
        if path.name == "trials.csv":
            if not left:
                raise OSError(errno.ENOSPC, "No space left on device")
            left.pop()
        append_rows(path, rows)

    monkeypatch.setattr("jbn.store.folder.append_rows", append_until_full)
    with pytest.raises(UserError, match=r"can't be written: No space left on device; .* goes on"):
        start(tmp_path / "a")
    monkeypatch.setattr("jbn.store.folder.append_rows", append_rows)
    del trained[:]
    start(tmp_path / "a")
    assert len(trained) == 8 - 2


def test_classes_without_examples_are_said(tmp_path):
    rows = "".join(f"{n},{150 * (n % 2)}\n" for n in range(400))
    (tmp_path / "gaps.csv").write_text(rows)
    data = DataConfig(name="csv", path=str(tmp_path / "gaps.csv"))
    said = describe_data(data, load(data))
    assert said.endswith(
        "labels go to 150, which makes 151 classes, 149 of them without an example"
    )


def test_the_offset_of_the_inputs_is_kept_with_the_variables(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "compile_program", fake_compile)
    path = str(tmp_path / "a.npz")
    np.savez(path, x=1.7e12 + np.arange(80.0).reshape(40, 2), y=np.arange(40) % 2)
    data = {"name": "npz", "path": path}
    start(tmp_path / "a", {"name": "x", "num_seeds": 1, "data": data, "train": {"batch_size": 8}})
    kept = store.read_variables(tmp_path / "a", "batch", 0)["inputs"]["offset"]
    np.testing.assert_array_equal(kept, load(DataConfig(**data)).input_offset)
    assert kept.dtype == np.float64


def test_a_model_with_dropout_and_a_collection_of_its_own_runs_and_comes_back(tmp_path):
    config = config_from_dict(
        {
            "name": "x",
            "num_seeds": 2,
            "model": {"factory": "train.test_training_laws:WithMore"},
            "train": {"num_epochs": 1, "batch_size": 100, "recompute_stats": True},
        }
    )
    summary = run(config, tmp_path / "x", device=jax.devices()[0])
    dataset = load(DataConfig())
    x, y = dataset.test
    (arm,) = summary["arms"].values()
    for seed, tested in enumerate(arm["test_loss"]["per_seed"]):
        loaded = load_run(tmp_path / "x", seed=seed)
        assert loaded.variables["counts"]["calls"] == 15  # 14 batches of 100, and one of 40
        loss = -np.log(loaded.predict(x)[np.arange(len(y)), y]).mean()
        np.testing.assert_allclose(loss, tested, rtol=1e-4)


def test_what_the_statistics_say_is_of_the_arms_own_numbers(tmp_path):
    """Beside an epsilon of a million no deviation is another than any other."""
    table = {"name": "x", "num_seeds": 1, "model": {"hidden_sizes": [4]}}
    table |= {"train": {"num_epochs": 1, "batch_size": 480}, "norm": {"epsilon": 1e6}}
    run(config_from_dict(table), tmp_path / "x", device=jax.devices()[0])
    (layer,) = store.read_norms(tmp_path / "x")["batch"]["layers"].values()
    np.testing.assert_allclose(layer["std_ratio"], 1, atol=1e-3)


class OwnStatistics(nn.Module):
    """`batch_stats` that no batch normalization keeps; or another collection."""

    num_outputs: int
    norm: object
    collection: str = "batch_stats"

    @nn.compact
    def __call__(self, x, train):
        x = x.reshape(len(x), -1)
        mean = self.variable(self.collection, "mean", lambda: jnp.zeros(x.shape[-1]))
        return nn.Dense(self.num_outputs)(x - mean.value)


def make_inputs(num_outputs, norm):
    return OwnStatistics(num_outputs, norm, "inputs")


def test_a_model_whose_statistics_are_its_own_has_nothing_said_of_them(tmp_path):
    model = {"factory": "run.test_run:OwnStatistics"}
    table = {"name": "x", "num_seeds": 1, "model": model, "train": {"num_epochs": 1}}
    run(config_from_dict(table), tmp_path / "x", device=jax.devices()[0])
    assert store.read_norms(tmp_path / "x") == {}


def test_a_collection_that_is_called_as_jbns_own_is_an_error(tmp_path):
    table = {"name": "x", "model": {"factory": "run.test_run:make_inputs"}}
    with pytest.raises(UserError, match="found a collection named 'inputs'"):
        run(config_from_dict(table), tmp_path / "x", device=jax.devices()[0])
    assert not (tmp_path / "x").exists()


def test_a_trial_alone_trains_on_the_device_that_is_named(tmp_path):
    devices = []

    def watch(event):
        if isinstance(event, TrialsEnded):
            devices.append(jax.tree.leaves(event.variables)[0].devices())

    table = {"name": "x", "num_seeds": 1, "train": {"num_epochs": 1, "batch_size": 480}}
    run(config_from_dict(table), tmp_path / "x", device=jax.devices()[2], sinks=[watch])
    assert devices == [{jax.devices()[2]}]


def test_what_a_sink_raises_is_not_the_folders(tmp_path, fake_programs):
    def watch(event):
        raise ConnectionError("the server is down")

    with pytest.raises(ConnectionError, match="the server is down"):
        run(config_from_dict(SWEPT), tmp_path / "x", device=jax.devices()[0], sinks=[watch])


def test_a_trial_that_is_not_done_is_not_loaded(tmp_path, small_run):
    stopped = shutil.copytree(small_run, tmp_path / "stopped")
    path = stopped / "trials.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    load_run(stopped, arm="no_norm", seed=5)
    with pytest.raises(UserError, match="the trial of arm 'no_norm' and seed 6 isn't done"):
        load_run(stopped, arm="no_norm", seed=6)
