"""The site: code in its pages runs, prints what they say, and draws the pictures that they show.

`make docs` runs all of this, the slow tests too.
"""

import importlib
import inspect
import pkgutil
import re
import sys
import tomllib
from typing import Any

import numpy as np
import pages
import pytest
import typer
from pages import DOCS

import jbn
from jbn.cli.commands import app
from jbn.config import config_from_dict

# Each block of TOML in the pages, after the line of text before it.
CONFIGS = [
    (page, *found)
    for page in pages.PAGES
    for found in re.findall(r"([^\n]*)\n\n```toml\n(.*?)```", page.read_text(), re.DOTALL)
]
WHOLE = [(page, toml) for page, _, toml in CONFIGS if "name" in tomllib.loads(toml)]


@pytest.mark.slow
@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_code_of_a_page_does_what_the_page_says(page, tmp_path, capsys):
    text = page.read_text()
    pages.run(page, tmp_path)

    # What a block of Python prints follows it, in a block without a language.
    said = re.findall(r"```python\n(?:(?!```).)*?```\n\n```\n(.*?)```", text, re.DOTALL)
    if said:
        assert capsys.readouterr().out == "".join(said)

    if page in pages.COURSE:
        drawn = {path.name: texts_in(path) for path in tmp_path.glob("*.svg")}
        assert drawn == {name: texts_in(page.parent / name) for name in pictures_of(page)}
        assert all(drawn.values())


def texts_in(picture):
    """The words and numbers of a picture, in their order; where they are depends on the fonts."""
    found = re.findall(r"<text[^>]*>(.*?)</text>", picture.read_text("utf-8"), re.DOTALL)
    return ["".join(re.sub(r"<[^>]+>", "", text).split()) for text in found]


def pictures_of(page):
    return re.findall(r"!\[[^\]]*\]\((\w+\.svg)\)", page.read_text())


@pytest.mark.quick
def test_each_picture_of_the_course_is_shown_once():
    shown = [name for page in pages.COURSE for name in pictures_of(page)]
    assert sorted(shown) == sorted(path.name for path in (DOCS / "course").glob("*.svg"))


@pytest.mark.quick
def test_each_config_in_the_pages_is_one_or_a_part_of_one_and_says_so():
    assert len(CONFIGS) == sum(page.read_text().count("```toml") for page in pages.PAGES) > 5
    for page, before, toml in CONFIGS:
        table = tomllib.loads(toml)
        assert before.endswith("Add to your config:") == ("name" not in table), (page.name, before)
        config_from_dict({"name": "a", **table})


@pytest.mark.slow
@pytest.mark.parametrize(("page", "toml"), WHOLE, ids=[page.name for page, _ in WHOLE])
def test_a_config_of_a_page_goes_with_the_pages_code(
    page, toml, tmp_path, monkeypatch, jbn_command
):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", x=rng.normal(size=(200, 5)), y=np.arange(200) % 2)
    pages.run(page, tmp_path)
    (tmp_path / "mine.py").write_text(pages.code_of(page))
    (tmp_path / "mine.toml").write_text(toml)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    code, out, err = jbn_command("show", "mine.toml")
    assert (code, err) == (0, "")
    assert out.endswith(" parameters\n")


def documented_names():
    """The names of the reference, page by page."""
    return [
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(r"^\.\. auto\w+:: (\S+)", page.read_text(), re.MULTILINE)
    ]


@pytest.mark.quick
def test_a_path_may_be_text():
    """In every documented function; `tests/run` and `tests/store` call them with either."""
    checked = 0
    for name in documented_names():
        function = pkgutil.resolve_name(name)
        if not inspect.isroutine(function):
            continue
        for argument in inspect.signature(function).parameters.values():
            if argument.name in ("path", "out", "run_dir", "folders"):
                assert "str" in str(argument.annotation), (name, argument)
                checked += 1
    assert checked > 10


@pytest.mark.quick
def test_every_public_name_stands_in_exactly_one_page_of_the_reference():
    documented = documented_names()
    public = ["jbn.load_run", *(f"jbn.{name}" for name in _public(jbn.functional))]
    for room in (
        "convert",
        "diagnose",
        "export",
        "linen",
        "models",
        "nnx",
        "run",
        "train",
        "variables",
    ):
        public += [f"jbn.{room}.{name}" for name in _public(importlib.import_module(f"jbn.{room}"))]
    of_train = set(_public(jbn.train))
    public += [f"jbn.data.{name}" for name in _public(jbn.data) if name not in of_train]
    assert set(public) > {"jbn.batch_norm", "jbn.linen.BatchNorm", "jbn.train.make_task"}
    assert len(documented) == len(set(documented))
    # Of configs and folders the page has what people call; the list of the public API has more.
    in_part = {name for name in documented if name.startswith(("jbn.config.", "jbn.store."))}
    assert set(documented) - in_part == {*public, "jbn.trained.LoadedRun"}


def _public(room):
    """The names of a folder, which its `__init__.py` lists, or those that a file itself defines."""
    names = [name for name in dir(room) if name[0] != "_"]
    names = [name for name in names if not inspect.ismodule(getattr(room, name))]
    if hasattr(room, "__path__"):
        return names
    return [name for name in names if getattr(room, name).__module__ == room.__name__]


def commands_in(text):
    """Each `jbn NAME …` in the code of a page: its name, and the rest of its line."""
    parts = re.split(r"^```(\S*).*\n", text.replace("\\\n", " "), flags=re.MULTILINE)
    prose, languages, fenced = "".join(parts[0::4]), parts[1::4], parts[2::4]
    lines = re.findall(r"^ {4}.*$|`[^`]+`", prose, re.MULTILINE)
    lines += [code for of, code in zip(languages, fenced, strict=True) if of in ("", "bash", "sh")]
    return re.findall(r"\bjbn ([a-z]+)\b([^`\n]*)", "\n".join(lines))


def test_every_command_in_the_pages_and_each_of_its_options_exists():
    group: Any = typer.main.get_command(app)
    commands = group.commands
    readme = DOCS.parent / "README.md"
    found = {page: commands_in(page.read_text()) for page in [readme, *pages.PAGES]}
    assert found[readme]
    assert {name for of_page in found.values() for name, _ in of_page} == set(commands)
    num_options = 0
    for page, of_page in found.items():
        for name, line in of_page:
            known = {option for of in commands[name].params for option in of.opts}
            known |= {option for of in commands[name].params for option in of.secondary_opts}
            named = set(re.findall(r"(?<!\S)--[a-z-]+", line))
            assert named <= known | {"--help"}, (page.name, line)
            num_options += len(named)
    assert num_options > 20


def test_a_picture_loses_its_date_and_digits_but_no_text():
    svg = "<svg>\n <metadata>\n  2026\n </metadata>\n <!-- a -->\n"
    svg += '<path d="M 1.23456 -0.5 L 7 8.999"/><text x="1.119">rate 0.001</text></svg>'
    said = '<svg>\n<path d="M 1.23 -0.5 L 7 8.99"/><text x="1.11">rate 0.001</text></svg>'
    assert pages.tidied(svg) == said
