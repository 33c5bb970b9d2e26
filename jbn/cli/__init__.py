"""The `jbn` command."""

from jbn.cli.commands import main as main
