"""The arguments and options of the commands, in panels, and what a shell completes."""

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

# typer.completion imports them, and doesn't list them as its own.
from typer.completion import (  # type: ignore[attr-defined]
    completion_init,
    get_completion_script,
)

from jbn.config import packaged_names
from jbn.config.schema import PublishedName

# What a shell asks for a completion with runs the command, so all of this imports no JAX.
completion_init()

_WHERE = "Where"
_MACHINES = "Many machines"
_PUBLISHED = get_args(PublishedName)


def _configs(incomplete: str) -> list[str]:
    """The packaged configs, and the TOML files and folders here, that begin so."""
    names = [name for name in packaged_names() if name.startswith(incomplete)]
    if not names:
        return []  # the shell completes paths then, better than this could
    return names + [
        f"{path}/" if path.is_dir() else str(path)
        for path in sorted(Path().glob(f"{incomplete}*"))
        if path.is_dir() or path.suffix == ".toml"
    ]


def _published(incomplete: str) -> list[str]:
    return [name for name in _PUBLISHED if name.startswith(incomplete)]


ConfigArgument = Annotated[
    Path,
    typer.Argument(
        help="A TOML file; or digits, which comes with jbn.",
        show_default=False,
        autocompletion=_configs,
    ),
]
DataArgument = Annotated[
    str,
    typer.Argument(
        help=f"{', '.join(_PUBLISHED[:-1])} or {_PUBLISHED[-1]}.",
        show_default=False,
        autocompletion=_published,
    ),
]
RunArgument = Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key, e.g. optimizer.learning_rate=0.01. May be given again.",
    ),
]
SweepOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep",
        metavar="KEY=VALUES",
        help='Train at each value, e.g. "norm.momentum=[0.9, 0.99]" or '
        '"optimizer.learning_rate=logspace(-4, 1, 16)".',
    ),
]
ExtendOption = Annotated[
    bool, typer.Option("--extend", help="Go on with a run of fewer seeds or epochs.")
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        help="The run's folder; without it, runs/NAME.", metavar="FOLDER", rich_help_panel=_WHERE
    ),
]
DeviceOption = Annotated[
    Literal["cpu", "gpu", "tpu"] | None,
    typer.Option(help="Where to compute; without it, where JAX prefers.", rich_help_panel=_WHERE),
]
CacheOption = Annotated[
    bool,
    typer.Option(help="Keep compiled programs in the user's cache folder.", rich_help_panel=_WHERE),
]
PartOption = Annotated[
    str | None,
    typer.Option(
        metavar="K/N",
        help="Train the K-th of N shares of a sweep; jbn merge joins them.",
        rich_help_panel=_MACHINES,
    ),
]
DistributedOption = Annotated[
    bool,
    typer.Option(
        "--distributed",
        help="Train with the other processes of this job, which JAX finds (SLURM, Open MPI, "
        "Kubernetes, Cloud TPU).",
        rich_help_panel=_MACHINES,
    ),
]
CoordinatorOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where the processes meet: of process 0.",
        rich_help_panel=_MACHINES,
    ),
]
NumProcessesOption = Annotated[
    int | None,
    typer.Option(min=1, help="How many processes train together.", rich_help_panel=_MACHINES),
]
ProcessOption = Annotated[
    int | None,
    typer.Option(min=0, help="The number of this process, from 0.", rich_help_panel=_MACHINES),
]


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    import importlib.metadata
    import platform

    import jbn

    others = [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "flax")]
    print(", ".join([f"jbn {jbn.__version__}", *others, f"Python {platform.python_version()}"]))
    raise typer.Exit


def _show_completion(shell: str | None) -> None:
    if shell is not None:
        print(get_completion_script(prog_name="jbn", complete_var="_JBN_COMPLETE", shell=shell))
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=_show_version,
        is_eager=True,
        help="Print the versions of jbn, JAX, Flax and Python.",
    ),
]
CompletionOption = Annotated[
    Literal["bash", "zsh", "fish", "powershell"] | None,
    typer.Option(
        "--show-completion",
        callback=_show_completion,
        is_eager=True,
        metavar="SHELL",
        help="Print what makes the tab key complete commands in bash, zsh, fish or powershell.",
    ),
]
