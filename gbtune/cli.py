"""The command line: ``gbtune sync``."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import click
import optuna

import gbtune
from gbtune.errors import GbtuneError, GbtuneWarning, InvalidArgument
from gbtune.facts import read_records
from gbtune.locations import public_uri, studies_root, study_folder
from gbtune.outcome import describe_outcome
from gbtune.records import StudyOutcome, StudyRecord
from gbtune.storage import JOURNAL, open_storage
from gbtune.study import stored_record
from gbtune.summary import plural
from gbtune.tracking import MLflowTracker
from gbtune.tracking.spool import Spool, spools
from gbtune.tracking.sync import story, sync, tracker_for


@dataclasses.dataclass(frozen=True)
class _Found:
    """A study that is to be told: its record, how it ended, and its spool if it left one."""

    study: StudyRecord
    outcome: StudyOutcome
    spool: Spool | None


@click.group()
@click.version_option(gbtune.__version__, prog_name="gbtune")
def main() -> None:
    """Tune gradient boosting with Optuna, and keep every trial in MLflow."""


@main.command("sync")
@click.argument("study")
@click.option("--tracking-uri", help="The MLflow store to write to. Default: as for tuning.")
@click.option("--storage", help="Where the study is kept, if not in its folder: a database URL or a journal's path.")
@click.option("--registry-uri", help="The model registry, if it is another store.")
def sync_command(study: str, tracking_uri: str | None, storage: str | None, registry_uri: str | None) -> None:
    """Write to MLflow what it lacks of STUDY, a study's name or its folder.

    What is there already stays as it is. A store that never saw the study gets all of it.
    """
    try:
        for found in _find(study, tracking_uri, storage):
            if found.spool is None:
                tracker = MLflowTracker(tracking_uri, registry_uri=registry_uri)
            else:
                tracker = tracker_for(found.spool, tracking_uri, registry_uri=registry_uri)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", GbtuneWarning)  # the receipt says the same
                receipt = sync(found.study, found.outcome, tracker, spool=found.spool)
            for problem in receipt.problems:
                click.echo(problem, err=True)
            if receipt.problems:
                raise SystemExit(1)
            where = public_uri(tracker.tracking_uri)
            click.echo(f"{found.study.name}: {plural(len(found.outcome.trials), 'trial')} in {where}")
            click.echo(f"  look      {receipt.url}")
            if receipt.model_uri:
                click.echo(f"  model     {receipt.model_uri}")
            elif found.outcome.best is not None:
                click.echo("  model     none was kept: run the study's call again, which ends with it")
    except GbtuneError as error:
        raise click.ClickException(str(error)) from error


def _find(name: str, tracking_uri: str | None, storage: str | None) -> list[_Found]:
    """Return the studies of a name or folder; of one that a storage keeps, the trials are there."""
    folder = Path(name) if Path(name).is_dir() else study_folder(studies_root(tracking_uri), name)
    if not folder.is_dir():  # made before the tracking store was another one
        folder = study_folder(studies_root(None), name)
    left = spools(folder)
    place: str | Path | None = storage or (folder / JOURNAL if (folder / JOURNAL).is_file() else None)
    if place is not None:
        return [_stored(name, place, left)]
    if not left:
        raise InvalidArgument(
            f"No study {name!r} was found: {folder} holds neither a journal nor a spool. Give the folder in "
            f"gbtune-studies, or --storage."
        )
    return [_Found(spool.read()[0], story(spool.read()[0], spool.trials(), spool), spool) for spool in left]


def _stored(name: str, place: str | Path, left: list[Spool]) -> _Found:
    kept = open_storage(place, Path())
    names = optuna.get_all_study_names(kept)
    known = {spool.read()[0].name for spool in left}
    chosen = [each for each in names if each == name or each in known] or names
    if len(chosen) != 1:
        raise InvalidArgument(
            f"{public_uri(str(place))} holds {', '.join(map(repr, names)) or 'no study'}: give the name of one of them."
        )
    record = stored_record(chosen[0], kept)
    if record is None:
        raise InvalidArgument(f"Study {chosen[0]!r} in {public_uri(str(place))} was not run by gbtune.")
    study = optuna.load_study(study_name=chosen[0], storage=kept)
    spool = next((each for each in left if each.read()[0].uid == record.uid), None)
    trials = read_records(study)[1]
    ended = None if spool is None else spool.outcome(trials)
    whole = record.n_trials is not None and len(trials) >= record.n_trials
    return _Found(record, ended or describe_outcome(study, "complete" if whole else "interrupted"), spool)
