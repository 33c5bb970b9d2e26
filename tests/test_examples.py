"""The examples run and come to what they show; a notebook has the cells of its script."""

import json
import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
SHOWN = {
    "article": lambda of: of["accuracies"][-1] > 0.9,
    "flax_drop_in": lambda of: min(of["linen_accuracy"], of["nnx_accuracy"]) > 0.9,
    "recompute_fold_export": lambda of: of["file_accuracy"] > of["accuracy_before"] + 0.1,
    "seeds_and_rates": lambda of: (
        of["accuracies"]["batch"][0].mean() > of["accuracies"]["none"][0].mean()
    ),
}


@pytest.mark.quick
def test_each_example_has_what_it_comes_to():
    assert {script.stem for script in SCRIPTS} == set(SHOWN)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_comes_to_what_it_shows(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert SHOWN[script.stem](runpy.run_path(str(script), run_name="__main__"))


@pytest.mark.quick
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_has_the_cells_of_its_script(script):
    """Otherwise: `python docs/notebooks.py`."""
    notebook = json.loads(script.with_suffix(".ipynb").read_text())
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert cells == cells_of(script.read_text())
    assert not any(cell.get("outputs") for cell in notebook["cells"])


def cells_of(text):
    """The cells of a script in the percent format: their types, and their text."""
    cells = []
    for mark, cell in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n)*)", text, re.MULTILINE):
        if mark == " [markdown]":
            cells.append(("markdown", re.sub(r"(?m)^# ?", "", cell).strip()))
        else:
            cells.append(("code", cell.strip()))
    return cells


@pytest.mark.quick
def test_every_example_is_listed():
    page = (EXAMPLES / "index.md").read_text()
    for script in SCRIPTS:
        assert f"[{script.name}]({script.name})" in page
        assert f"[{script.stem}.ipynb]({script.stem}.ipynb)" in page
