"""Makes a notebook of each script in `examples/`, by jupytext: `python docs/notebooks.py`.

A notebook has no outputs. Its cells are numbered, so that the same script makes the same file.
"""

from pathlib import Path

import jupytext

EXAMPLES = Path(__file__).parent / "examples"


def write(script: Path) -> None:
    """Writes the notebook beside its script."""
    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    jupytext.write(notebook, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    for script in sorted(EXAMPLES.glob("*.py")):
        write(script)
