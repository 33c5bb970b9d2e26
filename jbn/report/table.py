"""The summary of a run as a table of text."""

from collections.abc import Mapping
from typing import Any

_HEADINGS = ("arm", "test accuracy", "test loss", "epochs to {target:.0%}", "compile", "train")


def summary_table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The summary as a table of text: headings, and a row for each arm."""
    target = next(iter(summary["arms"].values()))["target_accuracy"]
    headings = [heading.format(target=target) for heading in _HEADINGS]
    rows = []
    for name, arm in summary["arms"].items():
        reached = arm["epochs_to_target"]
        median = "never" if reached["median"] is None else f"{reached['median']:g}"
        some = 0 < reached["num_reached"] < summary["num_seeds"]
        rows.append(
            [
                name,
                _plus_minus(arm["test_accuracy"]),
                _plus_minus(arm["test_loss"]),
                median + (f" ({reached['num_reached']} of {summary['num_seeds']})" if some else ""),
                f"{arm['compile_seconds']:.1f} s",
                f"{arm['train_seconds']:.2f} s",
            ]
        )
    return headings, rows


def _plus_minus(spread: Mapping[str, Any]) -> str:
    if spread["mean"] is None:
        return "diverged"
    numbers = [number for number in (spread["mean"], spread["std"]) if number is not None]
    return " ± ".join(f"{number:.3f}" if number < 1e4 else f"{number:.2g}" for number in numbers)
