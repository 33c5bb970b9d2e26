"""The tables of the accelerator bench: a row a device, or one that says that none was at hand."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tables import ROOT, markdown_table, results, where, wrapped

FOLDER = ROOT / "experiments" / "bench" / "results"
ACCELERATOR = "NVIDIA H100"  # the targets are of it
NONE_YET = "not measured: no such machine yet"
PEERS = ("Flax, fast", "Flax, accurate", "PyTorch")
TRAIN = "forward + backward"


Rows = list[dict[str, Any]]


class Target(NamedTuple):
    """What the accelerator shall reach, and how it is found in a section's rows."""

    what: str
    wanted: float
    section: str
    found: Callable[[Rows], list[float]]  # the least of them counts


def _training(rows: Rows, *, large: bool) -> Rows:
    """Batch norm, forward and backward: bfloat16 of 200 MB and more, or the others."""
    return [
        row
        for row in rows
        if (row["norm"], row["what"]) == ("batch_norm", TRAIN)
        and (row["dtype"] == "bfloat16" and math.prod(row["shape"]) * 2 >= 200e6) == large
    ]


def _over_jbn(rows: Rows, peer: str) -> list[float]:
    """The medians of the peer's time over jbn's."""
    return [row["over_jbn"][peer][1] for row in rows if peer in row.get("over_jbn", {})]


TARGETS = (
    Target(
        "batch norm, bfloat16, from 200 MB on, forward + backward: Flax's time over jbn's",
        1.28,
        "layer",
        lambda rows: _over_jbn(_training(rows, large=True), "Flax, fast"),
    ),
    Target(
        "the same layers: cuDNN's time over jbn's",
        1.7,
        "layer",
        lambda rows: _over_jbn(_training(rows, large=True), "PyTorch"),
    ),
    Target(
        "the same layers: the floor of 8 passes over jbn's time",
        1.0,
        "layer",
        lambda rows: [row["floor_over_time"]["jbn"] for row in _training(rows, large=True)],
    ),
    Target(
        "batch norm, smaller ones and float32: Flax's time over jbn's",
        1.0,
        "layer",
        lambda rows: _over_jbn(_training(rows, large=False), "Flax, fast"),
    ),
    Target(
        "a training step of ResNet-50: its time with Flax's norms over that with jbn's",
        1.03,
        "resnet",
        lambda rows: _over_jbn(rows, "Flax, fast"),
    ),
    Target(
        "a training step of ResNet-50: compiled PyTorch's time over jbn's",
        1.35,
        "resnet",
        lambda rows: _over_jbn(rows, "PyTorch, compiled"),
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
        for folder in _folders(ACCELERATOR):
            found = target.found(_rows(folder, target.section))
            measured = f"{min(found):.4g}" if found else "not measured"
        rows.append([target.what, f"{target.wanted:g}", measured])
    return markdown_table([f"on an {ACCELERATOR}", "wanted, at least", "measured"], rows)


def correctness() -> str:
    """Of each check: how often it was made, and the largest error, as a share of its bound."""
    rows = []
    for device, folder in _devices():
        if folder is None:
            rows.append([device, NONE_YET, *[""] * 5])
            continue
        checks: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in _rows(folder, "correctness"):
            if "errors" in row:
                checks.setdefault((row["check"], row["dtype"]), []).append(row)
        for (check, dtype), made in checks.items():
            right = sum(row["right"] for row in made)
            shares = [
                _largest_share(made, name) for name in ("jbn", "Flax, fast", "Flax, accurate")
            ]
            rows.append([device, check, dtype, f"{right} of {len(made)}", *shares])
        rows += [
            [device, row["check"], "", f"not measured: {row['not_measured']}", *[""] * 3]
            for row in _rows(folder, "correctness")
            if "not_measured" in row
        ]
    headings = [
        "device",
        "check",
        "x",
        "right",
        "jbn: error / bound",
        "Flax, fast",
        "Flax, accurate",
    ]
    return f"{markdown_table(headings, rows)}\n\n{_source('correctness')}"


def _largest_share(made: list[dict[str, Any]], name: str) -> str:
    if name not in made[0]["errors"]:
        return ""
    return f"{max(row['errors'][name] / row['bound'] for row in made):.2g}"


def layers(folder: str, norm: str | None = None, what: str | None = None) -> str:
    """The layers of one device: those of one norm, those where one thing is done, or all."""
    rows = [
        row
        for row in _rows(folder, "layer")
        if norm in (None, row["norm"]) and what in (None, row["what"])
    ]
    peers = [peer for peer in PEERS if any(peer in row["over_jbn"] for row in rows)]
    headings = ["layer", "jbn, µs", *(f"{peer} / jbn" for peer in peers), "kept: jbn, Flax"]
    table = []
    for row in rows:
        shape = " × ".join(map(str, row["shape"]))
        kept = row["kept_over_x"] or {}
        cells = [
            f"{row['norm'].replace('_', ' ')}, {row['dtype']} {shape}, {row['what']}",
            f"{row['microseconds']['jbn']:.0f}",
            *(_spread(row["over_jbn"].get(peer)) for peer in peers),
            ", ".join(f"{kept[name]:.1f}" for name in ("jbn", "Flax, fast") if name in kept),
        ]
        table.append(cells)
    note = (
        f"Times: medians and quartiles of {rows[0]['num_rounds']} rounds. A ratio above 1 means "
        "that jbn is faster. Kept: the bytes that jbn and Flax's fast formula keep between forward "
        "and backward, divided by those of x. A call that computes nothing takes "
        f"{rows[0]['empty_call_microseconds']:.0f} µs. {_source('layer', folder)}"
    )
    if folder != "cpu":  # whose caches hold most of x: there the floor says nothing
        headings.append("floor / jbn")
        for cells, row in zip(table, rows, strict=True):
            cells.append(f"{row['floor_over_time']['jbn']:.0%}")
    return f"{markdown_table(headings, table)}\n\n{wrapped(note)}"


def layers_on_accelerators() -> str:
    """The layers of each accelerator, a table each."""
    tables = [
        f"Not measured on an {ACCELERATOR}: no such machine yet."
        if folder is None
        else layers(folder)
        for _, folder in _devices()
        if folder != "cpu"
    ]
    return "\n\n".join(tables)


def _spread(quartiles: list[float] | None) -> str:
    if quartiles is None:
        return ""
    low, median, high = quartiles
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def resnet() -> str:
    """A training step in context, on each device."""
    rows = []
    for device, folder in _devices():
        if folder is None:
            rows.append([device, NONE_YET, *[""] * 5])
            continue
        for row in _rows(folder, "resnet"):
            if "not_measured" in row:
                rows.append([device, f"PyTorch: not measured: {row['not_measured']}", *[""] * 5])
                continue
            batch = " × ".join(map(str, row["batch"]))
            (peer,) = set(row["over_jbn"]) - {"jbn"}
            costs = row.get("costs", {})
            rows.append(
                [
                    device,
                    f"{row['network']}, {batch}",
                    f"{row['microseconds']['jbn'] / 1e3:.1f}",
                    f"{peer}: {_spread(row['over_jbn'][peer])}",
                    *(
                        ", ".join(f"{cost[key] / unit:.{digits}f}" for cost in costs.values())
                        for key, unit, digits in (
                            ("temp_bytes", 2**20, 0),
                            ("compile_seconds", 1, 1),
                        )
                    ),
                    str(row["num_rounds"]),
                ]
            )
    headings = [
        *("device", "network, batch", "with jbn's norms, ms", "peer's time / jbn's"),
        *("temporary memory, MiB: jbn, Flax", "compile time, s: jbn, Flax", "rounds"),
    ]
    return f"{markdown_table(headings, rows)}\n\n{_source('resnet')}"


def engine() -> str:
    """Runs of the article's network in a second, on each device."""
    rows = []
    for device, folder in _devices():
        if folder is None:
            rows.append([device, NONE_YET, *[""] * 3])
            continue
        for row in sorted(_rows(folder, "engine"), key=lambda row: row["num_lanes"]):
            default = row["num_lanes"] == row["default_num_lanes"]
            rates = row["runs_per_second"]
            rows.append(
                [
                    device,
                    f"{row['num_lanes']}{' (the default)' if default else ''}",
                    f"{rates['median']:.4g} ({rates['q1']:.4g} to {rates['q3']:.4g})",
                    f"{row['compile_seconds']:.1f}",
                    str(row["num_rounds"]),
                ]
            )
    headings = ["device", "lanes", "runs a second (quartiles)", "compile time, s", "rounds"]
    return f"{markdown_table(headings, rows)}\n\n{_source('engine')}"


def _devices() -> Iterator[tuple[str, str | None]]:
    """Each device with results and its folder; the accelerator without one where none is of it."""
    if not _folders(ACCELERATOR):
        yield ACCELERATOR, None
    for folder in _folders(""):
        yield folder, folder


def _folders(device: str) -> list[str]:
    """The folders of results whose name begins with the device's."""
    prefix = device.lower().replace(" ", "-")
    return sorted(path.name for path in FOLDER.glob("*") if path.name.startswith(prefix))


def _rows(folder: str, section: str) -> list[dict[str, Any]]:
    """A section's rows; none where it has not run there."""
    if not Path(FOLDER, folder, f"{section}.json").exists():
        return []
    found: list[dict[str, Any]] = results(f"bench/results/{folder}/{section}")["rows"]
    return found


def _source(section: str, folder: str | None = None) -> str:
    """Where a section's results were measured."""
    found = [
        results(f"bench/results/{name}/{section}")
        for name in ([folder] if folder else _folders(""))
        if Path(FOLDER, name, f"{section}.json").exists()
    ]
    places = "; ".join(
        where(result["environment"])
        + "".join(f", torch {v}" for v in [result["environment"].get("torch")] if v)
        for result in found
    )
    text = f"`{found[0]['command']} --only {section}`: {places}."
    return text if folder else wrapped(text)
