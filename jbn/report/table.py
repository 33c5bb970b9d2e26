"""The summary of a run as a table of text."""

from collections.abc import Mapping
from typing import Any

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
    headings = ["arm", "test accuracy", "test loss", f"epochs to {_target(summary)}"]
    rows = []
    for name, arm in summary["arms"].items():
        rows.append(
            [
                name,
                _plus_minus(arm["test_accuracy"]),
                _plus_minus(arm["test_loss"]),
                _epochs(arm["epochs_to_target"]),
                f"{arm['compile_seconds']:.1f} s",
                f"{arm['train_seconds']:.2f} s",
            ]
        )
    return [*headings, "compile", "train"], rows


def _table_of_sweep(summary: Mapping[str, Any], keys: list[str]) -> Table:
    headings = ["arm", *(in_words(key).replace(" ", "\n") for key in keys), "test accuracy"]
    headings += ["test\nloss", f"epochs\nto {_target(summary)}", "diverged", "seconds"]
    rows = []
    for name, arm in summary["arms"].items():
        rows.append(
            [
                name,
                *(shortened(text_of(arm["point"][key])) for key in keys),
                _with_interval(arm["test_accuracy"]),
                _number(arm["test_loss"]["mean"]),
                _median(arm["epochs_to_target"]),
                f"{arm['num_diverged']} of {arm['num_trials']}",
                f"{arm['compile_seconds'] + arm['train_seconds']:.1f}",
            ]
        )
    return headings, rows


def _target(summary: Mapping[str, Any]) -> str:
    return f"{next(iter(summary['arms'].values()))['target_accuracy']:.0%}"


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
    numbers = [number for number in (spread["mean"], spread["std"]) if number is not None]
    return " ± ".join(map(_number, numbers)) if spread["mean"] is not None else "diverged"


def _with_interval(spread: Mapping[str, Any]) -> str:
    """The mean, and the 95% interval of it where there is one."""
    if spread["interval"] is None:
        return _number(spread["mean"])
    low, high = spread["interval"]
    return f"{_number(spread['mean'])} [{_number(low)}, {_number(high)}]"


def _number(value: float | None) -> str:
    if value is None:
        return "diverged"
    return f"{value:.3f}" if value < 1e4 else f"{value:.2g}"
