"""Finish, after an outage, what a study's tracker could not write; or build an experiment anew from its study."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gbtune.locations import MASK, is_place, public_uri, sqlite_path, studies_root, study_folder
from gbtune.records import Receipt, StudyOutcome, StudyRecord, TrialRecord
from gbtune.tracking.callback import outcome_of
from gbtune.tracking.spool import Spool

if TYPE_CHECKING:
    from gbtune.tracking.mlflow import MLflowTracker

SYNC_SECONDS = 600.0


def sync(
    study: StudyRecord,
    outcome: StudyOutcome,
    tracker: MLflowTracker,
    *,
    seconds: float = SYNC_SECONDS,
    spool: Spool | None = None,
) -> Receipt:
    """Tell a whole study to a store: what it has stays, what is missing is added, what is there twice goes.

    Afterwards the experiment has exactly the runs, the model and the version of a study that met no outage, also in
    a store that never saw the study.

    Parameters
    ----------
    study : StudyRecord
        The study.
    outcome : StudyOutcome
        How it ended, with all its trials: see `story`.
    tracker : MLflowTracker
        Where to, and how: see `tracker_for`.
    seconds : float, default 600
        The longest wait. A store that does not answer at all is given up after 30 s.
    spool : Spool, optional
        What the study left; removed (or emptied, if the study is kept in a storage) when all is written. Default: the
        one beside the tracker's store.

    Returns
    -------
    Receipt
        Its problems say what is still missing.

    Examples
    --------
    >>> import tempfile
    >>> from gbtune.testing.trackers import example_outcome, example_study
    >>> from gbtune.tracking import MLflowTracker
    >>> from gbtune.tracking.sync import sync
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     receipt = sync(example_study(), example_outcome(), MLflowTracker(f"sqlite:///{folder}/mlflow.db"))
    >>> receipt.problems
    ()
    """
    return tracker.retell(study, outcome, seconds=seconds, spool=spool or Spool.of(study, tracker.tracking_uri))


def story(study: StudyRecord, trials: Sequence[TrialRecord], spool: Spool | None = None) -> StudyOutcome:
    """Return how a study ended, as far as it can be told now.

    Parameters
    ----------
    study : StudyRecord
        The study.
    trials : sequence of TrialRecord
        All its trials, from the spool or from the study's own storage.
    spool : Spool, optional
        Has the end with report and model, if the study came to one.

    Returns
    -------
    StudyOutcome
        The one of the spool, if it is about these trials; else one of the trials alone, whose state is "interrupted".

    Examples
    --------
    >>> from gbtune.testing.trackers import example_study, example_trials
    >>> from gbtune.tracking.sync import story
    >>> outcome = story(example_study(), example_trials())
    >>> outcome.state, outcome.best.number, outcome.model
    ('interrupted', 1, None)
    """
    told = None if spool is None else spool.outcome(trials)
    if told is not None:
        return told
    return outcome_of(study, [trial for trial in trials if trial.state != "running"], "interrupted")


def tracker_for(spool: Spool, tracking_uri: str | None = None, *, registry_uri: str | None = None) -> MLflowTracker:
    """Return a tracker that writes where the spool's own would have written.

    Parameters
    ----------
    spool : Spool
        Knows experiment, model name and detail.
    tracking_uri, registry_uri : str, optional
        As `MLflowTracker` takes them. A registry's URI with a password is in no file: give it again.
    """
    from gbtune.tracking.mlflow import MLflowTracker

    settings = {key: value for key, value in spool.settings().items() if key != "context"}
    if registry_uri is not None:
        settings["registry_uri"] = registry_uri
    return MLflowTracker(tracking_uri, **settings)


def command(study: StudyRecord, tracking_uri: str, folder: Path | None = None) -> str:
    """Return the shell command that writes what is missing.

    Parameters
    ----------
    study : StudyRecord
        The study.
    tracking_uri : str
        Of the store; a password is not shown.
    folder : pathlib.Path, optional
        The study's folder. Default: beside an embedded tracking store, else in the current folder.

    Examples
    --------
    >>> from gbtune.testing.trackers import example_study
    >>> from gbtune.tracking.sync import command
    >>> command(example_study(), "sqlite:////data/mlflow.db")
    'gbtune sync /data/gbtune-studies/example --tracking-uri sqlite:////data/mlflow.db'
    """
    folder = (folder or study_folder(studies_root(tracking_uri), study.name)).absolute()
    words = ["gbtune", "sync", str(folder), "--tracking-uri", public_uri(tracking_uri)]
    if is_place(study.storage) and not _is_inside(study.storage, folder):
        words += ["--storage", study.storage]
    return shlex.join(words)


def remedy(study: StudyRecord, tracking_uri: str, spool: Spool) -> str:
    """Return the sentence that says how to write what is missing, for a receipt.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gbtune.testing.trackers import example_study
    >>> from gbtune.tracking.spool import Spool
    >>> from gbtune.tracking.sync import remedy
    >>> remedy(example_study(), "postgresql://me:secret@host/db", Spool(Path("/data/example/spool-contract")))
    "Finish with (fill in the password): gbtune sync /data/example --tracking-uri 'postgresql://me:***@host/db'"
    """
    if spool.problem and not is_place(study.storage):
        return f"{spool.folder} cannot be written either ({spool.problem}): what is missing goes with this process."
    words = command(study, tracking_uri, spool.folder.parent)
    return f"Finish with{' (fill in the password)' if MASK in words else ''}: {words}"


def _is_inside(storage: str, folder: Path) -> bool:
    path = sqlite_path(storage) if "://" in storage else Path(storage)
    return path is not None and path.is_relative_to(folder)
