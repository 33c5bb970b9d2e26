"""A run that processes share comes to the run of one process, whoever dies and whoever merges."""

import functools
import importlib
import itertools
import json
import shutil

import jax
import numpy as np
import pytest
from recorded import Recorder, fake_compile

from jbn import store
from jbn.config import Share, UserError, config_from_dict
from jbn.run import EpochEnded, run, run_merged, run_share, run_whole
from jbn.run import compiler as compiling
from jbn.store.lock import Lock

merge_module = importlib.import_module("jbn.store.merge")  # as an attribute it is the function

TABLE = {
    "name": "swept",
    "num_seeds": 2,
    "sweep": {
        "max_lanes": 3,
        "optimizer": {"learning_rate": [0.1, 0.2, 0.3]},
        "train": {"num_epochs": [2, 1]},
    },
    "arms": {"a": {}, "b": {"norm": {"kind": "none"}}},
}  # 24 trials in 8 groups
EXTENSION = {"part": 0, "num_seeds": 6, "num_epochs": {"batch": 1}}
SEEDS = {"name": "seeds", "num_seeds": 5, "sweep": {"max_lanes": 2}, "train": {"num_epochs": 1}}


class Stopped(BaseException):
    """What Ctrl-C is."""


@pytest.fixture(autouse=True)
def fake_programs(monkeypatch):
    monkeypatch.setattr(compiling, "compile_program", fake_compile)


def options(command="", sinks=()):
    recorder = Recorder()
    return recorder, {"device": jax.devices()[0], "sinks": [recorder, *sinks], "command": command}


def train(out, share=None, table=TABLE, sinks=()):
    """The share of the run, or all that is left; returns the summary and what was said and done."""
    command = f"jbn run --part {share}" if share else "jbn run"
    recorder, others = options(command, sinks)
    config = config_from_dict(table)
    if share is None:
        return run_whole(config, out, **others), recorder
    return run_share(config, out, Share(*share), **others), recorder


def merge(out, *folders):
    recorder, others = options("jbn merge")
    return run_merged(out, folders, **others), recorder


def trained(recorder):
    """The numbers of the trials that were trained."""
    return [number for turn in recorder.turns for number in turn]


def stop_in_last_epoch(event):
    if isinstance(event, EpochEnded) and event.epoch == event.num_epochs:
        raise Stopped


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of the same run, trained by one process."""
    out = tmp_path_factory.mktemp("runs") / "swept"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "compile_program", fake_compile)
        run(config_from_dict(TABLE), out, **options()[1])
    return out


def rows(path, but=("part", "seconds", "compile_seconds")):
    header, *lines = [line.split(",") for line in path.read_text().splitlines()]
    kept = [place for place, name in enumerate(header) if name not in but]
    return [[line[place] for place in kept] for line in (header, *lines)]


def assert_same_run(out, whole):
    assert (out / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert rows(out / "trials.csv") == rows(whole / "trials.csv")
    ours, theirs = (store.read_groups(folder) for folder in (out, whole))
    for name in ("group", "trial", "num_lanes"):  # a part that was stopped has a group once more
        assert set(ours[name].tolist()) == set(theirs[name].tolist())
    of_run, of_whole = store.read_summary(out), store.read_summary(whole)
    for summary in (of_run, of_whole):
        for arm in summary["arms"].values():
            del arm["train_seconds"], arm["compile_seconds"]
    assert of_run == of_whole


def bytes_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parts_on_one_disk_become_one_run_when_the_last_one_ends(tmp_path, whole):
    out = tmp_path / "a"
    numbers = []
    for number in (2, 1, 3):
        assert not store.is_finished(out)
        summary, recorder = train(out, (number, 3))
        numbers += trained(recorder)
        assert bool(summary) == (number == 3)
    assert sorted(numbers) == list(range(24))
    assert_same_run(out, whole)
    assert summary == store.read_summary(out)
    parts = store.read_parts(out)
    commands = [f"jbn run --part {(number, 3)}" for number in (1, 2, 3, 3)]
    assert [part["command"] for part in parts] == commands
    trials = store.read_trials(out)
    for number in range(3):
        share = store.read_trials(store.share_path(out, Share(number + 1, 3)))
        assert set(trials["trial"][trials["part"] == number]) == set(share["trial"])


def test_parts_of_machines_that_share_nothing_are_merged(tmp_path, whole):
    for number in (1, 2, 3):
        summary, recorder = train(tmp_path / f"machine-{number}" / "a", (number, 3))
        assert summary == {}
        assert "1 of 3 parts are done here" in recorder.said[-1]
    folders = [tmp_path / f"machine-{number}" / "a" for number in (3, 1, 2)]
    before = {path: content for folder in folders for path, content in bytes_in(folder).items()}

    out = tmp_path / "b"
    summary, recorder = merge(out, *folders[:2], folders[0] / "parts" / "3-of-3")
    assert summary == {}
    assert recorder.turns == []
    done = len(store.read_trials(out)["trial"])
    (said,) = recorder.said
    assert f"{out}: {done} of 24 trials are here; of group " in said
    assert said.endswith(f"some are missing: jbn run CONFIG --out {out} trains them")

    goes_on = shutil.copytree(out, tmp_path / "c")
    summary, _ = merge(out, *folders)
    assert summary == store.read_summary(out)
    assert_same_run(out, whole)
    assert {path: path.read_bytes() for path in before} == before

    _, recorder = train(goes_on)
    assert len(trained(recorder)) == 24 - done
    assert_same_run(goes_on, whole)


def test_a_part_that_died_is_done_by_whoever_comes_next(tmp_path, whole):
    out = tmp_path / "a"
    with pytest.raises(Stopped):
        train(out, (2, 3), sinks=[stop_in_last_epoch])
    with Lock(store.share_path(out, Share(2, 3))):  # it lives after all
        _, recorder = train(out, (3, 3))
        assert not [text for text in recorder.said if "part 2/3" in text]
        _, recorder = train(out, (2, 3))  # its own command, given once more
        assert any("a run is going on there" in text for text in recorder.said)
        assert recorder.turns == []
    summary, recorder = train(out, (1, 3))
    assert f"part 2/3: results go to {out / 'parts' / '2-of-3'}" in recorder.said
    assert summary == store.read_summary(out)
    assert_same_run(out, whole)


def test_a_part_that_did_not_begin_is_left_to_its_own_process(tmp_path):
    _, recorder = train(tmp_path / "a", (1, 3))
    assert list(store.read_shares(tmp_path / "a")) == [Share(1, 3)]
    assert len(trained(recorder)) < 24


def test_the_command_without_a_part_goes_on_with_what_parts_have_done(tmp_path, whole):
    out = tmp_path / "a"
    _, first = train(out, (1, 4))
    with pytest.raises(Stopped):
        train(out, (2, 4), sinks=[stop_in_last_epoch])
    part = store.share_path(out, Share(2, 4))
    with Lock(part), pytest.raises(UserError, match="its part 2/4 is going on; wait for it"):
        train(out)
    with pytest.raises(Stopped):
        train(out, sinks=[stop_in_last_epoch])
    _, recorder = train(out)
    done = set(trained(first))
    assert done.isdisjoint(trained(recorder))
    assert_same_run(out, whole)


def test_a_run_that_is_finished_or_goes_on_as_one_takes_no_part(tmp_path):
    out = tmp_path / "a"
    for number in (1, 2):
        train(out, (number, 2))
    before = bytes_in(out)
    summary, recorder = train(out, (1, 2))
    assert recorder.said == [f"{out} is finished: nothing is left for part 1/2"]
    assert summary == store.read_summary(out)
    with pytest.raises(UserError, match="is finished already; choose another folder"):
        merge(out, out)
    with pytest.raises(UserError, match="holds a run of another config"):
        train(out, (1, 2), {**TABLE, "seed": 3})
    assert bytes_in(out) == before
    (out / "summary.json").unlink()  # it was stopped when one run was made of the parts
    assert train(out, (1, 2))[0] == summary
    (out / "summary.json").unlink()
    shutil.rmtree(out / "parts" / "2-of-2")
    with pytest.raises(UserError, match="goes on as one run; give the command without --part"):
        train(out, (1, 2))
    assert train(out)[1].turns == []
    assert store.is_finished(out)
    train(out)  # once more: all of it, parts too, is moved aside
    assert not (out / "parts").exists()
    assert (tmp_path / "a.1" / "parts").is_dir()


def test_parts_of_another_number_or_config_are_refused_before_anything_is_trained(tmp_path):
    out = tmp_path / "a"
    train(out, (1, 3))
    before = bytes_in(out)
    for share, table, words in (
        ((1, 2), TABLE, "--part 1/2: .* has parts of 3; wanted one of these"),
        ((2, 3), {**TABLE, "seed": 3}, "holds a run of another config"),
        (None, {**TABLE, "seed": 3}, "holds a run of another config"),
        ((1, 9), TABLE, "--part 1/9: this config has 8 groups of lanes"),
    ):
        with pytest.raises(UserError, match=words):
            train(out, share, table)
    assert {path: text for path, text in bytes_in(out).items() if path.name != "running"} == before


def test_variables_are_merged_where_nothing_is_swept(tmp_path):
    table = SEEDS | {"checkpoint": {"keep_best": True}}
    run(config_from_dict(table), tmp_path / "whole", **options()[1])
    for number in (1, 2, 3):
        train(tmp_path / "a", (number, 3), table)
    for seed, best in itertools.product(range(5), (False, True)):
        ours, theirs = (
            store.read_variables(tmp_path / name, "batch", seed, best=best)
            for name in ("a", "whole")
        )
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_run_that_parts_have_become_is_extended_like_another(tmp_path):
    out = tmp_path / "a"
    for number in (1, 2, 3):
        train(out, (number, 3), SEEDS)
    recorder, others = options("jbn run --extend")
    run_whole(config_from_dict({**SEEDS, "num_seeds": 6}), out, extend=True, **others)
    assert recorder.turns == [[5]]
    assert store.read_trials(out)["seed"].tolist() == list(range(6))
    with pytest.raises(UserError, match="num_seeds: 6 there, 5 in this config"):
        train(out, (1, 3), SEEDS)


@pytest.fixture
def halves(tmp_path):
    """The folders of both parts of a run."""
    for number in (1, 2):
        train(tmp_path / f"machine-{number}", (number, 2), SEEDS)
    return [tmp_path / f"machine-{n}" / "parts" / f"{n}-of-2" for n in (1, 2)]


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def of_other_data(folder):
    change_json(folder / "run.json", lambda run: run["parts"][-1]["data_sha256"].update(digits="1"))


def of_another_config(folder):
    change_json(folder / "config.json", lambda config: config.update(seed=3))


def of_other_lanes(folder):
    change_json(folder / "config.json", lambda config: config["sweep"].update(max_lanes=1))


def of_other_functions(folder):
    (folder / "source").mkdir()
    (folder / "source" / "model.py").write_text("raise SystemExit")


def extended(folder):
    change_json(folder / "run.json", lambda run: run.update(extensions=[EXTENSION]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of_other_data, "was trained with other data than"),
        (of_another_config, "is a run of another config than"),
        (of_other_lanes, "is a run of another config than"),
        (of_other_functions, "was trained with other functions than"),
        (extended, "was extended"),
    ],
)
def test_folders_that_are_no_parts_of_one_run_are_not_merged(tmp_path, halves, change, words):
    change(halves[1])
    with pytest.raises(UserError, match=words) as error:
        merge(tmp_path / "out", *halves)
    assert str(halves[1]) in str(error.value)
    assert not list(tmp_path.glob("out/*"))


def test_every_damaged_folder_is_named_in_a_line(tmp_path, halves):
    (halves[0] / "trials.csv").write_text("trial,arm\n0,a,1\n")
    next((halves[1] / "variables" / "batch").iterdir()).write_bytes(b"PK")
    with pytest.raises(UserError) as error:
        merge(tmp_path / "out", *halves, tmp_path / "nothing")
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    for line, folder in zip(lines, (*halves, tmp_path / "nothing"), strict=True):
        assert line.startswith(str(folder))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "old", "new", "words"),
    [
        ("metrics.csv", "\n0,batch,0,1,", "\n0,batch,0,9,", "epochs of trial 0"),
        ("trials.csv", "\n0,", "\n99,", "trial 99 isn't the config's"),
        ("groups.csv", "\n0,", "\n7,", "group 0 is missing"),
        ("metrics.csv", "train_loss", "part", "no part .* in run.json"),
    ],
)
def test_tables_that_no_training_leaves_are_damaged(tmp_path, halves, table, old, new, words):
    path = halves[0] / table
    text = path.read_text()
    path.write_text(text.replace(old, new, 1))
    assert path.read_text() != text
    with pytest.raises(UserError, match=f"{table}: damaged: .*{words}"):
        merge(tmp_path / "out", *halves)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("points", [["merged_own:make"], ["none", "merged_own:make"]])
def test_nothing_is_imported_from_folders_that_are_merged(tmp_path, halves, monkeypatch, points):
    """Not even at the later points of a sweep."""
    for half in halves:
        change_json(
            half / "config.json",
            lambda config: config["sweep"].update(axes={"model.factory": points}),
        )
    (halves[1] / "merged_own.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(halves[1])
    monkeypatch.setattr("jbn.store.merge", lambda out, _: store.read_config(halves[0]))
    with pytest.raises(UserError, match="merged_own:make would be imported from a run's folder"):
        merge(tmp_path / "out", *halves)


def test_a_folder_of_other_things_is_not_merged_into(tmp_path, halves):
    out = tmp_path / "out"
    out.mkdir()
    (out / "groups.csv").write_text("mine")
    for wrong, words in ((out, "found a folder with other files"), (out / "..", "a name of its")):
        with pytest.raises(UserError, match=words):
            merge(wrong, *halves)
    assert [path.name for path in out.iterdir()] == ["groups.csv"]


def test_a_trial_twice_is_one_if_its_results_are(tmp_path, halves):
    again = shutil.copytree(halves[0], tmp_path / "again")
    summary, _ = merge(tmp_path / "out", *halves, again)
    assert summary == store.read_summary(tmp_path / "out")
    assert len(store.read_parts(tmp_path / "out")) == 3  # two, and the merge
    metrics = again / "metrics.csv"
    metrics.write_text(metrics.read_text().replace(",1.0,", ",1.5,", 1))
    with pytest.raises(UserError, match=r"its trial 0 \(arm batch, seed 0\) came to other results"):
        merge(tmp_path / "other", *halves, again)


def test_nothing_to_merge_is_an_error(tmp_path):
    with pytest.raises(UserError, match="found no part of a run to merge"):
        merge(tmp_path / "out", tmp_path / "out")


def test_a_merge_that_was_killed_is_done_again(tmp_path, monkeypatch, whole):
    folders, out = [tmp_path / f"machine-{number}" for number in (1, 2)], tmp_path / "out"
    for number, folder in enumerate(folders):
        train(folder, (number + 1, 2))
    for path in ("run.json", "config.json", "groups.csv", "metrics.csv", "trials.csv"):

        def write(at, *content, real, stop_at=path):
            if at.name == stop_at:
                raise Stopped
            real(at, *content)

        with monkeypatch.context() as patch:
            for name in ("write_json", "write_rows"):
                real = getattr(merge_module, name)
                patch.setattr(merge_module, name, functools.partial(write, real=real))
            with pytest.raises(Stopped):
                merge(out, *folders)
        assert not store.read_trials(out)
    merge(out, *folders)
    assert_same_run(out, whole)
