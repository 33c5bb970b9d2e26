"""Trains and says so: where, how far, the table of results and the report."""

import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from jbn.config import Config


def train_here(
    name: str,
    out: Path,
    train: Callable[..., dict[str, Any]],
    *,
    device: str | None,
    cache: bool,
    quiet: bool = False,
) -> None:
    """Calls `train` with the options of `jbn.run.run`; shows the summary, if there is one yet."""
    width = None if sys.stdout.isatty() else 100
    console = Console(soft_wrap=False, width=width, quiet=quiet)
    begins = f"{name}: JAX starts; results go to {out}"
    console.print(begins, markup=False, highlight=False, soft_wrap=True)

    # What follows takes a second to import.
    from jbn.environment import (
        describe_device,
        enable_compilation_cache,
        select_device,
        unused_accelerator,
        use_all_cores,
    )
    from jbn.processes import is_first
    from jbn.run import progress_sink
    from jbn.run.stop import Stopped, listening

    folder = None
    if cache:
        try:
            folder = enable_compilation_cache()
        except OSError as error:
            note = f"note: the cache {error.filename} can't be written to: {error.strerror}"
            console.print(note, markup=False, highlight=False, soft_wrap=True)
    use_all_cores()
    chosen = select_device(device)
    console.print(f"device: {describe_device(chosen)}", markup=False, highlight=False)
    if device is None and (unused := unused_accelerator()) is not None:
        console.print(f"note: {unused}", markup=False, highlight=False)
    command = shlex.join(["jbn", *sys.argv[1:]])
    try:
        with listening() as stop:
            with progress_sink(console) as progress:
                summary = train(
                    device=chosen, sinks=[progress], command=command, cache=folder, stop=stop
                )
            if summary:
                _show(console, summary, out)
    except Stopped as stopped:
        if is_first():
            print(f"jbn: {stopped}; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(128 + stopped.number) from None


def _show(console: Console, summary: dict[str, Any], out: Path) -> None:
    """Prints the table of results, and writes the report."""
    from jbn.report import summary_table

    _print_table(console, *summary_table(summary))
    from jbn.report.page import write_report  # matplotlib: after all that people wait for

    console.print(f"report: {write_report(out)}", markup=False, highlight=False, soft_wrap=True)


def train_together(
    config: Config,
    out: Path,
    where: tuple[str | None, int | None, int | None],
    *,
    device: str | None,
    cache: bool,
    extend: bool,
) -> None:
    """Trains as one of several processes, of which the first speaks."""
    from jbn.processes import is_first, join, leave
    from jbn.run import run as run_config

    coordinator, num_processes, process_id = where
    if process_id == 0 and None not in where:
        print(f"{num_processes} processes are to meet at {coordinator}", flush=True)
    join(*where)
    train = functools.partial(run_config, config, out, extend=extend)
    try:
        train_here(config.name, out, train, device=device, cache=cache, quiet=not is_first())
    except typer.Exit:
        raise
    except BaseException as error:  # whatever it is, the other processes wait for this one
        leave(error)
        raise


def _print_table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)  # fits 80 columns
    first, *others = headings
    table.add_column(first, overflow="fold", min_width=8)
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
