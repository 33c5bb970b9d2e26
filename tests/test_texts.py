"""The texts say what is: code in the README runs and prints that, numbers are the measured ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import write_numbers

ROOT = Path(__file__).parents[1]


def test_the_readmes_example_prints_what_it_says():
    readme = (ROOT / "README.md").read_text()
    code, output = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", readme, re.DOTALL).groups()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == output, done.stderr


@pytest.mark.parametrize("path", write_numbers.TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_numbers_are_those_of_the_results(path):
    text = path.read_text()
    assert "numbers: " in text
    assert write_numbers.render(path) == text


def test_every_command_of_the_readme_exists(jbn_command):
    readme = (ROOT / "README.md").read_text()
    targets = re.findall(r"^    make (\w+)", readme, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    _, out, _ = jbn_command("--help")
    for command in re.findall(r"^    jbn (\w+)", readme, re.MULTILINE):
        assert command in out


def test_no_text_has_a_line_too_long():
    for path in write_numbers.TEXTS:
        for line in path.read_text().splitlines():
            assert len(line) <= 100 or line.startswith(("|", "#   "))
