"""The page: table, pictures, config and environment of a run in one template."""

import json
from pathlib import Path

import jinja2
from markupsafe import Markup

from jbn.config import UserError
from jbn.report.figures import draw_norms
from jbn.report.pictures import pictures_of
from jbn.report.results import Results, load_results, read_json
from jbn.report.style import to_svg
from jbn.report.table import summary_table


def write_report(run_dir: Path) -> Path:
    """Writes `report.html` into a finished run's folder, from the files there; returns its path.

    Raises:
        UserError: the folder holds no finished run.
    """
    results = load_results(run_dir)
    environment, norms = (read_json(run_dir / f"{name}.json") for name in ("environment", "norms"))
    config = results.config
    try:
        headings, table = summary_table(results.summary)
        html = _template().render(
            name=config.name,
            num_seeds=config.num_seeds,
            lead=_lead(results),
            is_sweep=bool(config.sweep.axes),
            headings=headings,
            table=table,
            pictures=pictures_of(results),
            norms=norms,
            norms_figure=Markup(to_svg(draw_norms(norms, list(config.arms)))) if norms else None,
            config=json.dumps(config.model_dump(mode="json"), indent=2),
            environment=environment,
        )
    except (
        *(AttributeError, KeyError, StopIteration, TypeError, ValueError),
        jinja2.UndefinedError,
    ) as error:
        raise UserError(f"{run_dir}: its files are damaged: {error!r}; run it again") from None
    path = run_dir / "report.html"
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: can't be written: {error.strerror}") from None
    return path


def _lead(results: Results) -> str:
    """How many runs these are, in words."""
    arms, points, seeds = results.has_diverged.shape
    parts = [_count(arms, "arm"), _count(seeds, "seed") + " each"]
    if results.config.sweep.axes:
        parts.insert(1, _count(points, "point"))
    return f"{', '.join(parts)}: {_count(arms * points * seeds, 'run')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jbn.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
