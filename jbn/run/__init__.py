"""A run on disk: every trial of a config, trained, and everything about it in one folder."""

from jbn.run.run import run as run
