"""Draws what came of the claims, and makes one page of it.

    python experiments/report.py

Reads each claim's `results.json`, and writes its `figure.svg`; and here `figure.svg`, which shows
all claims, and `report.html`.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from claims import CLAIMS
from drawing import VERDICT_COLORS, draw_claim, draw_overview, to_file
from markupsafe import Markup
from matplotlib.figure import Figure
from verdicts import effect_in_words

from jbn.report.style import to_svg

HERE = Path(__file__).parent


def write_report(folder: Path, names: Iterable[str]) -> None:
    """Writes every figure and the page, from the claims' folders in a folder.

    Raises:
        ValueError: a claim has no results or no README there, its results are of a time before
            they held panels, or its README lacks a paragraph.
    """
    names = list(names)
    results = {name: _load(folder / name / "results.json") for name in names}
    announced = {name: read_announced(_read(folder / name / "README.md"), name) for name in names}
    for name, result in results.items():
        (folder / name / "figure.svg").write_text(to_file(draw_claim(result)), encoding="utf-8")
    (folder / "figure.svg").write_text(to_file(draw_overview(results)), encoding="utf-8")
    (folder / "report.html").write_text(render_page(results, announced), encoding="utf-8")


def render_page(
    results: Mapping[str, Mapping[str, Any]], announced: Mapping[str, Mapping[str, str]]
) -> str:
    """The page, of results and of what `read_announced` found, by the claims' names."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    verdicts = [result["verdict"] for result in results.values()]
    judged = [of for result in results.values() for of in result["judged"]]
    return environment.get_template("report.html.jinja").render(
        results=results,
        announced=announced,
        figures={name: _for_the_page(draw_claim(result)) for name, result in results.items()},
        overview=_for_the_page(draw_overview(results)),
        counts={of: verdicts.count(of) for of in VERDICT_COLORS if of in verdicts},
        effect_in_words=lambda of: effect_in_words(of["effect"], of["smallest"]),
        num_judged=len(judged),
        outcomes=Counter(of["outcome"] for of in judged),
        num_predicted=sum(of["outcome"] == of["predicted"] for of in judged),
        colors={verdict: name_of_color(verdict) for verdict in VERDICT_COLORS},
        num_trainings=sum(result["num_trainings"] for result in results.values()),
    )


def name_of_color(verdict: str) -> str:
    """The page's own name of a verdict's colour, which is another one on dark.

    >>> name_of_color("not shown")
    'var(--not-shown)'
    """
    return f"var(--{verdict.replace(' ', '-')})"


def _for_the_page(figure: Figure) -> Markup:
    """A figure as SVG, with the page's colours of the verdicts."""
    svg = to_svg(figure)
    for verdict, color in VERDICT_COLORS.items():
        svg = svg.replace(color, name_of_color(verdict))
    return Markup(svg)


def read_announced(readme: str, name: str) -> dict[str, str]:
    """The paragraphs of a README that the page shows, without their markup.

    Args:
        readme: its text.
        name: the claim's, for the error.

    Returns:
        The question, the claim, the prediction, the rule of the verdict, and what to do in
        practice. And where the README says so, what is wrong in the claim, and what the rule was
        before.
    """
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", readme)]
    starts = {
        "question": r"# ",
        "claim": r"(?=The (?:article|paper)'s claim: )",
        "wrong": r"\*\*What is wrong in it\.\*\* ",
        "prediction": r"\*\*Prediction\.\*\* ",
        "rule": r"\*\*Verdict(?:\*\*,|\.\*\*) ",
        "practice": r"\*\*In practice\.\*\* ",
        "before": r"\*\*The rule was another one before\.?\*\*:? ",
    }
    found = {}
    for key, start in starts.items():
        matches = (re.match(f"{start}(.*)", paragraph) for paragraph in paragraphs)
        match = next(filter(None, matches), None)
        if match is not None:
            found[key] = _plain(match[1])
        elif key not in ("wrong", "before"):
            raise ValueError(f"{name}/README.md: found no paragraph with its {key}")
    return found


def _plain(markdown: str) -> str:
    """Text without markup of links, code and emphasis; a link by a claim's name has its words.

    >>> _plain("*Width*: of [the `batch_norm` arm](x.md), **2 * 3** times 4 * 5")
    'Width: of the batch_norm arm, 2 * 3 times 4 * 5'
    >>> _plain("See [batch_size](../batch_size/README.md).")
    'See “small batches harm batch norm”.'
    """
    text = re.sub(
        r"\[(\w+)\]\(\.\./\1/README\.md\)",
        lambda match: f"“{CLAIMS[match[1]]}”" if match[1] in CLAIMS else match[1],
        markdown,
    )
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "")
    return re.sub(r"(\*{1,2})(?=\S)(.+?)(?<=\S)\1", r"\2", text)


def _load(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(_read(path))
    if "panels" not in result:
        raise ValueError(f"{path}: found no panels; `python experiments/claims.py` makes it anew")
    return result


def _read(path: Path) -> str:
    if not path.is_file():
        raise ValueError(
            f"{path}: found no such file; `python experiments/claims.py` makes results"
        )
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    try:
        write_report(HERE, CLAIMS)
    except ValueError as error:
        sys.exit(f"report: {error}")
