"""The commands: arguments to a config, a config to a run, mistakes to one line each."""

import gc
import io
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from jbn.cli.options import (
    CacheOption,
    CompletionOption,
    ConfigArgument,
    CoordinatorOption,
    DataArgument,
    DeviceOption,
    DistributedOption,
    ExtendOption,
    NumProcessesOption,
    OutOption,
    PartOption,
    ProcessOption,
    RunArgument,
    SetOption,
    SweepOption,
    VersionOption,
)
from jbn.cli.training import train_here, train_together
from jbn.config import (
    Config,
    Program,
    UserError,
    describe_plan,
    find_config,
    load_config,
    parse_share,
    plan,
    write_template,
)
from jbn.config.errors import for_each, printable, shortened

_HELP = """Train networks with batch norm and its relatives in JAX, and compare them.

\b
To begin with:
  jbn run digits      learns handwritten digits, with batch norm and without
  jbn init            writes jbn.toml, a config to change for your own data
  jbn run jbn.toml    trains what it says, and writes a report
  jbn run --help      says what else a run can do
"""
app = typer.Typer(
    help=_HELP,
    add_completion=False,  # --show-completion takes the shell's name
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(version: VersionOption = False, show_completion: CompletionOption = None) -> None:
    """Both are done before any command."""


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("jbn.toml"),
) -> None:
    """Write a commented config to begin with: for the digits, and for your own data."""
    write_template(file)
    name = shlex.quote(str(file))
    print(f"{file}: written. Change what you like, and then:")
    print(f"  jbn show {name}    prints what it comes to, and trains nothing")
    print(f"  jbn run {name}     trains, and writes a report")


@app.command()
def download(name: DataArgument) -> None:
    """Fetch a data set into the user's cache folder, each file checked by its SHA-256."""
    from jbn.data import download as download_set

    print(f"{name}: {download_set(name)}")


@app.command()
def show(config: ConfigArgument, set_: SetOption = None, sweep: SweepOption = None) -> None:
    """Print the resolved config, its plan and the numbers of parameters; train nothing."""
    config = find_config(config)
    resolved = load_config(config, set_ or (), sweep or ())
    _let_import(resolved, config.parent)
    programs = plan(resolved)

    from jbn.data import load_spec
    from jbn.store import read_weights
    from jbn.train import check_taken, check_task, count_parameters, make_task

    specs = {data: load_spec(data) for data in {program.config.data for program in programs}}

    def count(program: Program) -> int:
        path = program.config.model.init_from
        weights = None if path is None else read_weights(path)
        task = make_task(program.config, specs[program.config.data], weights=weights)
        if program.config.own_functions:
            check_task(task)
            for trial in program.trials:
                check_taken(trial.config, task.parts)
        return count_parameters(task)

    numbers = for_each(count, [(program.label, program) for program in programs])
    counts: dict[str, dict[str, int]] = {arm: {} for arm in resolved.arms}
    for program, number in zip(programs, numbers, strict=True):
        counts[program.arm][program.label] = number
    print(json.dumps(resolved.model_dump(mode="json"), indent=2))
    print(describe_plan(programs))
    for arm, of_programs in counts.items():
        different = set(of_programs.values())
        lines = of_programs if len(different) > 1 else {arm: different.pop()}
        for label, number in lines.items():
            print(f"{label}: {number:,} parameters")


@app.command()
def run(
    config: ConfigArgument,
    set_: SetOption = None,
    sweep: SweepOption = None,
    extend: ExtendOption = False,
    out: OutOption = None,
    device: DeviceOption = None,
    cache: CacheOption = True,
    part: PartOption = None,
    distributed: DistributedOption = False,
    coordinator: CoordinatorOption = None,
    num_processes: NumProcessesOption = None,
    process_id: ProcessOption = None,
) -> None:
    """Train every seed of every arm; leave numbers, parameters and a report in the run's folder."""
    config = find_config(config)
    resolved = load_config(config, set_ or (), sweep or ())
    _let_import(resolved, config.parent)
    out = Path("runs", resolved.name) if out is None else out
    share = None if part is None else parse_share(part)
    if share is not None and extend:
        raise UserError("--part, --extend: found both; extend the run that the parts have become")

    where = coordinator, num_processes, process_id
    if distributed or any(of is not None for of in where):
        if share is not None:
            raise UserError("--part: found --distributed, too; a part is trained by one process")
        train_together(resolved, out, where, device=device, cache=cache, extend=extend)
        return

    def train(**options: Any) -> dict[str, Any]:
        from jbn.run import run_share, run_whole

        if share is None:
            return run_whole(resolved, out, extend=extend, **options)
        return run_share(resolved, out, share, **options)

    train_here(resolved.name, out, train, device=device, cache=cache)


@app.command()
def report(run_dir: RunArgument) -> None:
    """Write the page of a run, finished or not, from what is in its folder."""
    from jbn.report.page import write_report

    print(f"report: {write_report(run_dir)}")


@app.command()
def merge(
    out: RunArgument,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Of parts, or with parts in them.", show_default=False),
    ] = None,
    device: DeviceOption = None,
    cache: CacheOption = True,
) -> None:
    """Make one run of the parts that `jbn run --part` trained, here and on other machines."""

    places = [out, *(folders or ())]
    here = Path.cwd()
    if not any(here.is_relative_to(place.resolve()) for place in places):
        sys.path.append("")  # a config's functions may be here, but nothing in a run is executed

    def train(**options: Any) -> dict[str, Any]:
        from jbn.run import run_merged

        return run_merged(out, places, **options)

    train_here(out.name, out, train, device=device, cache=cache)


def _let_import(config: Config, folder: Path) -> None:
    """Lets the config's own functions be in the working folder, or in the config's.

    Without any, no file there can take the place of an optional package that isn't installed.
    """
    if config.own_functions:
        sys.path += ["", str(folder.absolute())]


def main() -> None:
    """Runs the command; a mistake of the user's is a line on stderr and exit code 2.

    Without arguments it prints its help.
    """
    # What JAX traces lives long: to look through it again and again takes a quarter of a small run.
    gc.set_threshold(50_000, 20, 100)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may have no × and ±
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except UserError as error:
        for line in str(error).splitlines():
            print(f"jbn: {line}", file=sys.stderr)
        sys.exit(2)
    except typer.TyperException as error:  # a command, an argument or an option, not a config
        message = printable(error.format_message()).rstrip(".")
        print(f"jbn: {message}; see jbn --help or jbn COMMAND --help", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        path = shortened(str(error.filename))
        print(f"jbn: {path}: can't be used: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    finally:
        gc.freeze()  # and once more at the end
