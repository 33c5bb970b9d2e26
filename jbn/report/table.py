"""The summary of a run as a table of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from jbn.report.metric import Metric, metric_words, number_text
from jbn.report.sweep import in_words
from jbn.report.text import shortened, text_of

Table = tuple[list[str], list[list[str]]]


def summary_table(summary: Mapping[str, Any]) -> Table:
    """The summary as a table of text: headings, and a row for each arm.

    Of a sweep, each arm at its best point; headings are then of two lines, for a terminal's width.
    """
    if not summary["arms"]:  # of a run that isn't finished: no trial is done
        return [], []
    # A summary of an earlier version of jbn has no points: it had no sweeps.
    keys = list(next(iter(summary["arms"].values())).get("point", ()))
    return _table_of_sweep(summary, keys) if keys else _table_of_run(summary)


def _table_of_run(summary: Mapping[str, Any]) -> Table:
    shown, target = summary["shown"], _target(summary)
    headings = ["arm", *(f"test {metric_words(name)}" for name in shown)]
    headings += [f"epochs to {target}"] if target else []
    rows = []
    for name, arm in summary["arms"].items():
        rows.append(
            [
                name,
                *(_plus_minus(arm[f"test_{metric}"]) for metric in shown),
                *([_epochs(arm["epochs_to_target"])] if target else []),
                f"{arm['compile_seconds']:.1f} s",
                f"{arm['train_seconds']:.2f} s",
            ]
        )
    headings += ["compile", "train"]
    return headings, rows + _baseline(summary, shown, 1, len(headings))


def _table_of_sweep(summary: Mapping[str, Any], keys: list[str]) -> Table:
    (metric, *others), target = summary["shown"], _target(summary)
    headings = ["arm", *(in_words(key).replace(" ", "\n") for key in keys)]
    headings += [f"test {metric_words(metric)}", *(f"test\n{metric_words(n)}" for n in others)]
    headings += [f"epochs\nto {target}"] if target else []
    headings += ["diverged", "seconds"]
    rows = []
    for name, arm in summary["arms"].items():
        rows.append(
            [
                name,
                *(shortened(text_of(arm["point"][key])) for key in keys),
                _with_interval(arm[f"test_{metric}"]),
                *(number_text(arm[f"test_{other}"]["mean"]) for other in others),
                *([_median(arm["epochs_to_target"])] if target else []),
                f"{arm['num_diverged']} of {arm['num_trials']}",
                f"{arm['compile_seconds'] + arm['train_seconds']:.1f}",
            ]
        )
    return headings, rows + _baseline(summary, [metric, *others], 1 + len(keys), len(headings))


def _baseline(
    summary: Mapping[str, Any], shown: Sequence[str], num_before: int, num_columns: int
) -> list[list[str]]:
    """A row for the model without inputs, if the summary has it."""
    baseline = summary.get("baseline")
    if baseline is None:
        return []
    row = [baseline["name"], *[""] * (num_before - 1)]
    row += [number_text(baseline[f"test_{metric}"]) for metric in shown]
    return [row + [""] * (num_columns - len(row))]


def _target(summary: Mapping[str, Any]) -> str | None:
    """The target in words; None if there is none, or no trial of an arm's best point reached it."""
    if summary["target"] is None or not any(
        arm["epochs_to_target"]["num_reached"] for arm in summary["arms"].values()
    ):
        return None
    metric = Metric(summary["shown"][0], True)
    value = metric.shown(summary["target"])
    return value if metric.is_share else f"{metric_words(metric.name)} {value}"


def _epochs(reached: Mapping[str, Any]) -> str:
    """The median; if only some seeds reached the target, also how many."""
    median, num_reached = _median(reached), reached["num_reached"]
    num_seeds = len(reached["per_seed"])
    if num_reached in (0, num_seeds):
        return median
    if reached["median"] is None:
        return f"only {num_reached} of {num_seeds} seeds"
    return f"{median} ({num_reached} of {num_seeds})"


def _median(reached: Mapping[str, Any]) -> str:
    return "never" if reached["median"] is None else f"{reached['median']:g}"


def _plus_minus(spread: Mapping[str, Any]) -> str:
    mean, std = spread["mean"], spread["std"]
    if mean is None or std is None:
        return number_text(mean)
    return f"{number_text(mean)} ± {number_text(std, like=mean)}"


def _with_interval(spread: Mapping[str, Any]) -> str:
    """The mean, and the 95% interval of it where there is one."""
    if spread["interval"] is None:
        return number_text(spread["mean"])
    low, high = (number_text(end, like=spread["mean"]) for end in spread["interval"])
    return f"{number_text(spread['mean'])} [{low}, {high}]"
