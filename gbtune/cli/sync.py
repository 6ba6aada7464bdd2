"""``gbtune sync``: write to MLflow what it lacks of a study."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import click
import optuna
from optuna.storages import BaseStorage

from gbtune.errors import GbtuneError, GbtuneWarning, InvalidArgument
from gbtune.facts import read_records
from gbtune.locations import MASK, is_place, public_uri, sqlite_path, studies_root, study_folder
from gbtune.outcome import describe_outcome
from gbtune.records import StudyOutcome, StudyRecord
from gbtune.storage import JOURNAL, describe, open_storage
from gbtune.study import stored_record
from gbtune.summary import plural
from gbtune.tracking import MLflowTracker, callback
from gbtune.tracking.spool import Spool, spools
from gbtune.tracking.sync import story, sync, tracker_for


@dataclasses.dataclass(frozen=True)
class _Found:
    """A study that is to be told: its record, how it ended, and its spool if it left one."""

    study: StudyRecord
    outcome: StudyOutcome
    spool: Spool | None


@click.command("sync")
@click.argument("study")
@click.option("--tracking-uri", help="The MLflow store to write to. Default: as for tuning.")
@click.option("--storage", help="Where the study is kept, if not in its folder: a database URL or a journal's path.")
@click.option("--registry-uri", help="The model registry, if it is another store.")
def sync_command(study: str, tracking_uri: str | None, storage: str | None, registry_uri: str | None) -> None:
    """Write to MLflow what it lacks of STUDY, a study's name or its folder.

    What is there already stays as it is. A store that never saw the study gets all of it.
    """
    try:
        if MASK in (tracking_uri or ""):
            raise InvalidArgument(f"Fill in the password of --tracking-uri {tracking_uri}.")
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
    folder = _folder(name, tracking_uri)
    left = spools(folder)
    if storage is not None:
        return [_stored(name, storage, left, folder)]
    if (folder / JOURNAL).is_file():
        return [_stored(name, folder / JOURNAL, left, folder)]
    if not left:
        raise InvalidArgument(
            f"No study {name!r} was found: {folder} holds neither a journal nor a spool. Give the folder in "
            f"gbtune-studies, or --storage."
        )
    return [_spooled(spool) for spool in left]


def _folder(name: str, tracking_uri: str | None) -> Path:
    """Return the folder of a study; one in the current folder that happens to have its name is not it."""
    # The second one: made before the tracking store was another one.
    known = [study_folder(studies_root(uri), name) for uri in (tracking_uri, None)]
    return next((folder for folder in (*known, Path(name)) if _holds_study(folder)), known[0])


def _holds_study(folder: Path) -> bool:
    return (folder / JOURNAL).is_file() or bool(spools(folder))


def _spooled(spool: Spool) -> _Found:
    """Return the study of a spool: what the tracking store has acknowledged is in the study's storage alone."""
    record, trials, _ = spool.read()
    if is_place(record.storage):
        return _stored(record.name, record.storage, [spool], spool.folder.parent)
    if record.storage and not trials:
        raise InvalidArgument(
            f"Study {record.name!r} is kept in a {record.storage}, which cannot be found by that name, and its spool "
            f"{spool.folder} has no trials. Give --storage, if it has a path or a URL."
        )
    return _Found(record, story(record, trials, spool), spool)


def _opened(place: str | Path) -> BaseStorage:
    """Open a storage that exists; nothing is created."""
    shown = public_uri(str(place))
    if MASK in str(place):
        raise InvalidArgument(f"The password of the study's storage {shown} is in no file: give --storage with it.")
    path = sqlite_path(str(place)) if "://" in str(place) else Path(place)
    if path is not None and not path.is_file():
        raise InvalidArgument(f"The study's storage {shown} does not exist: give --storage, where the study is kept.")
    try:
        return open_storage(place, Path())
    except Exception as error:  # each database driver has its own
        raise InvalidArgument(
            f"The study's storage {shown} cannot be opened: mend that, or give --storage, where the study is kept. "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error


def _stored(name: str, place: str | Path, left: list[Spool], folder: Path) -> _Found:
    shown = public_uri(str(place))
    kept = _opened(place)
    names = optuna.get_all_study_names(kept)
    known = {spool.read()[0].name: spool for spool in left}
    # A folder may be gone, as on a disk that was full; its name still tells the study's.
    chosen = (
        [each for each in names if each == name]
        or [each for each in names if study_folder(Path(), each).name == Path(name).name]
        or [each for each in names if each in known]
    )
    if not chosen and not known and _holds_study(folder):
        chosen = names  # a folder that was given another name
    if len(chosen) != 1:
        raise InvalidArgument(
            f"{shown} holds {', '.join(map(repr, names)) or 'no study'}: give the name of one of them, not {name!r}."
        )
    study = optuna.load_study(study_name=chosen[0], storage=kept)
    record = stored_record(study, kept)
    if record is None and chosen[0] not in known:
        raise InvalidArgument(f"Study {chosen[0]!r} in {shown} was not run by gbtune.")
    if record is None:  # an objective of the user's own, with the tracker as a callback
        spool = known[chosen[0]]
        record = spool.read()[0]
        return _Found(record, callback.outcome(study, record), spool)
    if not record.storage:
        record = dataclasses.replace(record, storage=describe(study))
    found = next((each for each in left if each.read()[0].uid == record.uid), None)
    trials = read_records(study)[1]
    ended = None if found is None else found.outcome(trials)
    whole = record.n_trials is not None and len(trials) >= record.n_trials
    return _Found(record, ended or describe_outcome(study, "complete" if whole else "interrupted"), found)
