"""Broken configs, data and run folders: each is answered by a line a mistake, and none is lost.

The short version draws some cases. The long one, of minutes, tries all, and asks whether every line
that refuses something was reached, of the files in `branches.ROOMS`. With `JBN_CAMPAIGN_RESULTS` it
writes its counts there.
"""

import json
import os
from pathlib import Path

import pytest
import valid_runs
from branches import Reached, refusing_lines
from judge import ACCEPTED, counted, lost
from mutants import is_no_config
from named_cases import CASES, NOT_BY_A_FILE
from try_configs import tried as try_configs
from try_data import ANOTHER_CHECKSUM, is_no_data
from try_data import tried as try_data
from try_folders import tried as try_folders

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of valid runs; those that go on find their programs compiled."""
    with pytest.MonkeyPatch.context() as patch:
        valid_runs.compiled_once(patch)
        yield valid_runs.make_runs(tmp_path_factory.mktemp("valid"))


def are_valid(outcomes):
    """Whether what has no mistake was accepted."""
    valid = [of.kind for name, of in outcomes.items() if "valid" in name.replace(":", " ").split()]
    return bool(valid) and set(valid) == {ACCEPTED}


def taken(outcomes, is_mistaken):
    """What was accepted with a mistake that no chance can make up for: it should be empty."""
    return [name for name, of in outcomes.items() if of.kind == ACCEPTED and is_mistaken(name)]


def test_configs_with_mistakes_are_answered(tmp_path):
    outcomes = try_configs(40, tmp_path)
    assert lost(outcomes) == {}
    assert taken(outcomes, is_no_config) == []
    assert are_valid(outcomes)


def test_damaged_data_are_answered(tmp_path, monkeypatch):
    outcomes = try_data(1, tmp_path, monkeypatch)
    assert lost(outcomes) == {}
    assert taken(outcomes, is_no_data) == []
    assert "found SHA-256" in outcomes[ANOTHER_CHECKSUM].words
    assert are_valid(outcomes)


def test_damaged_folders_are_answered(tmp_path, runs):
    outcomes = try_folders(3, tmp_path, runs, most=15)
    assert lost(outcomes) == {}
    assert are_valid(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_is_named_is_refused(tmp_path, runs, monkeypatch, name):
    CASES[name](tmp_path, runs, monkeypatch)


@pytest.mark.slow
def test_the_long_campaign_loses_nothing_and_reaches_every_refusal(tmp_path, monkeypatch, runs):
    with Reached() as reached:
        outcomes = {
            "configs": try_configs(500, _new(tmp_path, "configs")),
            "data files": try_data(16, _new(tmp_path, "data"), monkeypatch),
            "run folders, checkpoints and weights": try_folders(4, _new(tmp_path, "folders"), runs),
        }
        for name, case in CASES.items():
            case(_new(tmp_path, name), runs, monkeypatch)
    if path := os.environ.get("JBN_CAMPAIGN_RESULTS"):
        counts = {subject: counted(of) for subject, of in outcomes.items()}
        Path(path).write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    for of in outcomes.values():
        assert lost(of) == {}
        assert are_valid(of)
    assert taken(outcomes["configs"], is_no_config) == []
    assert taken(outcomes["data files"], is_no_data) == []
    excused = {line for file, words in NOT_BY_A_FILE for line in lines_with(file, words)}
    missed = set(refusing_lines()) - reached.lines
    assert missed - excused == set()
    assert excused - missed == set()  # reached, so that it needs no excuse


def lines_with(file, words):
    """The lines of a file of jbn that refuse something in these words."""
    return [line for line, text in refusing_lines().items() if line[0] == file and words in text]


@pytest.mark.parametrize(("file", "words"), NOT_BY_A_FILE)
def test_a_line_that_no_file_reaches_is_there_and_so_is_who_holds_it(file, words):
    held = NOT_BY_A_FILE[file, words]
    assert len(lines_with(file, words)) == held.lines
    assert bool(held.test) == bool(held.words)
    if held.test:
        assert held.words in (TESTS / held.test).read_text(encoding="utf-8")


def _new(folder, name):
    (folder / name).mkdir()
    return folder / name
