"""All of a run lies inside its folder; a folder that is no run's isn't looked through."""

import os
import socket

import pytest

from jbn.config import UserError
from jbn.store import files, read_config
from jbn.store.files import check_links
from jbn.store.merge import read_shares

pytestmark = pytest.mark.quick


def test_a_link_may_lead_to_another_place_in_the_folder_alone(tmp_path):
    run = tmp_path / "run"
    (run / "variables" / "a").mkdir(parents=True)
    (run / "variables" / "a" / "0.npz").write_text("")
    (run / "inside").symlink_to(run / "variables" / "a")
    check_links(run)
    for target in (tmp_path, tmp_path / "nowhere", "/", "itself"):
        link = run / "variables" / "a" / "itself"
        link.symlink_to(target)
        with pytest.raises(UserError, match=r"itself: found a link that leads outside of .*run, "):
            check_links(run)
        link.unlink()
    check_links(run)


def test_what_is_no_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as pipe:
        pipe.bind("x")
        with pytest.raises(UserError, match="x: found no file and no folder"):
            check_links(tmp_path)


def test_a_folder_without_a_run_is_not_looked_through(tmp_path, monkeypatch):
    """It may be the root of all disks."""
    (tmp_path / "inner").mkdir()
    looked = []

    def look(folder):
        looked.append(folder)
        return []

    monkeypatch.setattr(files, "_entries", look)
    with pytest.raises(UserError, match=r"run.json: can't be read \(No such file"):
        read_config(tmp_path)
    assert read_shares(tmp_path) == {}
    assert looked == []
    (tmp_path / "parts").mkdir()
    assert read_shares(tmp_path) == {}
    assert looked == [os.path.realpath(tmp_path)]
