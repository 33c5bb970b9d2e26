"""The folder of a run: it is the run's alone, in one format, and nothing in it is lost."""

import ast
import contextlib
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chex
import numpy as np
import pytest

import jbn.store
from jbn.config import UserError, plan, plan_groups
from jbn.store import (
    is_finished,
    layout,
    opened,
    read_config,
    read_metrics,
    read_parts,
    read_source,
    read_variables,
)
from jbn.store.table import keep_until
from jbn.trained import load_run

ROOT = Path(__file__).parents[2]
PART = {"data_sha256": {"digits": "0"}, "device": "cpu"}
METRICS = {"shown": ["accuracy", "loss"], "higher_is_better": ["accuracy"]}


def begin(out, config, part=PART):
    """Opens the folder and is stopped at once; what was found there."""
    with opened(out, config, part, METRICS, {}) as folder:
        assert (out / layout.LOCK).exists()
    assert not (out / layout.LOCK).exists()
    return folder.found


@pytest.fixture
def config(small_run):
    return read_config(small_run)


@pytest.mark.parametrize(
    "read",
    [
        is_finished,
        read_config,
        *(
            getattr(jbn.store, f"read_{name}")
            for name in ("summary", "trials", "metrics", "groups", "norms")
        ),
    ],
)
def test_what_is_read_may_be_named_by_text(small_run, read):
    found = read(str(small_run))
    assert found
    chex.assert_trees_all_equal(found, read(small_run))


def test_files_may_be_named_by_text(small_run):
    of_text, of_path = (read_variables(out, "batch_norm", 5) for out in (str(small_run), small_run))
    chex.assert_trees_all_equal(of_text, of_path)
    assert read_source(str(small_run), "mine") is None


@pytest.fixture
def earlier_run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "small")


def files(folder):
    return {path.name for path in folder.iterdir()}


def test_an_earlier_run_of_the_same_config_is_moved_aside_whole(earlier_run, config):
    (earlier_run / "notes.txt").write_text("mine")
    before = files(earlier_run)
    moved = earlier_run.with_name("small.1")
    said = f"{earlier_run} held an earlier run of this config; it is {moved} now"
    assert begin(earlier_run, config) == said
    assert files(moved) == before
    assert files(earlier_run) == {"run.json", "config.json"}
    (earlier_run / "summary.json").write_text("{}")
    assert begin(earlier_run, config).endswith("small.2 now")


def test_a_run_of_another_config_stays_and_is_an_error(earlier_run, config):
    before = files(earlier_run)
    with pytest.raises(UserError, match="holds a run of another config"):
        begin(earlier_run, config.model_copy(update={"seed": 9}))
    assert files(earlier_run) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "holds a run in an older layout, without run.json, wanted format 1; read it with"),
        ({"format": 2, "parts": []}, "holds a run in format 2, wanted format 1; read it with"),
        ([], "holds a run in format None, wanted format 1; read it with"),
    ],
)
def test_another_layout_is_an_error_that_says_so(earlier_run, config, content, words):
    path = earlier_run / "run.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(json.dumps(content))
    for read in (load_run, read_config, lambda out: begin(out, config)):
        with pytest.raises(UserError) as error:
            read(earlier_run)
        assert words in str(error.value)
        assert "\n" not in str(error.value)


def test_every_part_is_kept_and_only_the_environment_of_its_own(tmp_path, config):
    parts = [PART, PART | {"device": "gpu"}]
    assert [begin(tmp_path / "a", config, part) is None for part in parts] == [True, False]
    assert read_parts(tmp_path / "a") == parts


def test_a_run_stopped_before_it_began_begins(tmp_path, config):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "config.json.tmp").write_text("{")
    assert begin(tmp_path, config) is None
    assert read_parts(tmp_path) == [PART]


def test_a_folder_with_other_files_stays_and_is_an_error(tmp_path, config):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="found a folder with other files"):
        begin(tmp_path, config)
    with pytest.raises(UserError, match="found a file"):
        begin(tmp_path / "thesis.tex", config)
    with pytest.raises(UserError, match="can't be written to: Not a directory"):
        begin(tmp_path / "thesis.tex" / "run", config)
    assert (tmp_path / "thesis.tex").read_text() == "x"


def test_a_folder_is_one_runs_at_a_time(tmp_path, config):
    with opened(tmp_path, config, PART, METRICS, {}):
        for _ in range(2):
            with pytest.raises(UserError, match="a run is going on there"):
                begin(tmp_path, config)


def test_a_folder_that_another_process_took_over_is_written_no_more(tmp_path, config):
    with opened(tmp_path, config, PART, METRICS, {}) as folder:
        (tmp_path / layout.LOCK).write_text("elsewhere 7 2026-01-01T00:00:00+00:00 other")
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        group = plan_groups(plan(config))[0]
        trial, values = group.trials[0], {"val_loss": np.zeros(1)}
        for write in (
            folder.sort,
            lambda: folder.rewind([trial], 0),
            folder.sync_metrics,
            lambda: folder.finish({}, {}),
            lambda: folder.add_metrics([trial], 1, values),
            lambda: folder.add_trials(group, [trial], values, 1.0),
            lambda: folder.add_lanes(group, trial, 2, 0.1),
            lambda: folder.save_variables(trial, {"params": values}),
        ):
            with pytest.raises(UserError, match="has taken it over; it stops here"):
                write()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_of_many_that_begin_at_once_one_moves_the_finished_run_aside(earlier_run, config):
    together = threading.Barrier(4)

    def start():
        together.wait()
        try:
            with opened(earlier_run, config, PART, METRICS, {}) as folder:
                return folder.found or ""
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(start) for _ in range(4)]
        said = [result.result() for result in results]
    assert sum("small.1 now" in text for text in said) == 1
    assert files(earlier_run.parent) == {"small", "small.1"}
    assert is_finished(earlier_run.with_name("small.1"))


def test_who_moves_a_run_aside_and_finds_another_in_its_place_says_where_it_is(
    earlier_run, config, monkeypatch
):
    with contextlib.ExitStack() as others:

        def moved_and_taken(out):
            moved = out.rename(out.with_name("small.1"))
            others.enter_context(opened(out, config, PART, METRICS, {}))
            return moved

        monkeypatch.setattr("jbn.store.folder._move_aside", moved_and_taken)
        with pytest.raises(UserError, match=r"going on.*; the earlier run is .*small\.1 now"):
            begin(earlier_run, config)
    assert is_finished(earlier_run.with_name("small.1"))
    assert files(earlier_run.parent) == {"small", "small.1"}


def test_a_folder_needs_a_name(monkeypatch, earlier_run, config):
    monkeypatch.chdir(earlier_run)
    with pytest.raises(UserError, match="wanted a folder with a name of its own"):
        begin(Path(), config)


def test_half_a_last_line_and_metrics_of_trials_that_begin_again_are_dropped(earlier_run, config):
    (earlier_run / "summary.json").unlink()
    trials, metrics = earlier_run / "trials.csv", earlier_run / "metrics.csv"
    whole = trials.read_text().splitlines(keepends=True)
    trials.write_text("".join(whole[:3]) + whole[3][:-4])
    epochs = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(epochs)[:-9])
    part = PART | read_parts(earlier_run)[0]
    with opened(earlier_run, config, part, METRICS, {}) as folder:
        assert folder.done == {0, 1}
        for group in plan_groups(plan(config)):
            folder.rewind(group.trials, 0)
    assert trials.read_text() == "".join(whole[:3])
    assert metrics.read_text() == "".join(epochs[:5])


def test_a_trial_without_metrics_begins_without_a_look_at_those_of_others(
    tmp_path, config, monkeypatch
):
    looks = []

    def look(path, numbers, column, last):
        looks.append(set(numbers))
        keep_until(path, numbers, column, last)

    monkeypatch.setattr("jbn.store.folder.keep_until", look)
    first, second = plan(config)[0].trials
    loss = {"train_loss": np.zeros(1), "diverged_step": np.full(1, -1)}
    with opened(tmp_path, config, PART, METRICS, {}) as folder:
        for trial in (first, second):
            folder.rewind([trial], 0)
            folder.add_metrics([trial], 1, loss)
            folder.add_metrics([trial], 2, loss)
        folder.rewind([second], 1)
    with opened(tmp_path, config, PART, METRICS, {}) as folder:
        folder.rewind([first], 1)
    assert looks == [set(), set(), {second.number}, {first.number}]
    assert read_metrics(tmp_path)["epoch"].tolist() == [1, 1]


def texts_of(path):
    """The constant texts of a file, docstrings apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in statements:
            yield str(node.value)


def test_no_other_room_knows_a_file_of_a_run_by_its_name():
    names = {
        value
        for name, value in vars(layout).items()
        if name.isupper() and isinstance(value, str) and "." in value
    }
    assert len(names) == 8
    rooms = [path for path in (ROOT / "jbn").rglob("*.py") if path.parent.name != "store"]
    assert len(rooms) > 100
    for path in rooms:
        for text in texts_of(path):
            assert not [name for name in names if name in text], path
            assert text != layout.LOCK, path
    for path in (ROOT / "experiments").rglob("*.py"):
        for text in texts_of(path):
            # Their own page is called like a run's.
            assert not [name for name in names - {layout.REPORT} if name in text], path
