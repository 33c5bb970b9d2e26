"""Run folders, checkpoints and parts that are whole files, and don't fit what is done with them."""

import json
import shutil

import jax
import valid_runs
from judge import refused

from jbn import store
from jbn.config import config_from_dict
from jbn.run import run, run_merged
from jbn.store import layout
from jbn.store.checkpoints import Checkpoints, Saved, _digests


def checkpoints_of_something_else(folder, runs, monkeypatch):
    """Checkpoints that are whole, and hold other things: the run begins again, and is whole."""
    best = {"epoch": [0, 0], "metric": [0.0, 0.0]}
    of_others = {"epoch": 99, "seconds": 0, "diverged_step": [0, 0], "best": best}
    for progress in ({}, of_others):
        out = valid_runs.copied(runs["stopped"], folder / f"run{len(progress)}")

        def brought(self, step, path, identity, like, say, progress=progress):
            return Saved(step, like, progress)

        monkeypatch.setattr(Checkpoints, "_load", brought)
        valid_runs.go_on(out)
        monkeypatch.undo()


def checkpoints_that_orbax_cannot_read(folder, runs, monkeypatch):
    """Checkpoints whose digests are right, of files that say nothing: the run begins again."""
    out = valid_runs.copied(runs["stopped"], folder / "run")
    for manifest in (out / layout.CHECKPOINTS).rglob("*.json"):
        if (whole := manifest.with_suffix("")).is_dir():
            (whole / "state" / "_METADATA").write_bytes(b"{}")
            content = json.loads(manifest.read_text())
            manifest.write_text(json.dumps({**content, "files": _digests(whole)}))
    valid_runs.go_on(out)


def files_that_do_not_fit(folder, runs, monkeypatch):
    """One entry of one file, which makes it another run's or nobody's."""
    arms = '"num_epochs": {"slow": 2, "fast": 2}'
    extended = '"extensions": [{"part": 0, "num_seeds": %s, ' + arms + "}]"
    none, row = '"extensions": []', b"0,slow,0,"
    part = f"{layout.PARTS}/1-of-2/"
    for kind, file, valid, other, words in (
        ("finished", layout.RUN, '"format": 1', '"format": 2', "in format 2, wanted"),
        ("finished", layout.RUN, none, extended % "2147483647", "an extension to"),
        ("finished", layout.RUN, none, extended % '"2"', "damaged: its extensions"),
        ("finished", layout.RUN, none, '"extensions": [NaN]', "NaN, which isn't JSON"),
        ("finished", layout.TRIALS, ",-1,", ",-7,", "a number below -1"),
        ("finished", layout.TRIALS, row, b"99,slow,0,", "trial 99 isn't the config's"),
        ("stopped", layout.TRIALS, row, b"0,other,0,", "trial 0 isn't the config's"),
        ("stopped", layout.GROUPS, "\n0,", "\nx,", "groups.csv: damaged"),
        ("shared", f"{part}run.json", none, extended % "2", "was extended"),
        ("shared", f"{part}trials.csv", "0,batch,0.5,0", "0,batch,0.5,1", "isn't the config's"),
        ("shared", f"{part}groups.csv", "\n0,", "\n7,", "group 0 is missing"),
        ("shared", f"{part}groups.csv", "0,batch,0,", "0,batch,5,", "no part 5 in run.json"),
        ("shared", f"{part}metrics.csv", "\n0,batch,0.5,0,1,", "\n0,batch,0.5,0,1,x", "is 'x"),
    ):
        out = valid_runs.copied(runs[kind], folder / "run")
        valid, other = (of if isinstance(of, bytes) else of.encode() for of in (valid, other))
        before = (out / file).read_bytes()
        assert valid in before, (file, valid)
        (out / file).write_bytes(before.replace(valid, other, 1))
        with refused(words):
            _used(out, kind)
        if b"other" in other:
            with refused("arm 'other' isn't in config.json"):
                store.done_trials(out)
        shutil.rmtree(out)
    for file in (layout.CONFIG, layout.SUMMARY):
        out = valid_runs.copied(runs["finished"], folder / "run")
        (out / file).write_text("[]")
        with refused("found a list"):
            _used(out, "finished")
        shutil.rmtree(out)
    shared = valid_runs.copied(runs["shared"], folder / "shared")
    (shared / part / layout.LOCK).mkdir()
    with refused("can't be read (Is a directory); remove it"):
        _used(shared, "shared")


def _used(out, kind):
    match kind:
        case "shared":
            valid_runs.merge(out, out.with_name("merged"))
        case "stopped":
            valid_runs.go_on(out)
        case _:
            valid_runs.report(out)


def folders_of_others(folder, runs, monkeypatch):
    """Folders that hold something else than a run of the config."""
    other = config_from_dict(valid_runs.TABLE | {"seed": 7})
    for make, words in (
        (lambda out: out.write_text("a"), "found a file"),
        (lambda out: (out.mkdir(), (out / "a.txt").write_text("a")), "other files"),
        (lambda out: valid_runs.copied(runs["finished"], out), "holds a run of another config"),
    ):
        out = folder / words
        make(out)
        with refused(words):
            run(other, out, device=jax.devices()[0])
    finished = folder / "holds a run of another config"
    with refused("has all seeds and epochs"):
        run(valid_runs.CONFIG, finished, device=jax.devices()[0], extend=True)
    with refused("can't be written to"):
        run(other, folder / "found a file" / "below", device=jax.devices()[0])
    with refused("wanted a folder with a name of its own"):
        run(other, folder / "..", device=jax.devices()[0])


def data_that_changed(folder, runs, monkeypatch):
    """A stopped run doesn't go on with other data, or beside another process."""
    out = valid_runs.copied(runs["stopped"], folder / "run")
    content = json.loads((out / layout.RUN).read_text())
    for part in content["parts"]:
        part["data_sha256"] = {"mixture": "0"}
    (out / layout.RUN).write_text(json.dumps(content))
    with refused("with other data"):
        run(valid_runs.CONFIG, out, device=jax.devices()[0])
    (out / layout.LOCK).write_text("elsewhere 7 2026-01-01T00:00:00+00:00 other")
    with refused("a run is going on there"):
        run(valid_runs.CONFIG, out, device=jax.devices()[0])


def parts_of_others(folder, runs, monkeypatch):
    """Folders that are no parts of one run."""
    device = {"device": jax.devices()[0], "sinks": []}
    shared = valid_runs.copied(runs["shared"], folder / "shared")
    for out, words in (
        (folder / "file", "found a file"),
        (folder, "other files"),
        (runs["swept"], "is finished already"),
    ):
        if words == "found a file":
            out.write_text("a")
        with refused(words):
            run_merged(out, [shared], **device)
    with refused("found no part of a run to merge"):
        run_merged(folder / "new", [], **device)
    (first, second) = sorted((shared / layout.PARTS).iterdir())
    (second / layout.LOCK).write_text("elsewhere 7 2026-01-01T00:00:00+00:00 other")
    with refused("a part is going on there"):
        run_merged(folder / "new", [shared], **device)
    (second / layout.LOCK).unlink()
    for file, valid, other, words in (
        (layout.RUN, '"data_sha256": {\n', '"data_sha256": {"a": "",\n', "with other data than"),
        (layout.CONFIG, '"max_lanes": 2', '"max_lanes": 1', "max_lanes"),
    ):
        before = (second / file).read_text()
        assert valid in before
        (second / file).write_text(before.replace(valid, other))
        with refused(words):
            run_merged(folder / "new", [shared], **device)
        (second / file).write_text(before)
    for name in (layout.TRIALS, layout.METRICS, layout.GROUPS):
        (second / name).write_bytes((first / name).read_bytes())
    trials = (second / layout.TRIALS).read_text()
    (second / layout.TRIALS).write_text(trials.replace(",-1,", ",3,", 1))
    with refused("came to other results"):
        run_merged(folder / "new", [shared], **device)


CASES = (
    *(checkpoints_of_something_else, checkpoints_that_orbax_cannot_read, files_that_do_not_fit),
    *(folders_of_others, data_that_changed, parts_of_others),
)
