"""The page: table, pictures, config and environments of a run in one template."""

import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from jbn import store
from jbn.config import UserError
from jbn.config.errors import printable
from jbn.report.figures import draw_norms
from jbn.report.pictures import pictures_of
from jbn.report.results import Results, load_results
from jbn.report.style import to_svg
from jbn.report.table import summary_table


def write_report(run_dir: str | Path) -> Path:
    """Writes the page of a run into its folder, from the files there; returns its path.

    Of a run that goes on or was stopped, the page says so and has what is there.

    Raises:
        UserError: the folder holds no run, or a damaged one.
    """
    run_dir = Path(run_dir)
    results = load_results(run_dir)
    parts, norms = store.read_parts(run_dir), store.read_norms(run_dir)
    config = results.config
    try:
        headings, table = summary_table(results.summary)
        html = _template().render(
            name=config.name,
            num_seeds=config.num_seeds,
            lead=_lead(results),
            devices=" and ".join(dict.fromkeys(part["device"] for part in parts)),
            unfinished=None if results.is_finished else _unfinished(results),
            is_sweep=bool(config.sweep.axes),
            headings=headings,
            table=table,
            metric=results.metric.words,
            has_target=any("epochs" in heading for heading in headings),
            baseline=(results.summary.get("baseline") or {}).get("name"),
            pictures=pictures_of(results),
            norms=norms,
            norms_figure=Markup(to_svg(draw_norms(norms, list(config.arms)))) if norms else None,
            config=json.dumps(config.model_dump(mode="json"), indent=2),
            parts=parts,
        )
    except (
        *(ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError),
        *(StopIteration, TypeError, ValueError),
        jinja2.UndefinedError,
    ) as error:
        raise UserError(f"{run_dir}: its files are damaged: {error!r}; run it again") from error
    return store.write_report(run_dir, html)


def _lead(results: Results) -> str:
    """How many trials these are, in words."""
    arms, points, seeds = results.is_done.shape
    parts = [_count(arms, "arm"), _count(seeds, "seed") + " each"]
    if results.config.sweep.axes:
        parts.insert(1, _count(points, "point"))
    return f"{', '.join(parts)}: {_count(arms * points * seeds, 'trial')}"


def _unfinished(results: Results) -> str:
    return (
        f"This run isn't finished: {results.is_done.sum():,} of "
        f"{_count(results.is_done.size, 'trial')} are done. The table is of these; the curves are "
        "also of those that have begun."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _shown(value: Any) -> Any:
    """What is written into the page: of a name, nothing that moves or hides other text."""
    if isinstance(value, Markup | jinja2.Undefined):
        return value
    return "\n".join(map(printable, str(value).split("\n")))


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jbn.report", "."),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
