"""``gbtune spaces``: list, show, compare and check search spaces."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import click

from gbtune.cli import catalogue
from gbtune.errors import GbtuneError, GbtuneWarning
from gbtune.spaces import SearchSpace
from gbtune.spaces.validation import Finding, examine, space_files, summary_of


class _Trouble(click.ClickException):
    """Something else than the answer "they differ", which is exit code 1."""

    exit_code = 2


@click.group("spaces")
def spaces_group() -> None:
    """List, show, compare and check search spaces.

    A space is named as in `tune`: "xgboost/core", "xgboost/core+regularization", or the path of a file that ends in
    ".toml". Spaces of installed plug-ins are found by name too.
    """


@spaces_group.command("list")
@click.option("--family", help="Only the spaces of this model family.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the file of each.")
@click.option("--markdown", is_flag=True, help="As a Markdown table: the catalogue of the documentation.")
def list_command(family: str | None, as_json: bool, markdown: bool) -> None:
    """List all spaces and fragments, those of plug-ins too.

    TUNED is the number of parameters that a sampler chooses; the number of rounds, which is read off the learning
    curve, is not among them. STATUS is "recommended", or "comparison" for what is kept to be compared with. A fragment
    has a plus: its parameters are added to a space, as in "xgboost/core+regularization".
    """
    if as_json and markdown:
        raise click.UsageError("Give --json or --markdown, not both.")
    with _told():
        rows = catalogue.rows(family)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        click.echo(catalogue.markdown_table(rows) if markdown else catalogue.text_table(rows))


@spaces_group.command("show")
@click.argument("space")
@click.option("--json", "as_json", is_flag=True, help="As JSON, which SearchSpace.load takes as a dictionary.")
def show_command(space: str, as_json: bool) -> None:
    """Show one space: ranges, reasons, portfolio, sources.

    SPACE is a name such as "xgboost/core", also with fragments ("xgboost/core+regularization"), or the path of a file.
    """
    with _told():
        loaded = SearchSpace.load(space)
    click.echo(json.dumps(loaded.to_dict(), indent=2) if as_json else catalogue.description(loaded))


@spaces_group.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
def diff_command(first: str, second: str) -> None:
    """Say what two spaces search differently.

    Compared is what a search does: family, tasks, parameters in their order, grids, portfolio. Names, versions and
    texts are not. The exit code is 0 if nothing differs, 1 if something does, 2 if a space cannot be read.
    """
    with _told(_Trouble):
        a, b = SearchSpace.load(first), SearchSpace.load(second)
    differences = catalogue.differences(a, b)
    if not differences:
        click.echo(f"{a.key} and {b.key} search the same.")
        return
    click.echo(catalogue.differences_text(a, b, differences))
    raise SystemExit(1)


@spaces_group.command("validate")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
def validate_command(files: tuple[Path, ...]) -> None:
    """Check files, and all files of folders.

    Each line names the file, the key and the rule. The exit code is 1 if there is an error. A note is none: it tells
    which values of a portfolio lie outside of the space and are moved into it. In a folder the files are
    <family>/<name>.toml, and must repeat these names.
    """
    findings: list[Finding] = []
    count = 0
    for given in files:
        with _told():
            found = space_files(given)
        count += len(found)
        for path, key in found:
            findings += examine(path, key)
    for finding in findings:
        click.echo(str(finding))
    click.echo(summary_of(findings, count))
    if any(finding.level == "error" for finding in findings):
        raise SystemExit(1)


@contextlib.contextmanager
def _told(error_class: type[click.ClickException] = click.ClickException) -> Iterator[None]:
    """Tell gbtune's errors and warnings in one line each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GbtuneWarning)
        try:
            yield
        except GbtuneError as error:
            raise error_class(str(error)) from error
        finally:
            for text in dict.fromkeys(str(each.message) for each in caught):
                click.echo(f"Warning: {text}", err=True)
