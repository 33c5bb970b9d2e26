"""The texts say what is: code in the README runs and prints that, numbers are the measured ones."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import write_numbers

from jbn.config import ArmConfig, Config
from jbn.store import layout

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = list(write_numbers.texts())


def readmes_example():
    """The README's first code, and what it prints."""
    readme = (ROOT / "README.md").read_text()
    return re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", readme, re.DOTALL).groups()


def test_the_readmes_example_prints_what_it_says():
    code, output = readmes_example()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == output, done.stderr


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_numbers_are_those_of_the_results(path):
    text = path.read_text()
    begun = re.findall(r"^(?:<!--|#) numbers: ", text, re.MULTILINE)
    assert len(begun) == len(re.findall(r"^(?:<!-- end -->|# end)$", text, re.MULTILINE))
    assert write_numbers.render(path) == text


def test_every_make_target_that_is_named_exists():
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[
        1
    ].split()
    texts = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", ".github/workflows/ci.yml")]
    for path in texts:
        named = re.findall(r"(?m)(?:^ {4}|`|run: )make ([a-z-]+)", path.read_text())
        assert named, path
        assert set(named) <= set(targets), path


def test_every_key_of_a_config_is_listed_with_its_default():
    def flat(table, prefix=""):
        for key, value in table.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    table = (ROOT / "docs" / "reference" / "config.md").read_text()
    listed = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", table, re.MULTILINE))
    config = Config(name="x", arms={"x": ArmConfig()}).model_dump(mode="json", exclude={"arms"})
    del config["name"], config["sweep"]["axes"]
    for key, value in flat(config | ArmConfig().model_dump(mode="json")):
        assert listed.pop(key) == ("none" if value is None else f"`{json.dumps(value)}`"), key
    assert list(listed) == ["name"]


def test_every_file_and_column_of_a_run_is_described(small_run):
    page = (ROOT / "docs" / "reference" / "runs.md").read_text()
    assert f"format {layout.FORMAT}" in page
    for name, value in vars(layout).items():
        if name.isupper() and isinstance(value, str):
            assert f"| `{value}" in page, value
    for table in small_run.glob("*.csv"):
        section = page.partition(f"## `{table.name}`")[2].partition("\n## ")[0]
        for column in table.read_text().splitlines()[0].split(","):
            assert f"`{column}`" in section, (table.name, column)


@pytest.mark.quick
def test_every_paper_that_is_cited_is_listed():
    number = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
    folders = ("jbn", "docs", "experiments", "configs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
    listed = ROOT / "docs" / "reference" / "papers.md"
    cited = [
        found
        for path in files
        if path.suffix in (".py", ".md") and path != listed and "_build" not in path.parts
        for found in number.findall(path.read_text(encoding="utf-8"))
    ]
    found = number.findall(listed.read_text(encoding="utf-8"))
    assert len(found) == len(set(found))
    assert set(found) == set(cited)


@pytest.mark.quick
def test_every_reference_of_a_docstring_is_listed():
    listed = " ".join((ROOT / "docs" / "reference" / "papers.md").read_text().split())
    sections = [
        " ".join(section.split())
        for path in (ROOT / "jbn").rglob("*.py")
        for section in re.findall(r' References:\n(.*?)(?:"""|\n\n)', path.read_text(), re.DOTALL)
    ]
    begun = [re.match(r".+?, \d{4}", text) for section in sections for text in section.split("; ")]
    cited = {found.group() for found in begun if found is not None}
    assert len(cited) > 20
    assert [names for names in sorted(cited) if names not in listed] == []


def test_no_text_has_a_line_too_long():
    for path in {*TEXTS, *PAGES, *ROOT.glob("*.md")}:
        for line in path.read_text().splitlines():
            assert len(line) <= 100 or line.startswith(("|", "#   "))


def test_no_peer_has_less_than_half_of_jbns_error_where_that_exceeds_1e_6():
    results = json.loads((ROOT / "experiments" / "bench" / "accuracy.json").read_text())
    rows = [*results["rows"], *results["inputs"]]
    errors = [row[of] for row in rows for of in ("y", "dx") if of in row]
    assert len(errors) >= 50
    for of in errors:
        peers = {name: error for name, error in of.items() if name != "jbn"}
        assert peers
        assert all(of["jbn"] <= max(2 * error, 1e-6) for error in peers.values()), of
