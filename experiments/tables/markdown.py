"""What the texts' tables are made of: results files, Markdown tables, lines of a length."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def results(name: str) -> dict[str, Any]:
    """A results file below the experiments folder."""
    found: dict[str, Any] = json.loads((ROOT / "experiments" / f"{name}.json").read_text())
    return found


def where(environment: dict[str, Any]) -> str:
    """The device and the versions, in words; jbn's is the commit that the files were taken from."""
    versions = environment["versions"]
    commit, _, changes = (environment["git_commit"] or "").partition("-")
    return (
        f"{environment['device']} ({environment['num_cpus']} cores), Python {versions['python']}, "
        f"jax {versions['jax']}, flax {versions['flax']}"
        + (f", jbn at commit {commit[:7]}" if commit else "")
        + (" with changes" if changes else "")
    )


def measured_by(command: str, environment: dict[str, Any], *peers: str) -> str:
    """The sentence that says how to measure again; `peers` are more versions to name."""
    versions = [f"{peer} {environment[peer]}" for peer in peers]
    return f"Measured by `{command}` on {', '.join([where(environment), *versions])}."


def markdown_table(headings: list[str], rows: list[list[str]], num_words: int = 1) -> str:
    """A table whose first columns are of words, the others of numbers."""
    headings = [heading.replace("\n", " ") for heading in headings]  # broken for terminals
    align = ["---"] * num_words + ["---:"] * (len(headings) - num_words)
    return "\n".join("| " + " | ".join(row) + " |" for row in [headings, align, *rows])


def wrapped(text: str, width: int = 100) -> str:
    """The words in lines; a text may not have longer ones."""
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return "\n".join(lines)
