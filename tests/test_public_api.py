"""The public API is what the list says; what changed since the last release, the CHANGELOG says."""

import re
from collections import Counter
from pathlib import Path

import public_api
import pytest

import jbn

ROOT = Path(__file__).parents[1]
LISTED = public_api.LIST.read_text().splitlines()


def unmentioned(released, now, changelog):
    """The names that were added, removed or changed since, and that no `code` in the text names.

    A class or a module that is new as a whole, or gone, stands for all in it. The last part of a
    name is enough where no other name ends with it.
    """
    before, after = map(public_api.names_and_signatures, (released, now))
    names = {**before, **after}
    endings = Counter(name.rpartition(".")[2] for name in names)
    code = re.findall(r"`([^`]+)`", changelog)
    commands = {" ".join(span.split()[:2]) for span in code if span.startswith("jbn ")}
    words = {
        word
        for span in code
        if not span.startswith("jbn ")
        for word in re.findall(r"\w+(?:\.\w+)*", span)
    }

    def owners(name):
        parts = name.split(".")
        return {".".join(parts[:number]) for number in range(2, len(parts))}

    def is_named(name):
        parts = name.split(".")
        fewest = 1 if endings[parts[-1]] == 1 else 2
        return any(".".join(parts[-number:]) in words for number in range(fewest, len(parts) + 1))

    in_both = set().union(*map(owners, before)) & set().union(*map(owners, after))

    def is_said(name):
        if name.startswith("$ "):
            return name.removeprefix("$ ") in commands
        return any(map(is_named, {name} | (owners(name) - in_both)))

    changed = [name for name in names if before.get(name) != after.get(name)]
    return [name for name in changed if not is_said(name)]


def test_the_list_is_the_public_api():
    wrong = sorted(set(public_api.public_api()) ^ set(LISTED))
    assert wrong == [], (
        f"{public_api.LIST.relative_to(ROOT)} isn't the public API any more. If that is meant, run "
        "`python tests/public_api.py`, and say in CHANGELOG.md what changed"
    )


def test_the_changelog_says_what_changed_since_the_last_release():
    first, *released = public_api.RELEASED.read_text().splitlines()
    version = first.removeprefix("# ")
    changelog = (ROOT / "CHANGELOG.md").read_text()
    heading = f"## [{version}]"
    assert not released or heading in changelog
    missing = unmentioned(released, LISTED, changelog.partition(heading)[0])
    assert missing == [], f"CHANGELOG.md: wanted a line that names {', '.join(missing)}"


@pytest.mark.parametrize(
    ("released", "now", "missing"),
    [
        (["jbn.f(x)"], ["jbn.f(x)"], []),
        (["jbn.f(x)"], ["jbn.f(x, y=1)"], ["jbn.f"]),
        (["jbn.f(x)", "jbn.g(x)"], ["jbn.f(x)"], ["jbn.g"]),
        (["jbn.f(x)"], ["jbn.f(x)", "jbn.told(x)"], []),
        (["jbn.f(x)"], ["jbn.f(x)", "jbn.new.h(x)", "jbn.new.C(x)", "jbn.new.C.m()"], []),
        (["jbn.f(x)", "jbn.new.h(x)"], ["jbn.f(x)", "jbn.new.h(y)"], ["jbn.new.h"]),
        (["jbn.f(x)"], ["jbn.f(x)", "jbn.other.h(x)"], ["jbn.other.h"]),
        (["$ jbn run --set"], ["$ jbn run --set --out"], []),
        (["$ jbn show"], ["$ jbn show --set"], ["$ jbn show"]),
        (["jbn.run.run(x)"], ["jbn.run.run(x, y)"], ["jbn.run.run"]),
        (["jbn.q(x)"], ["jbn.q()"], []),
        (["jbn.a.C.q(x)", "jbn.b.C.q(x)"], ["jbn.a.C.q()", "jbn.b.C.q(x)"], ["jbn.a.C.q"]),
        (["jbn.a.C.m(x)", "jbn.b.D.m(x)"], ["jbn.a.C.m()", "jbn.b.D.m()"], ["jbn.b.D.m"]),
        (["jbn.train.Task.loss", "jbn.train.loss"], ["jbn.train.loss"], ["jbn.train.Task.loss"]),
    ],
)
def test_what_the_changelog_must_name(released, now, missing):
    text = "`jbn.told`: new. `jbn.new`, a module. `jbn run --out`. `q` and `C.m`, `train.loss = 1`."
    assert unmentioned(released, now, text) == missing


def test_the_list_has_each_kind_of_name():
    """By hand: a function, a module of Flax's kind, a tuple, methods, a command."""
    for line in (
        "jbn.normalize(x, mean, var, scale=None, bias=None, *, epsilon=1e-05)",
        "jbn.linen.BatchRenorm(*, limits=renorm_limits): a flax.linen.BatchNorm",
        "jbn.linen.BatchNorm.__call__(x, use_running_average=None, *, mask=None)",
        "jbn.BatchStats(mean, var)",
        "jbn.train.Metrics.means",
        "jbn.train.Hypers.of(config)",
        "jbn.trained.LoadedRun.predict(x)",
        "$ jbn show CONFIG --set --sweep",
    ):
        assert line in LISTED


def test_the_version_of_the_citation_is_that_of_jbn():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == jbn.__version__
