"""Every trial in MLflow, from a thread that tuning never waits for."""

from __future__ import annotations

import atexit
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gbtune.errors import GbtuneWarning, InvalidArgument
from gbtune.locations import public_uri, resolve_uri
from gbtune.records import Receipt, StudyOutcome, StudyRecord, TrialRecord
from gbtune.tracking import callback
from gbtune.tracking.base import Tracker
from gbtune.tracking.model_registry import check_model_name
from gbtune.tracking.projection import cut
from gbtune.tracking.store import Store, quiet
from gbtune.tracking.study_run import StudyRun
from gbtune.tracking.worker import Job, Worker

if TYPE_CHECKING:
    import optuna


class MLflowTracker(Tracker):
    """Writes studies to MLflow: a run per study, a run per trial below it, the model, the registry.

    Also an ordinary Optuna callback, for studies of your own.

    Parameters
    ----------
    tracking_uri : str, optional
        Of the tracking store, e.g. ``"http://host:5000"`` or ``"sqlite:///mlflow.db"``. Default: the environment
        variable ``MLFLOW_TRACKING_URI`` as it is now, else ``mlflow.db`` in the current folder,
        with artifacts in ``mlartifacts`` beside it.
    experiment : str, default "gbtune"
        Name of the experiment; created if missing.
    register : str, optional
        Name in the model registry: each study adds a version with the alias ``challenger``, the first
        one also gets ``champion``. A name that comes with the study's outcome goes first.
    registry_uri : str, optional
        Of the model registry. Default: ``MLFLOW_REGISTRY_URI`` if the tracking URI comes from the
        environment too, else the tracking store.
    log_model : bool, default True
        Whether to log the model.
    flush_seconds : float, default 30.0
        How long the end of a study may wait for the store. If it never answered at all: 5 s at most.

    Raises
    ------
    InvalidArgument
        If an argument is malformed. A store that is missing, full or dead raises nothing, ever: it is a
        `GbtuneWarning`, once, and an entry in ``Receipt.problems``.

    Notes
    -----
    gbtune uses `MlflowClient` with explicit run ids. The caller's tracking URI, active run, experiment,
    autologging and environment stay as they are.

    The study's run is FINISHED from the start; its true state is the tag ``gbtune.state``. A
    trial's run is created when the trial has ended, with its true times. So a killed process leaves no
    run that is RUNNING for ever. Runs carry keys (``gbtune.study_uid``, ``gbtune.trial_uid``): telling
    the same study again, after an outage or from another process, adds what is missing and no duplicates.

    Examples
    --------
    >>> import optuna, tempfile
    >>> from gbtune.tracking import MLflowTracker
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tracker = MLflowTracker(f"sqlite:///{folder}/mlflow.db")
    ...     study = optuna.create_study()
    ...     study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3, callbacks=[tracker])
    ...     tracker.close().problems
    ()
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        *,
        experiment: str = "gbtune",
        register: str | None = None,
        registry_uri: str | None = None,
        log_model: bool = True,
        flush_seconds: float = 30.0,
    ) -> None:
        if not isinstance(experiment, str) or not experiment.strip():
            raise InvalidArgument(f"experiment must be a name; got {experiment!r}.")
        if not flush_seconds > 0:
            raise InvalidArgument(f"flush_seconds must be a positive number of seconds; got {flush_seconds!r}.")
        check_model_name(register)
        if registry_uri is None and tracking_uri is None:
            registry_uri = os.environ.get("MLFLOW_REGISTRY_URI")
        self.tracking_uri = resolve_uri(tracking_uri)
        self.registry_uri = registry_uri
        self.experiment = experiment
        self.register = register
        self.log_model = log_model
        self.flush_seconds = flush_seconds
        self._lock = threading.RLock()
        self._worker = Worker("gbtune-mlflow")
        self._run: StudyRun | None = None
        self._warned = False
        self._watched: weakref.WeakKeyDictionary[Any, StudyRun] = weakref.WeakKeyDictionary()
        self._open: dict[str, tuple[optuna.Study, StudyRun]] = {}

    def __repr__(self) -> str:
        return f"MLflowTracker({public_uri(self.tracking_uri)!r}, experiment={self.experiment!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy has the settings and a life of its own: estimators that hold a tracker are cloned and pickled.
        settings = {
            "experiment": self.experiment,
            "register": self.register,
            "registry_uri": self.registry_uri,
            "log_model": self.log_model,
            "flush_seconds": self.flush_seconds,
        }
        return _rebuild, (self.tracking_uri, settings)

    def study_started(self, study: StudyRecord) -> None:
        """Start the study's run in the background, and with it the import of MLflow."""
        run = self._new_run(study)
        self._run = run
        self._queue("the study's run", run.start)

    def trial_finished(self, trial: TrialRecord) -> None:
        """Queue a finished trial."""
        if self._run is None:
            raise InvalidArgument("trial_finished comes after study_started: call that first.")
        self._submit_trial(self._run, trial)

    def study_finished(self, outcome: StudyOutcome) -> Receipt:
        """Write the rest, waiting at most `flush_seconds`."""
        if self._run is None:
            raise InvalidArgument("study_finished comes after study_started: call that first.")
        run, self._run = self._run, None
        self._submit_outcome(run, outcome)
        return self._finish(run)

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Take note of a finished trial, as a callback of ``study.optimize``.

        What is left is written by `close`, or when the process ends.
        """
        record = callback.trial_record(trial)
        if record is not None:
            self._submit_trial(self._watch(study), record)

    def close(self) -> Receipt:
        """Write the rest of the studies that this tracker watched as a callback, for a bounded time.

        Returns
        -------
        Receipt
            Of the last study watched; empty if there was none.
        """
        with self._lock:
            watched, self._open = list(self._open.values()), {}
            self._watched = weakref.WeakKeyDictionary()
        atexit.unregister(self.close)
        if not watched:
            return Receipt()
        for study, run in watched:
            self._submit_outcome(run, callback.outcome(study, run.study))
        return self._finish(watched[-1][1])

    def _new_run(self, study: StudyRecord) -> StudyRun:
        return StudyRun(Store(self.tracking_uri, self.registry_uri), self.experiment, study, self.register)

    def _watch(self, study: optuna.Study) -> StudyRun:
        with self._lock:
            run = self._watched.get(study)
            if run is None:
                record = callback.study_record(study)
                if self._run is not None and self._run.study.uid == record.uid:
                    return self._run  # told twice, by gbtune and as a callback: one study
                known = self._open.get(record.uid)
                run = known[1] if known else self._new_run(record)
                if known is None:
                    if not self._open:
                        atexit.register(self.close)
                    self._open[record.uid] = (study, run)
                    self._queue("the study's run", run.start)
                self._watched[study] = run
            return run

    def _submit_trial(self, run: StudyRun, trial: TrialRecord) -> None:
        self._queue(f"trial {trial.number}", lambda: run.write_trial(trial))
        self._warn_once()

    def _submit_outcome(self, run: StudyRun, outcome: StudyOutcome) -> None:
        self._queue("earlier trials", lambda: run.write_untold(outcome))
        self._queue("the study's results", lambda: run.write_results(outcome))
        self._queue("the study's files", lambda: run.write_files(outcome))
        if self.log_model and outcome.model is not None:
            self._queue("the model", lambda: run.write_model(outcome))

    def _queue(self, label: str, work: Callable[[], None]) -> None:
        def quietly() -> None:
            with quiet():
                work()

        self._worker.submit(label, quietly)

    def _finish(self, run: StudyRun) -> Receipt:
        undone = self._worker.flush(self.flush_seconds)
        self._warn_once()
        problems = _describe(undone, self.tracking_uri)
        if problems and not self._warned:
            self._warn(problems[0])
        return Receipt(run.run_id, run.url, run.model_uri, problems, public_uri(self.tracking_uri))

    def _warn_once(self) -> None:
        """Warn in the caller's thread: there the caller's filters and capture apply."""
        error = self._worker.first_error
        if error is not None and not self._warned:
            self._warn(f"{_reason(error, self.tracking_uri)}")

    def _warn(self, reason: str) -> None:
        self._warned = True
        warnings.warn(
            f"MLflow at {public_uri(self.tracking_uri)} cannot be written: {reason} "
            "Tuning goes on; what is missing is tried again at the end.",
            GbtuneWarning,
            stacklevel=4,
        )


def _rebuild(tracking_uri: str, settings: dict[str, Any]) -> MLflowTracker:
    return MLflowTracker(tracking_uri, **settings)


def _reason(error: BaseException, uri: str) -> str:
    text = " ".join(str(error).partition("[SQL:")[0].split()) or "no details"
    return f"{type(error).__name__}: {cut(text, 300)}".replace(uri, public_uri(uri)).rstrip(".") + "."


def _describe(undone: list[Job], uri: str) -> tuple[str, ...]:
    """Return one sentence per cause."""
    causes: dict[str, list[str]] = {}
    for job in undone:
        cause = _reason(job.error, uri) if job.error else "the store did not answer in time."
        causes.setdefault(cause, []).append(job.label)
    return tuple(f"Not written: {_listed(labels)} ({cause.rstrip('.')})." for cause, labels in causes.items())


def _listed(labels: list[str], limit: int = 12) -> str:
    shown = ", ".join(labels[:limit])
    return shown if len(labels) <= limit else f"{shown} and {len(labels) - limit} more"
