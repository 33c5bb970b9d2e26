"""Tables and sentences of the claims: their verdicts, comparisons and numbers."""

from collections import Counter
from typing import Any

from claims import CLAIMS
from report import read_announced
from values import read_rows
from verdicts import HOLDS, NOT_SHOWN, PARTLY, REFUTED, effect_in_words

from tables.markdown import ROOT, markdown_table, measured_by, results, where, wrapped


def claim(name: str) -> str:
    """What was measured of a claim, and the verdict."""
    result = results(f"{name}/results")
    table = markdown_table(result["headings"], result["rows"])
    said = f"**Verdict: {result['verdict']}.** {result['summary']}"
    if not result["judged"]:
        return f"{table}\n\n" + wrapped(f"{said} {_measured(result)}")
    right = sum(of["outcome"] == of["predicted"] for of in result["judged"])
    said = wrapped(
        f"{said} In brackets: Student's 95% intervals over {result['num_repeats']} "
        f"{result['repeats']}; those of the comparisons are right together. Of "
        f"{len(result['judged'])} predictions {right} came true. {_measured(result)}"
    )
    return f"{_judged(result)}\n\n{said}\n\n{table}"


def sentence(name: str, folder: str = "") -> str:
    """A claim, its verdict and its sentence, for a text that finds the claims in `folder`."""
    result = results(f"{name}/results")
    link = f"[{result['claim']}]({folder}{name}/README.md)"
    return wrapped(f"{link}: **{result['verdict']}**. {result['summary']}")


def claims() -> str:
    """Every claim in a row, with its verdict and its main numbers."""
    headings = ["claim", "verdict", "found", "trainings", "repeats"]
    rows = []
    for name in CLAIMS:
        result = results(f"{name}/results")
        link = f"[{result['claim']}]({name}/README.md)"
        rows.append([link, result["verdict"], result["summary"], *_extent(result)])
    return f"{markdown_table(headings, rows, num_words=3)}\n\n{_claims_made_by()}"


def tally() -> str:
    """How many claims and comparisons came to what, and how many were predicted."""
    found = [results(f"{name}/results") for name in CLAIMS]
    judged = [of for result in found for of in result["judged"]]
    right = sum(of["outcome"] == of["predicted"] for of in judged)
    return wrapped(
        f"Of {len(found)} claims {_counted([of['verdict'] for of in found])}. Of their "
        f"{len(judged)} comparisons {_counted([of['outcome'] for of in judged])}. {right} of these "
        "came out as predicted."
    )


def kept() -> str:
    """How many rows and trainings there are of all claims."""
    rows = [len(read_rows(ROOT / "experiments" / name / "values.csv")) for name in CLAIMS]
    trainings = sum(results(f"{name}/results")["num_trainings"] for name in CLAIMS)
    return wrapped(
        f"{len(rows)} claims have {sum(rows):,} rows in their values.csv. They are of "
        f"{trainings:,} trainings."
    )


def verdicts() -> str:
    """Every claim in a row, with its verdict, what to do, and a link to its numbers."""
    rows = []
    for name in CLAIMS:
        result = results(f"{name}/results")
        readme = (ROOT / "experiments" / name / "README.md").read_text(encoding="utf-8")
        practice, *_ = read_announced(readme, name)["practice"].split(". ")
        link = f"[{result['claim']}]({name}/README.md)"
        rows.append([link, result["verdict"], f"{practice.rstrip('.')}."])
    table = markdown_table(["claim", "verdict", "in practice"], rows, num_words=3)
    return f"{table}\n\n{_claims_made_by()}"


def _judged(result: dict[str, Any]) -> str:
    """The comparisons that a claim's verdict rests on, and what came of each."""
    effect = f"effect, {result['unit']}"
    headings = ["comparison", "outcome", "predicted", effect, "smallest that counts"]
    rows = [
        [
            *(of["name"], of["outcome"], of["predicted"]),
            *(effect_in_words(of["effect"], of["smallest"]), f"{of['smallest']:g}"),
        ]
        for of in result["judged"]
    ]
    return markdown_table(headings, rows, num_words=3)


def _measured(result: dict[str, Any]) -> str:
    environment, count = result["environment"], result["num_trainings"]
    return (
        f"{f'The {count} trainings' if count else 'It'} took {result['seconds']:.0f} s. "
        f"{measured_by(environment['command'], environment)}"
    )


def _counted(outcomes: list[str]) -> str:
    """How many came to what, in words."""
    words = {
        HOLDS: "hold",
        PARTLY: "hold partly",
        REFUTED: "are refuted",
        NOT_SHOWN: "are not shown",
    }
    counts = Counter(outcomes)
    return ", ".join(f"{counts[of]} {words[of]}" for of in words if counts[of])


def _extent(result: dict[str, Any]) -> list[str]:
    return [str(result["num_trainings"]), f"{result['num_repeats']} {result['repeats']}"]


def _claims_made_by() -> str:
    found = [results(f"{name}/results") for name in CLAIMS]
    minutes = sum(result["seconds"] for result in found) / 60
    (machine,) = {where(result["environment"]).partition(", jbn at")[0] for result in found}
    return wrapped(
        f"Measured on {machine}; all claims together took {minutes:.0f} minutes. Each claim's page "
        "has its command and its commit."
    )
