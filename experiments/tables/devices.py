"""The tables of the accelerator bench: a row a device, or one that says that none was at hand."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tables.markdown import ROOT, markdown_table, results, where, wrapped

FOLDER = ROOT / "experiments" / "bench" / "results"
ACCELERATOR = "NVIDIA H100"  # the targets are of it
NONE_YET = "not measured: no such machine yet"
PEERS = ("Flax, fast", "Flax, accurate", "PyTorch")
TRAIN = "forward + backward"
Row = dict[str, Any]
Rows = list[Row]


class Target(NamedTuple):
    """What the accelerator shall reach, and how it is found in a section's rows."""

    what: str
    wanted: float
    section: str
    found: Callable[[Rows], list[float]]  # the least of them counts


def training_rows(rows: Rows, *, large: bool) -> Rows:
    """Batch norm, forward and backward: bfloat16 of 200 MB and more, or the others."""
    return [
        row
        for row in rows
        if (row["norm"], row["what"]) == ("batch_norm", TRAIN)
        and (row["dtype"] == "bfloat16" and math.prod(row["shape"]) * 2 >= 200e6) == large
    ]


def over_jbn(rows: Rows, peer: str) -> list[float]:
    """The medians of the peer's time over jbn's."""
    return [row["over_jbn"][peer][1] for row in rows if peer in row.get("over_jbn", {})]


TARGETS = (
    Target(
        "batch norm, bfloat16, from 200 MB on, forward + backward: Flax's time over jbn's",
        1.28,
        "layer",
        lambda rows: over_jbn(training_rows(rows, large=True), "Flax, fast"),
    ),
    Target(
        "the same layers: cuDNN's time over jbn's",
        1.7,
        "layer",
        lambda rows: over_jbn(training_rows(rows, large=True), "PyTorch"),
    ),
    Target(
        "the same layers: the floor of 8 passes over jbn's time",
        1.0,
        "layer",
        lambda rows: [row["floor_over_time"]["jbn"] for row in training_rows(rows, large=True)],
    ),
    Target(
        "batch norm, smaller ones and float32: Flax's time over jbn's",
        1.0,
        "layer",
        lambda rows: over_jbn(training_rows(rows, large=False), "Flax, fast"),
    ),
    Target(
        "a training step of ResNet-50: its time with Flax's norms over that with jbn's",
        1.03,
        "resnet",
        lambda rows: over_jbn(rows, "Flax, fast"),
    ),
    Target(
        "a training step of ResNet-50: compiled PyTorch's time over jbn's",
        1.35,
        "resnet",
        lambda rows: over_jbn(rows, "PyTorch, compiled"),
    ),
    Target(
        "runs of the article's network a second, with the best number of lanes",
        5800,
        "engine",
        lambda rows: [max(row["runs_per_second"]["median"] for row in rows)] if rows else [],
    ),
)


def targets() -> str:
    """Each target, and the least that was found of it."""
    rows = []
    for target in TARGETS:
        measured = NONE_YET
        for folder in folders(ACCELERATOR):
            found = target.found(rows_of(folder, target.section))
            measured = f"{min(found):.4g}" if found else "not measured"
        rows.append([target.what, f"{target.wanted:g}", measured])
    return markdown_table([f"on an {ACCELERATOR}", "wanted, at least", "measured"], rows)


def correctness() -> str:
    """Of each check: how often it was made, and the largest error, as a share of its bound."""
    headings = [
        *("device", "check", "x", "right"),
        *("jbn: error / bound", "Flax, fast", "Flax, accurate"),
    ]
    return _by_device("correctness", headings, _checks)


def _checks(rows: Rows) -> Iterator[list[str]]:
    made: dict[tuple[str, str], Rows] = {}
    for row in rows:
        if "errors" in row:
            made.setdefault((row["check"], row["dtype"]), []).append(row)
    for (check, dtype), same in made.items():
        right = sum(row["right"] for row in same)
        shares = [_largest_share(same, name) for name in ("jbn", "Flax, fast", "Flax, accurate")]
        yield [check, dtype, f"{right} of {len(same)}", *shares]
    for row in rows:
        if "not_measured" in row:
            yield [row["check"], "", f"not measured: {row['not_measured']}"]


def _largest_share(rows: Rows, name: str) -> str:
    if name not in rows[0]["errors"]:
        return ""
    return f"{max(row['errors'][name] / row['bound'] for row in rows):.2g}"


def layers(folder: str, norm: str | None = None, what: str | None = None) -> str:
    """The layers of one device: those of one norm, those where one thing is done, or all."""
    rows = [
        row
        for row in rows_of(folder, "layer")
        if norm in (None, row["norm"]) and what in (None, row["what"])
    ]
    peers = [peer for peer in PEERS if any(peer in row["over_jbn"] for row in rows)]
    kept = "bytes kept / bytes of x: jbn, Flax"
    headings = ["layer", "jbn, µs", *(f"{peer} / jbn" for peer in peers), kept]
    table = []
    for row in rows:
        shape = " × ".join(map(str, row["shape"]))
        over_x = row["kept_over_x"] or {}
        cells = [
            f"{row['norm'].replace('_', ' ')}, {row['dtype']} {shape}, {row['what']}",
            f"{row['microseconds']['jbn']:.0f}",
            *(_spread(row["over_jbn"].get(peer)) for peer in peers),
            ", ".join(f"{over_x[name]:.1f}" for name in ("jbn", "Flax, fast") if name in over_x),
        ]
        table.append(cells)
    note = (
        f"Times and ratios are medians of {rows[0]['num_rounds']} rounds, with quartiles in "
        "parentheses. A ratio above 1 means that jbn is faster. The times include "
        f"{rows[0]['empty_call_microseconds']:.0f} µs for the call itself. The bytes for "
        "Flax are those of its fast formula. "
        f"{_source('layer', [folder])}"
    )
    if folder != "cpu":  # whose caches hold most of x: there the floor says nothing
        headings.append("floor / jbn")
        for cells, row in zip(table, rows, strict=True):
            cells.append(f"{row['floor_over_time']['jbn']:.0%}")
    return f"{markdown_table(headings, table)}\n\n{wrapped(note)}"


def layers_on_accelerators() -> str:
    """The layers of each accelerator, a table each."""
    tables = [layers(folder) for folder in folders("") if folder != "cpu"]
    if not folders(ACCELERATOR):
        tables.insert(0, f"{ACCELERATOR} {NONE_YET}.")
    return "\n\n".join(tables)


def _spread(quartiles: list[float] | None) -> str:
    if quartiles is None:
        return ""
    low, median, high = quartiles
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def resnet() -> str:
    """A training step in context, on each device."""
    headings = [
        *("device", "network, batch", "with jbn's norms, ms", "peer's time / jbn's"),
        *("temporary memory, MiB: jbn, Flax", "compile time, s: jbn, Flax", "rounds"),
    ]
    return _by_device("resnet", headings, _training_steps)


def _training_steps(rows: Rows) -> Iterator[list[str]]:
    for row in rows:
        if "not_measured" in row:
            yield [f"PyTorch: not measured: {row['not_measured']}"]
            continue
        (peer,) = set(row["over_jbn"]) - {"jbn"}
        costs = row.get("costs", {}).values()
        yield [
            f"{row['network']}, {' × '.join(map(str, row['batch']))}",
            f"{row['microseconds']['jbn'] / 1e3:.1f}",
            f"{peer}: {_spread(row['over_jbn'][peer])}",
            ", ".join(f"{cost['temp_bytes'] / 2**20:.0f}" for cost in costs),
            ", ".join(f"{cost['compile_seconds']:.1f}" for cost in costs),
            str(row["num_rounds"]),
        ]


def engine() -> str:
    """Runs of the article's network in a second, on each device."""
    headings = ["device", "lanes", "runs a second (quartiles)", "compile time, s", "rounds"]
    return _by_device("engine", headings, _lanes)


def _lanes(rows: Rows) -> Iterator[list[str]]:
    for row in sorted(rows, key=lambda row: row["num_lanes"]):
        default = row["num_lanes"] == row["default_num_lanes"]
        rates = row["runs_per_second"]
        yield [
            f"{row['num_lanes']}{' (the default)' if default else ''}",
            f"{rates['median']:.4g} ({rates['q1']:.4g} to {rates['q3']:.4g})",
            f"{row['compile_seconds']:.1f}",
            str(row["num_rounds"]),
        ]


def _by_device(
    section: str, headings: list[str], cells: Callable[[Rows], Iterator[list[str]]]
) -> str:
    """A section's table: each device's rows of cells, or one that says that none was there."""
    table = [] if folders(ACCELERATOR) else [[ACCELERATOR, NONE_YET]]
    for folder in folders(""):
        table += [[folder, *row] for row in cells(rows_of(folder, section))]
    filled = [[*row, *[""] * (len(headings) - len(row))] for row in table]
    return f"{markdown_table(headings, filled)}\n\n{wrapped(_source(section, folders('')))}"


def folders(device: str) -> list[str]:
    """The folders of results whose name begins with the device's."""
    prefix = device.lower().replace(" ", "-")
    return sorted(path.name for path in FOLDER.glob("*") if path.name.startswith(prefix))


def rows_of(folder: str, section: str) -> Rows:
    """A section's rows; none where it has not run there."""
    result = _result(folder, section)
    return result["rows"] if result else []


def _result(folder: str, section: str) -> dict[str, Any] | None:
    if not (FOLDER / folder / f"{section}.json").exists():
        return None
    return results(f"bench/results/{folder}/{section}")


def _source(section: str, folders: list[str]) -> str:
    """Where a section's results were measured."""
    found = [result for folder in folders if (result := _result(folder, section))]
    places = []
    for result in found:
        environment = result["environment"]
        torch = f", torch {environment['torch']}" if "torch" in environment else ""
        places.append(where(environment) + torch)
    return f"Measured by `{found[0]['command']} --only {section}` on {'; '.join(places)}."
