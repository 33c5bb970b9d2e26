"""The command line: arguments to a config, a config to a run, mistakes to one line each."""

import functools
import gc
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from jbn.config import Config, UserError, describe_plan, load_config, parse_share, plan

app = typer.Typer(
    help="Normalization experiments in JAX.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ConfigArgument = Annotated[Path, typer.Argument(help="A TOML file.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Changes the config, e.g. optimizer.learning_rate=0.01."
    ),
]
SweepOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep",
        metavar="KEY=VALUES",
        help='Every arm at each value, e.g. "norm.momentum=[0.9, 0.99]" or '
        '"optimizer.learning_rate=logspace(-4, 1, 16)".',
    ),
]
DeviceOption = Annotated[
    Literal["cpu", "gpu", "tpu"] | None,
    typer.Option(help="Where to compute; without it, where JAX prefers."),
]
CacheOption = Annotated[
    bool, typer.Option(help="Keep compiled programs in the user's cache folder.")
]


@app.command()
def run(
    config: ConfigArgument,
    set_: SetOption = None,
    sweep: SweepOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; without it runs/<name>.")
    ] = None,
    device: DeviceOption = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Go on with a run of fewer seeds or epochs.")
    ] = False,
    cache: CacheOption = True,
    part: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Train the K-th of N shares of a sweep's groups."),
    ] = None,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed",
            help="Train with the other processes of this job, which JAX finds (SLURM, Open MPI, "
            "Kubernetes, Cloud TPU).",
        ),
    ] = False,
    coordinator: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where the processes meet: of process 0."),
    ] = None,
    num_processes: Annotated[
        int | None, typer.Option(min=1, help="How many processes train together.")
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(min=0, help="The number of this process, from 0.")
    ] = None,
) -> None:
    """Train every seed of every arm; leave numbers, parameters and a report in the run's folder."""
    resolved = load_config(config, set_ or (), sweep or ())
    sys.path.append(str(config.parent.absolute()))
    out = Path("runs", resolved.name) if out is None else out
    share = None if part is None else parse_share(part)
    if share is not None and extend:
        raise UserError("--part, --extend: found both; extend the run that the parts have become")

    where = coordinator, num_processes, process_id
    if distributed or any(of is not None for of in where):
        if share is not None:
            raise UserError("--part: found --distributed, too; a part is trained by one process")
        _train_together(resolved, out, where, device=device, cache=cache, extend=extend)
        return

    def train(**options: Any) -> dict[str, Any]:
        from jbn.run import run_share, run_whole

        if share is None:
            return run_whole(resolved, out, extend=extend, **options)
        return run_share(resolved, out, share, **options)

    _train(resolved.name, out, train, device=device, cache=cache)


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(help="The run's folder.", show_default=False)],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Of parts, or with parts in them.", show_default=False),
    ] = None,
    device: DeviceOption = None,
    cache: CacheOption = True,
) -> None:
    """Make one run of the parts that `jbn run --part` trained, here and on other machines."""

    def train(**options: Any) -> dict[str, Any]:
        from jbn.run import run_merged

        return run_merged(out, [out, *(folders or ())], **options)

    _train(out.name, out, train, device=device, cache=cache)


@app.command()
def show(config: ConfigArgument, set_: SetOption = None, sweep: SweepOption = None) -> None:
    """Print the resolved config, its plan and each program's parameter count; train nothing."""
    resolved = load_config(config, set_ or (), sweep or ())
    sys.path.append(str(config.parent.absolute()))
    programs = plan(resolved)

    from jbn.data import load_spec
    from jbn.store import read_weights
    from jbn.train import check_taken, check_task, count_parameters, make_task

    specs = {data: load_spec(data) for data in {program.config.data for program in programs}}
    counts = set()
    for program in programs:
        path = program.config.model.init_from
        weights = None if path is None else read_weights(path)
        task = make_task(program.config, specs[program.config.data], weights=weights)
        if program.config.own_functions:
            check_task(task)
            for trial in program.trials:
                check_taken(trial.config, task.parts)
        counts.add((program.arm, count_parameters(task)))
    print(json.dumps(resolved.model_dump(mode="json"), indent=2))
    print(describe_plan(programs))
    for arm, count in sorted(counts, key=lambda of: (list(resolved.arms).index(of[0]), of[1])):
        print(f"{arm}: {count:,} parameters")


@app.command()
def download(
    name: Annotated[
        str, typer.Argument(help="mnist, fashion_mnist or cifar10.", show_default=False)
    ],
) -> None:
    """Fetch a data set into the user's cache folder, each file checked by its SHA-256."""
    from jbn.data import download as download_set

    print(f"{name}: {download_set(name)}")


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)],
) -> None:
    """Write the page of a run, finished or not, from what is in its folder."""
    from jbn.report.page import write_report

    print(f"report: {write_report(run_dir)}")


def _train(
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
                stop.way_on = f"the run is finished, and jbn report {out} writes its page"
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


def _train_together(
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
        _train(config.name, out, train, device=device, cache=cache, quiet=not is_first())
    except typer.Exit:
        raise
    except Exception as error:
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


def main() -> None:
    """Runs the command; a mistake of the user's is a line on stderr and exit code 2."""
    # What JAX traces lives long: to look through it again and again takes a quarter of a small run.
    gc.set_threshold(50_000, 20, 100)
    sys.path.append("")  # a config's functions may be in the working folder, or beside the config
    try:
        app()
    except UserError as error:
        for line in str(error).splitlines():
            print(f"jbn: {line}", file=sys.stderr)
        sys.exit(2)
    finally:
        gc.freeze()  # and once more at the end
