"""The page: figures, table, config and environment of a run in one template."""

import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from jbn.config import UserError
from jbn.report.figures import draw_learning_curves, draw_norms, to_svg
from jbn.report.table import summary_table


def write_report(run_dir: Path) -> Path:
    """Writes `report.html` into a finished run's folder, from the files there; returns its path.

    Raises:
        UserError: the folder holds no finished run.
    """
    summary, config, environment, norms = (
        _read_json(run_dir / f"{name}.json")
        for name in ("summary", "config", "environment", "norms")
    )
    lines = _read(run_dir / "metrics.jsonl").splitlines()
    try:
        rows = [json.loads(line) for line in lines]
        headings, table = summary_table(summary)
        curves = Markup(to_svg(draw_learning_curves(rows)))
        norms_figure = Markup(to_svg(draw_norms(norms, list(config["arms"])))) if norms else None
        html = _template().render(
            name=config["name"],
            num_seeds=summary["num_seeds"],
            arms=list(config["arms"]),
            headings=headings,
            table=table,
            curves=curves,
            norms=norms,
            norms_figure=norms_figure,
            config=json.dumps(config, indent=2),
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


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jbn.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise UserError(f"{path}: can't be read ({reason}); wanted a finished run") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: damaged: {error}; run it again") from None
