"""``gbtune rollback``: the champion before the present one is champion again."""

from __future__ import annotations

import click

from gbtune.cli.promote import told
from gbtune.promotion import rollback


@click.command("rollback", short_help="Make the champion before the present one champion again.")
@click.argument("name")
@click.option("--tracking-uri", help="The MLflow store. Default: as for tuning.")
@click.option("--registry-uri", help="The model registry, if it is another store.")
def rollback_command(name: str, tracking_uri: str | None, registry_uri: str | None) -> None:
    """Make the version of NAME that was champion before the present one champion again.

    Repeated, it goes further back. Exit code 1 if there is none before it.
    """
    with told():
        click.echo(rollback(name, tracking_uri=tracking_uri, registry_uri=registry_uri).words)
