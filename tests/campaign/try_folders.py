"""Damaged run folders and checkpoints: each is answered, or comes to a whole run."""

import functools
import os
import random
import shutil

import valid_runs
from damages import damages, json_damages, npz_bombs, table_damages
from flax.traverse_util import flatten_dict
from judge import ACCEPTED, LOST, Outcome, outcome_of

from jbn.store import arrays, layout

# What is damaged, and what may be done with such a folder.
ACTIONS = {
    "finished": ("report", "load", "begin_with"),
    "stopped": ("go_on", "report", "load"),
    "swept": ("report", "report_by_command"),
    "shared": ("merge",),
}


# What in a folder may be a stranger's link to another place, and what is there.
_TOP = (layout.RUN, layout.CONFIG, layout.TRIALS, layout.METRICS, layout.GROUPS, layout.REPORT)
_TOP = (*_TOP, layout.SUMMARY, layout.NORMS, layout.LOCK)
_FOLDERS = (layout.VARIABLES, layout.CHECKPOINTS, layout.SOURCE, layout.EARLIER, layout.PARTS)
LINKS = (
    *((name, "file") for name in _TOP),
    *((f"{name}.tmp", "file") for name in _TOP),
    *((name, "folder") for name in _FOLDERS),
    *(("variables/slow", "folder"), ("variables/slow/0.npz", "folder/slow/0.npz")),
    *(("variables/fast/0.npz.tmp", "file"), ("checkpoints/2", "folder"), ("source/own.py", "file")),
    *(("parts/1-of-2", "folder"), ("parts/running", "file"), ("parts/2-of-2/run.json", "file")),
)


class Tries:
    """Cases, each in a folder of its own, beside what nobody may touch."""

    def __init__(self, root, runs):
        self.root = root
        self.folders = runs
        self.outcomes = {}
        self.outside = root / "outside"
        for name in ("file", "folder/file", "folder/0/file", "folder/slow/0.npz"):
            path = self.outside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"nobody's business")
        self.before = _content(self.outside)

    def try_one(self, label, kind, action, damage):
        """Damages a copy of a folder, and does something with it."""
        case = self.root / "case"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        out = valid_runs.copied(self.folders[kind], case / kind)
        damage(out)
        page = out / layout.REPORT
        before = page.read_bytes() if page.is_file() else None
        function = getattr(valid_runs, action)
        more = (case / "merged",) if action == "merge" else ()
        outcome = outcome_of(lambda: function(out, *more), self.root, inside=[case])
        if _content(self.outside) != self.before:
            outcome = Outcome(LOST, "it changed what is outside")
        elif outcome.kind != ACCEPTED and before and page.is_file() and page.read_bytes() != before:
            outcome = Outcome(LOST, "it wrote half a report")
        self.outcomes[f"{kind}, {label}: {action}"] = outcome


def _content(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): path.read_bytes() for path in files}


def damaged_files(folder, number):
    """A file's path in the folder, what is done to it, and its bytes then."""
    draw = random.Random(number)
    is_first = True  # of its variables
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.name == layout.REPORT:
            continue
        content = path.read_bytes()
        found = damages(content, seed=name, number=number)
        if path.suffix == ".json":
            found |= json_damages(content)
        elif path.suffix == ".csv":
            found |= table_damages(content)
        elif path.suffix == ".npz" and is_first:
            is_first = False
            found |= npz_bombs(_flat(path), folder.parent / "outside" / "written")
        labels = sorted(found)
        for label in draw.sample(labels, min(number, len(labels))):
            yield name, label, found[label]


def _flat(path):
    return flatten_dict(arrays.load_arrays(path), sep="/")


def cases(folders, number):
    """What is done to which folder, and with it then: a label, folder, action and damage each."""
    for kind, actions in ACTIONS.items():
        files = list(damaged_files(folders[kind], number))
        for turn, (name, label, content) in enumerate(files):
            damage = functools.partial(_write, name, content)
            yield f"{name} {label}", kind, actions[turn % len(actions)], damage
        for name in sorted(path.name for path in folders[kind].iterdir()):
            for what in ("nothing", "a folder", "a pipe", "a link to itself"):
                damage = functools.partial(_replace, name, what)
                for action in actions:
                    yield f"{name} is {what}", kind, action, damage
        for action in actions:
            for name, place in LINKS:
                yield f"{name} leads out", kind, action, functools.partial(_link, name, place)


def tried(number, root, runs, most=None):
    """What damaged folders come to, by what was done: so many forms of each file.

    Args:
        number: of forms.
        root: where the folders are.
        runs: the valid ones.
        most: so many of all cases, drawn from a seed; None: all.
    """
    tries = Tries(root, runs)
    for kind, actions in ACTIONS.items():
        for action in actions:
            tries.try_one("valid", kind, action, lambda out: None)
    valid_runs.check_whole(root / "case" / "merged", valid_runs.SWEEP)  # of the last of these
    found = list(cases(runs, number))
    for case in found if most is None else random.Random(1).sample(found, most):
        tries.try_one(*case)
    return tries.outcomes


def _write(name, content, out):
    (out / name).write_bytes(content)


def _replace(name, what, out):
    path = out / name
    _removed(path)
    match what:
        case "a folder":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "a link to itself":
            path.symlink_to(path)


def _link(name, place, out):
    """Links to what is outside, two folders above."""
    path = out / name
    _removed(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(out.parents[1] / "outside" / place)


def _removed(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
