"""The command line: ``gbtune sync``, ``gbtune spaces``. A file for each command."""

from __future__ import annotations

import click

import gbtune
from gbtune.cli.spaces import spaces_group
from gbtune.cli.sync import sync_command

__all__ = ["main"]


@click.group()
@click.version_option(gbtune.__version__, prog_name="gbtune")
def main() -> None:
    """Tune gradient boosting with Optuna, and keep every trial in MLflow."""


main.add_command(spaces_group)
main.add_command(sync_command)
