"""``gbtune promote``: compare a version of a registered model with its champion."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gbtune.api import usable_cores
from gbtune.cli.data_file import read_file
from gbtune.errors import GbtuneError, GbtuneWarning, InvalidArgument
from gbtune.promotion import POLICIES, chosen_version, promote_version
from gbtune.tracking.champions import Champions

if TYPE_CHECKING:
    from gbtune.promotion import Policy, Promotion

EXIT_CODES = {"promoted": 0, "kept champion": 3, "overtaken": 3, "rolled back": 3, "not comparable": 4}
"""1 is an error, 2 a wrong option."""


@click.command("promote", short_help="Compare a registered model's newest version with its champion.")
@click.argument("name")
@click.option("--version", help="The version to promote. Default: the one with the alias 'challenger'.")
@click.option("--data", type=click.Path(path_type=Path), help="Rows to compare on: a CSV or Parquet file.")
@click.option("--target", metavar="COLUMN", help="The column of the file to predict.")
@click.option("--weight", metavar="COLUMN", help="The column that holds each row's weight.")
@click.option("--group", metavar="COLUMN", help="The column by which rows stay together in folds.")
@click.option("--folds", type=click.IntRange(2), help="So many folds. Default: fresh ones, five as a rule.")
@click.option("--policy", type=click.Choice(POLICIES), default="if_better", show_default=True, help="When to promote.")
@click.option("--jobs", type=click.IntRange(1), help="Boosters that grow side by side. Default: one per core.")
@click.option("--tracking-uri", help="The MLflow store. Default: as for tuning.")
@click.option("--registry-uri", help="The model registry, if it is another store.")
def promote_command(
    name: str,
    version: str | None,
    data: Path | None,
    target: str | None,
    weight: str | None,
    group: str | None,
    folds: int | None,
    policy: Policy,
    jobs: int | None,
    tracking_uri: str | None,
    registry_uri: str | None,
) -> None:
    """Compare a version of the registered model NAME with its champion, and promote it if it is better.

    The recipes of both are fitted again on the same fresh folds of the data. The version becomes champion if it is
    better by more than the standard error, paired by fold; with --policy unless_worse, if it is not worse by more than
    that. Decision and numbers are written on the version.

    Without --data, the decision that is written on the version is reported; a promotion that was interrupted is
    completed.

    \b
    Exit codes:
      0  the version is champion now, or was before
      1  an error: nothing was decided
      2  a wrong option
      3  the champion stays: the version is not better (with unless_worse: it is worse), or was rolled back, or was
         overtaken by another promotion
      4  the champion stays: the two are not comparable (other columns, task, classes or metric)
    """
    with told():
        columns = {"--target": target, "--weight": weight, "--group": group}
        if data is None and any(columns.values()):
            given = next(option for option, value in columns.items() if value)
            raise InvalidArgument(f"{given} names a column of a file: give --data FILE.")
        if data is not None and target is None:
            raise InvalidArgument("--data needs --target COLUMN, what is to be predicted.")
        champions = Champions(name, tracking_uri, registry_uri)
        version = chosen_version(champions, version)
        arguments: dict[str, Any] = {}
        if data is not None and target is not None and policy != "always":
            table = read_file(champions.recipe(version), data, target=target, weight=weight, group=group)
            if table.unused:
                click.echo(f"not used: {', '.join(table.unused)}", err=True)
            arguments = {"X": table.X, "y": table.y, "sample_weight": table.weight, "groups": table.group}
        arguments |= {"policy": policy, "cv": folds, "n_jobs": jobs or usable_cores()}
        decided = promote_version(champions, version, **arguments)
        click.echo(f"{decided.decision}: {decided.words}")
        found = decided.comparison
        if found is not None and found.folds:
            for fold, scores in enumerate(zip(found.challenger_scores, found.champion_scores, strict=True)):
                click.echo(f"  fold {fold}    {scores[0]:.6g}, the champion's {scores[1]:.6g}")
    sys.exit(exit_code(decided))


def exit_code(decided: Promotion) -> int:
    """Return 0 if the version is champion now, and then only, whatever was decided."""
    return 0 if decided.is_champion else EXIT_CODES[decided.decision] or 3


@contextmanager
def told() -> Iterator[None]:
    """Say errors and warnings in a line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GbtuneWarning)
        try:
            yield
        except GbtuneError as error:
            raise click.ClickException(str(error)) from error
        finally:
            for warning in caught:
                if issubclass(warning.category, GbtuneWarning):
                    click.echo(f"Warning: {warning.message}", err=True)
