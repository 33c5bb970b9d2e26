"""The site: code in its pages runs, prints what they say, and draws the pictures that they show."""

import importlib
import inspect
import re
from typing import Any

import pages
import pytest
import typer
from pages import DOCS

import jbn
from jbn.cli.commands import app


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_code_of_a_page_does_what_the_page_says(page, tmp_path, capsys):
    text = page.read_text()
    if "import pandas" in pages.code_of(page):
        pytest.importorskip("pandas")
    pages.run(page, tmp_path)

    # What a block of Python prints follows it, in a block without a language.
    said = re.findall(r"```python\n(?:(?!```).)*?```\n\n```\n(.*?)```", text, re.DOTALL)
    if said:
        assert capsys.readouterr().out == "".join(said)

    if page in pages.COURSE:
        shown = set(re.findall(r"!\[[^\]]*\]\((\w+\.svg)\)", text))
        drawn = {path.name for path in tmp_path.glob("*.svg")}
        assert shown == drawn == {path.name for path in page.parent.glob("*.svg")} & drawn
        assert drawn


@pytest.mark.quick
def test_every_public_name_stands_in_exactly_one_page_of_the_reference():
    documented = [
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(r"^\.\. auto\w+:: (\S+)", page.read_text(), re.MULTILINE)
    ]
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


def test_every_option_of_a_command_in_the_pages_exists():
    group: Any = typer.main.get_command(app)
    commands = group.commands
    found = 0
    for page in pages.PAGES:
        text = page.read_text().replace("\\\n", " ")
        for name, line in re.findall(r"\bjbn ([a-z]+)\b([^`\n]*)", text):
            if name not in commands:
                continue
            known = {option for of in commands[name].params for option in of.opts}
            known |= {option for of in commands[name].params for option in of.secondary_opts}
            named = set(re.findall(r"(?<!\S)--[a-z-]+", line))
            assert named <= known, (page.name, line)
            found += len(named)
    assert found > 20


def test_a_picture_loses_its_date_and_digits_but_no_text():
    svg = "<svg>\n <metadata>\n  2026\n </metadata>\n <!-- a -->\n"
    svg += '<path d="M 1.23456 -0.5 L 7 8.999"/><text x="1.119">rate 0.001</text></svg>'
    said = '<svg>\n<path d="M 1.23 -0.5 L 7 8.99"/><text x="1.11">rate 0.001</text></svg>'
    assert pages.tidied(svg) == said
