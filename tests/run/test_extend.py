"""A run that is extended is the longer run, bit for bit, and nothing of before is lost."""

import csv
import shutil
from typing import Any

import jax
import numpy as np
import optax
import pytest
from recorded import Recorder

from jbn import store
from jbn.config import UserError, config_from_dict
from jbn.data import load
from jbn.report.page import write_report
from jbn.report.results import load_results
from jbn.run import EpochEnded, run
from jbn.store.files import write_json
from jbn.trained import load_run

pytestmark = pytest.mark.usefixtures("programs_compiled_once")

TABLE: dict[str, Any] = {
    "name": "x",
    "seed": 5,
    "model": {"hidden_sizes": [4]},
    "arms": {"a": {}, "b": {"norm": {"kind": "none"}}},
    "sweep": {"max_lanes": 2},  # so that a seed has as many lanes beside it, extended or not
    "checkpoint": {"every_epochs": 1},
}


class Killed(BaseException):
    """What Ctrl-C is, or the power that fails."""


def config_of(num_seeds, num_epochs=1, **more):
    train = {"num_epochs": num_epochs, "batch_size": 240}
    return config_from_dict({**TABLE, "num_seeds": num_seeds, "train": train, **more})


def go(out, config, extend=False, sinks=()):
    """Trains; what was said, and which epochs were trained."""
    recorder = Recorder()
    run(config, out, device=jax.devices()[0], sinks=[recorder, *sinks], extend=extend)
    return recorder.said, [(event.group.number, event.epoch) for event in recorder.of(EpochEnded)]


def rows_of(out, table, but_for=("trial", "group", "part", "seconds")):
    """The rows by arm, seed and epoch, as texts, without what says how they were executed."""
    with (out / table).open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in but_for} for row in csv.DictReader(file)]
    return sorted(rows, key=lambda row: (row["arm"], int(row["seed"]), int(row.get("epoch", 0))))


def assert_same_run(out, whole):
    """Two finished runs have the same numbers, to the bit, though their trials' numbers differ."""
    config = store.read_config(whole)
    assert store.read_config(out) == config
    for table in ("metrics.csv", "trials.csv"):
        assert rows_of(out, table) == rows_of(whole, table)
    for arm in config.arms:
        for seed in range(config.seed, config.seed + config.num_seeds):
            a, b = (store.read_variables(folder, arm, seed) for folder in (out, whole))
            jax.tree.map(np.testing.assert_array_equal, a, b)
    results, wanted = load_results(out), load_results(whole)
    assert results.is_finished
    assert results.curves.keys() == wanted.curves.keys()
    for name, curve in wanted.curves.items():
        np.testing.assert_array_equal(results.curves[name], curve)
    for arm, of_arm in wanted.summary["arms"].items():
        found = results.summary["arms"][arm]
        assert found["test_loss"] == of_arm["test_loss"]
        assert found["epochs_to_target"] == of_arm["epochs_to_target"]
        assert found["num_trials"] == config.num_seeds
    assert store.read_norms(out) == store.read_norms(whole)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A finished run of two seeds and one epoch, whose last states are kept."""
    out = tmp_path_factory.mktemp("runs") / "short"
    go(out, config_of(2))
    write_report(out)
    return out


@pytest.fixture
def out(short, tmp_path):
    return shutil.copytree(short, tmp_path / "run")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of so many seeds and epochs, at once."""
    made = {}

    def make(*lengths):
        if lengths not in made:
            made[lengths] = tmp_path_factory.mktemp("runs") / "whole"
            go(made[lengths], config_of(*lengths))
        return made[lengths]

    return make


def test_more_seeds_twice_are_the_run_of_all_of_them(out, whole):
    before = {name: (out / name).read_text() for name in ("trials.csv", "metrics.csv")}
    said, epochs = go(out, config_of(4), extend=True)
    assert f"{out} is extended: num_seeds: 2 there, 4 in this config" in said
    assert epochs == [(2, 1), (3, 1)]  # groups of their own, after those that were there
    go(out, config_of(6), extend=True)
    assert_same_run(out, whole(6))
    for name, text in before.items():
        assert (out / name).read_text().startswith(text)
    trials = store.read_trials(out)
    assert trials["trial"].tolist() == list(range(12))
    assert trials["seed"].tolist() == [5, 6, 5, 6, 7, 8, 7, 8, 9, 10, 9, 10]
    assert trials["group"].tolist() == np.repeat(np.arange(6), 2).tolist()
    assert trials["part"].tolist() == np.repeat(np.arange(3), 4).tolist()
    x = load(store.read_config(out).arms["a"].data).test.x
    for seed in (5, 7, 10):
        predicted = [load_run(folder, seed=seed).predict(x) for folder in (out, whole(6))]
        np.testing.assert_array_equal(*predicted)


def test_more_epochs_go_on_from_the_end(out, whole):
    said, epochs = go(out, config_of(2, 3), extend=True)
    assert f"{out} is extended: train.num_epochs: 1 there, 3 in this config" in said
    assert epochs == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert_same_run(out, whole(2, 3))


def test_more_of_both_and_again(out, whole):
    go(out, config_of(4, 2), extend=True)
    _, epochs = go(out, config_of(6, 3), extend=True)
    assert epochs == [
        *((group, 3) for group in range(4)),
        *((g, e) for g in (4, 5) for e in (1, 2, 3)),
    ]
    assert_same_run(out, whole(6, 3))


def test_one_arm_may_become_longer(out, whole):
    arms = {"a": {}, "b": {**TABLE["arms"]["b"], "train": {"num_epochs": 3}}}
    said, epochs = go(out, config_of(2, 1, arms=arms), extend=True)
    assert f"{out} is extended: arms.b.train.num_epochs: 1 there, 3 in this config" in said
    assert epochs == [(1, 2), (1, 3)]
    metrics = rows_of(out, "metrics.csv")
    assert metrics == [
        *(
            row
            for row in rows_of(whole(2, 3), "metrics.csv")
            if row["arm"] == "b" or row["epoch"] == "1"
        )
    ]


def test_without_a_state_at_the_end_trainings_begin_again(out, whole):
    shutil.rmtree(out / "checkpoints" / "2")  # of the second arm
    said, epochs = go(out, config_of(2, 3), extend=True)
    assert epochs == [(0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    (line,) = (line for line in said if "begin again" in line)
    assert line.startswith("b: no state was kept at the end")
    assert_same_run(out, whole(2, 3))


@pytest.mark.parametrize(("killed_at", "extend_again"), [(1, True), (3, False), (5, True)])
def test_an_extension_that_is_killed_goes_on(out, short, whole, killed_at, extend_again):
    """By the same command, or without --extend; and until then nothing of before is lost."""
    left = iter(range(killed_at))

    def kill(event):
        if isinstance(event, EpochEnded) and next(left, None) == killed_at - 1:
            raise Killed

    with pytest.raises(Killed):
        go(out, config_of(4, 3), extend=True, sinks=[kill])
    assert not store.is_finished(out)
    assert store.read_config(out) == config_of(4, 3)
    results = load_results(out)
    assert results.is_done.shape == (2, 1, 4)
    assert "4 seeds" in write_report(out).read_text()
    assert_same_run(out / "earlier" / "1", short)
    assert (out / "earlier" / "1" / "report.html").exists()
    said, _ = go(out, config_of(4, 3), extend=extend_again)
    assert f"{out} holds a run of this config that was stopped; it goes on" in said
    assert_same_run(out, whole(4, 3))
    assert_same_run(out / "earlier" / "1", short)


@pytest.mark.parametrize("changed", [config_of(4), config_of(2, 3)])
def test_killed_while_it_begins_an_extension_begins_again(out, short, whole, monkeypatch, changed):
    def killed(path, content):
        if path.name == "run.json":
            raise Killed
        write_json(path, content)

    monkeypatch.setattr("jbn.store.folder.write_json", killed)
    with pytest.raises(Killed):
        go(out, changed, extend=True)
    monkeypatch.undo()
    assert store.read_config(out) == config_of(2)
    assert load_results(out).is_done.all()
    go(out, changed, extend=True)
    assert_same_run(out, whole(changed.num_seeds, changed.arms["a"].train.num_epochs))
    assert_same_run(out / "earlier" / "1", short)


def test_a_stopped_run_is_extended_too(tmp_path, whole):
    out = tmp_path / "run"

    def kill(event):
        if isinstance(event, EpochEnded) and event.group.number == 1:
            raise Killed

    with pytest.raises(Killed):
        go(out, config_of(2), sinks=[kill])
    go(out, config_of(4), extend=True)
    assert_same_run(out, whole(4))


def test_a_sweep_gets_more_seeds_and_then_more_epochs(tmp_path):
    """A sweep keeps no states: its trainings begin again."""
    sweep = {"optimizer": {"learning_rate": [0.001, 0.1]}}
    out, whole = tmp_path / "run", tmp_path / "whole"
    go(out, config_of(1, sweep=sweep, checkpoint={}))
    go(out, config_of(2, sweep=sweep, checkpoint={}), extend=True)
    said, epochs = go(out, config_of(2, 2, sweep=sweep, checkpoint={}), extend=True)
    assert [line.partition(":")[0] for line in said if "begin again" in line] == ["a, b"]
    assert epochs == [(group, epoch) for group in range(4) for epoch in (1, 2)]
    go(whole, config_of(2, 2, sweep=sweep, checkpoint={}))
    results, wanted = load_results(out), load_results(whole)
    for name, curve in wanted.curves.items():
        np.testing.assert_allclose(results.curves[name], curve, rtol=1e-4, atol=1e-5)
    for arm, of_arm in wanted.summary["arms"].items():
        assert results.summary["arms"][arm]["point"] == of_arm["point"]
    write_report(out)


def test_an_extended_run_that_is_done_makes_room_for_another(out, whole):
    go(out, config_of(4), extend=True)
    said, _ = go(out, config_of(4))
    assert f"{out} held an earlier run of this config; it is {out}.1 now" in said
    assert_same_run(out, whole(4))
    assert store.read_trials(out)["seed"].tolist() == [5, 6, 7, 8] * 2  # plain numbers again


def test_what_changes_no_result_may_change(out):
    changed = {"report": {"target": 0.3}, "on_divergence": "stop", "checkpoint": {"keep": 5}}
    go(out, config_of(3, 1, **changed, sweep={"max_lanes": 7}), extend=True)
    config = store.read_config(out)
    assert config.report.target == store.read_summary(out)["target"] == 0.3
    assert (config.on_divergence, config.checkpoint.keep) == ("stop", 5)
    assert config.sweep.max_lanes == 2  # it numbers the groups


def test_a_folder_without_a_run_begins_one(tmp_path):
    said, _ = go(tmp_path / "new", config_of(1), extend=True)
    assert f"{tmp_path / 'new'}: there is no run to extend; it begins" in said
    assert store.is_finished(tmp_path / "new")


def own_optimizer(learning_rate, num_steps):
    return optax.sgd(optax.linear_schedule(learning_rate, 0, num_steps))


REFUSED = [
    (config_of(2), "has all seeds and epochs of this config already; make num_seeds or"),
    (config_of(1), "can't be extended: num_seeds: 2 there, 1 in this config; --extend makes"),
    (
        config_of(4, 1, optimizer={"learning_rate": 0.1}),
        "can't be extended: num_seeds: 2 there, 4 in this config; optimizer.learning_rate: 0.001 "
        "there, 0.1 in this config; --extend makes num_seeds and train.num_epochs larger, and all",
    ),
    (
        config_of(2, 1, sweep={"train": {"num_epochs": [1, 2]}}),
        "can't be extended: sweep.train.num_epochs: nothing there, [1, 2] in this config; --extend",
    ),
]


@pytest.mark.parametrize(("changed", "words"), REFUSED)
def test_what_is_no_extension_is_refused_in_one_line(out, short, changed, words):
    with pytest.raises(UserError) as error:
        go(out, changed, extend=True)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert_same_run(out, short)
    assert not (out / "earlier").exists()


@pytest.mark.parametrize(
    ("optimizer", "key"),
    [
        ({"schedule": "cosine"}, "optimizer.schedule"),
        ({"schedule": "linear"}, "optimizer.schedule"),
        ({"factory": "run.test_extend:own_optimizer"}, "optimizer.factory"),
    ],
)
def test_more_epochs_of_a_schedule_that_ends_are_refused(tmp_path, optimizer, key):
    """The learning rate of its first epoch would have been another one."""
    arms = {"a": {}, "b": {"optimizer": optimizer}}
    part, metrics = {"data_sha256": {}}, {"shown": [], "higher_is_better": []}
    with store.opened(tmp_path / "run", config_of(1, arms=arms), part, metrics, {}):
        pass  # it is stopped at once
    words = f"can't be extended to more epochs: {key} of arm 'b' depends on their number"
    with pytest.raises(UserError, match=words):
        go(tmp_path / "run", config_of(1, 2, arms=arms), extend=True)
    assert store.read_config(tmp_path / "run") == config_of(1, arms=arms)


def test_an_arm_of_such_a_schedule_gets_more_seeds_and_another_one_more_epochs(tmp_path):
    arms = {"a": {}, "b": {"optimizer": {"schedule": "cosine"}}}
    go(tmp_path / "run", config_of(1, arms=arms))
    arms = {"a": {"train": {"num_epochs": 2}}, "b": {"optimizer": {"schedule": "cosine"}}}
    go(tmp_path / "run", config_of(2, 1, arms=arms), extend=True)
    assert store.read_summary(tmp_path / "run")["num_seeds"] == 2
