"""The arguments and options that commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ConfigArgument = Annotated[
    Path,
    typer.Argument(
        help="A TOML file, or a config that comes with jbn: digits.", show_default=False
    ),
]
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
