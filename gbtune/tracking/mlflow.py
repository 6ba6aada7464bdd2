"""Every trial in MLflow, from a thread that tuning never waits for."""

from __future__ import annotations

import atexit
import dataclasses
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

from gbtune.errors import GbtuneWarning, InvalidArgument, TrackingUnavailable, UnknownName
from gbtune.locations import public_uri, resolve_registry, resolve_uri, sqlite_path
from gbtune.optional import require
from gbtune.records import Receipt, StudyOutcome, StudyRecord, TrialRecord
from gbtune.tracking import callback
from gbtune.tracking.base import Tracker
from gbtune.tracking.model_registry import check_model_name
from gbtune.tracking.spool import Spool
from gbtune.tracking.store import Store, quiet, what_went_wrong
from gbtune.tracking.study_run import Detail, StudyRun
from gbtune.tracking.sync import remedy
from gbtune.tracking.worker import FIRST_SECONDS, UPLOAD_SECONDS, Job, Worker

if TYPE_CHECKING:
    import optuna

REQUIRED_SECONDS = 10.0
"""How long ``policy="required"`` waits for a server, after MLflow's import."""
ENDING_SECONDS = 5.0
"""For results, files and model, and for MLflow's imports, if the trials were shorter than those."""
Policy = Literal["auto", "required"]


@dataclasses.dataclass(eq=False)
class Telling:
    """A study that is being told: its run in the store, its files until then, and the job that starts the run."""

    run: StudyRun
    spool: Spool
    started: Job
    spool_warned: bool = False


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
    policy : {"auto", "required"}, default "auto"
        What a store that cannot be reached or written means. "auto": tuning goes on, and what is missing is in the
        spool. "required": `study_started` raises, so that no trial runs; it waits up to 10 s (and MLflow's import).
        A store that goes away later is treated as in "auto".
    detail : {"all", "top", "summary"}, default "all"
        Which trials get a run of their own. "all": every one, when it ends. "top": the best 20 complete ones and
        the baseline, at the end. "summary": none. The study's run, its trial table with every trial (also
        failed ones, with their errors), report and model are written in any case. A study that goes on
        keeps to the rule that it began with.

    Raises
    ------
    InvalidArgument
        If an argument is malformed. Under "auto", a store that is missing, full or dead raises nothing, ever: it is
        a `GbtuneWarning`, once, and an entry in ``Receipt.problems``, the last of which is the shell command that
        finishes the job.

    Notes
    -----
    gbtune uses `MlflowClient` with explicit run ids. The caller's tracking URI, active run, experiment,
    autologging and environment stay as they are.

    The study's run is FINISHED from the start; its true state is the tag ``gbtune.state``. A
    trial's run is created when the trial has ended, with its true times. So a killed process leaves no
    run that is RUNNING for ever. Runs carry keys (``gbtune.study_uid``, ``gbtune.trial_uid``): telling
    the same study again, after an outage or from another process, adds what is missing and no duplicates.

    What the store has not acknowledged is in a spool (`gbtune.tracking.spool.Spool`) in
    ``gbtune-studies/<study>``, beside an embedded store or else in the current folder: a process that is killed
    loses nothing, and the same study's next process writes it.

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
        policy: Policy = "auto",
        detail: Detail = "all",
    ) -> None:
        if not isinstance(experiment, str) or not experiment.strip():
            raise InvalidArgument(f"experiment must be a name; got {experiment!r}.")
        if not flush_seconds > 0:
            raise InvalidArgument(f"flush_seconds must be a positive number of seconds; got {flush_seconds!r}.")
        for kind, given, known in (("policy", policy, Policy), ("detail", detail, Detail)):
            if given not in get_args(known):
                raise UnknownName(kind, given, get_args(known))
        check_model_name(register)
        self.tracking_uri = resolve_uri(tracking_uri)
        self.registry_uri = resolve_registry(tracking_uri, registry_uri)
        self.experiment = experiment
        self.register = register
        self.log_model = log_model
        self.flush_seconds = flush_seconds
        self.policy = policy
        self.detail = detail
        self._lock = threading.RLock()
        self._worker = Worker("gbtune-mlflow")
        self._run: Telling | None = None
        self._warned = False
        self._watched: weakref.WeakKeyDictionary[Any, Telling] = weakref.WeakKeyDictionary()
        self._open: dict[str, tuple[optuna.Study, Telling]] = {}

    def __repr__(self) -> str:
        return f"MLflowTracker({public_uri(self.tracking_uri)!r}, experiment={self.experiment!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy has the settings and a life of its own: estimators that hold a tracker are cloned and pickled.
        life = {"flush_seconds": self.flush_seconds, "policy": self.policy}
        return _rebuild, (self.tracking_uri, {**self._settings, "registry_uri": self.registry_uri, **life})

    @property
    def _settings(self) -> dict[str, Any]:
        """What must be equal for a study to be written to the same place in the same way."""
        registry = self.registry_uri if self.registry_uri == public_uri(self.registry_uri or "") else None
        return {
            "experiment": self.experiment,
            "register": self.register,
            "registry_uri": registry,  # no password goes into a file
            "log_model": self.log_model,
            "detail": self.detail,
        }

    @property
    def ending_seconds(self) -> float:
        """What the end of a study takes in a thread of this process."""
        return ENDING_SECONDS

    def study_started(self, study: StudyRecord) -> None:
        """Start the study's run in the background, and with it the import of MLflow.

        Raises
        ------
        TrackingUnavailable
            Under the policy "required", if the study's run cannot be written.
        """
        if self.policy == "required":
            require("mlflow", needed_for="Tracking in MLflow")  # before a thread imports it at the same time
        telling = self._begin(study)
        if self.policy == "required":
            self._require(telling)
        self._run = telling
        if self.log_model:
            self._queue("", telling.run.warm_up, FIRST_SECONDS)

    def trial_finished(self, trial: TrialRecord) -> None:
        """Queue a finished trial."""
        if self._run is None:
            raise InvalidArgument("trial_finished comes after study_started: call that first.")
        self._submit_trial(self._run, trial)

    def study_finished(self, outcome: StudyOutcome) -> Receipt:
        """Write the rest, waiting at most `flush_seconds`."""
        if self._run is None:
            raise InvalidArgument("study_finished comes after study_started: call that first.")
        telling, self._run = self._run, None
        self._submit_outcome(telling, outcome)
        return self._finish(telling)

    def retell(self, study: StudyRecord, outcome: StudyOutcome, *, seconds: float, spool: Spool) -> Receipt:
        """Tell a whole study again, slowly and thoroughly: see `gbtune.tracking.sync.sync`."""
        telling = self._begin(study, spool)
        self._submit_outcome(telling, outcome, thorough=True)
        return self._finish(telling, seconds=seconds)

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
        for study, telling in watched:
            self._submit_outcome(telling, callback.outcome(study, telling.run.study))
        return self._finish(*(telling for _, telling in watched))

    def _begin(self, study: StudyRecord, spool: Spool | None = None) -> Telling:
        spool = spool or Spool.of(study, self.tracking_uri)
        left = spool.start(study, self._settings)
        run = StudyRun(
            Store(self.tracking_uri, self.registry_uri),
            self.experiment,
            study,
            self.register,
            detail=self.detail,
            context=spool.settings().get("context"),
            on_context=lambda context: spool.set(context=context),
        )
        telling = Telling(run, spool, self._queue("the study's run", run.start))
        for trial in left:  # a process that was killed did not get them acknowledged
            self._queue_trial(telling, trial)
        return telling

    def _require(self, telling: Telling) -> None:
        wait = REQUIRED_SECONDS if sqlite_path(self.tracking_uri) is None else FIRST_SECONDS
        if self._worker.wait(telling.started, wait):
            return
        error = telling.started.error
        self._worker.drop()
        if telling.spool.trials():
            telling.spool.release()
        else:
            telling.spool.acknowledge(telling.run.study.storage)
        reason = f"it did not answer within {wait:g} s." if error is None else _reason(error, self.tracking_uri)
        raise TrackingUnavailable(
            f'MLflow at {public_uri(self.tracking_uri)} cannot be written, and policy="required" says it must be: '
            f'{reason} Mend the store, or set policy="auto": then tuning goes on and the rest is written later.'
        ) from error

    def _watch(self, study: optuna.Study) -> Telling:
        with self._lock:
            telling = self._watched.get(study)
            if telling is None:
                record = callback.study_record(study)
                if self._run is not None and self._run.run.study.uid == record.uid:
                    return self._run  # told twice, by gbtune and as a callback: one study
                known = self._open.get(record.uid)
                telling = known[1] if known else self._begin(record)
                if known is None:
                    if not self._open:
                        atexit.register(self.close)
                    self._open[record.uid] = (study, telling)
                self._watched[study] = telling
            return telling

    def _submit_trial(self, telling: Telling, trial: TrialRecord) -> None:
        telling.spool.append(trial)
        self._queue_trial(telling, trial)
        self._warn_once(telling)

    def _queue_trial(self, telling: Telling, trial: TrialRecord) -> None:
        self._queue(f"trial {trial.number}", lambda: telling.run.write_trial(trial))

    def _submit_outcome(self, telling: Telling, outcome: StudyOutcome, *, thorough: bool = False) -> None:
        run = telling.run
        self._queue("earlier trials", lambda: run.write_untold(outcome, thorough=thorough))
        self._queue("the study's results", lambda: run.write_results(outcome))
        self._queue("the study's files", lambda: run.write_files(outcome), UPLOAD_SECONDS)
        if self.log_model and outcome.model is not None:
            self._queue("the model", lambda: run.write_model(outcome), UPLOAD_SECONDS)
        telling.spool.finish(outcome, with_model=self.log_model)  # while the worker writes

    def _queue(self, label: str, work: Callable[[], None], seconds: float | None = None) -> Job:
        def quietly() -> None:
            with quiet():
                work()

        return self._worker.submit(label, quietly, seconds)

    def _finish(self, *tellings: Telling, seconds: float | None = None) -> Receipt:
        """Wait for what is left and return the receipt of the last study."""
        if seconds is None:
            undone = self._worker.flush(self.flush_seconds)
        else:
            undone = self._worker.flush(seconds, FIRST_SECONDS)
        problems = _describe(undone, self.tracking_uri)
        for telling in tellings:
            if undone:
                telling.spool.release()
                problems += (remedy(telling.run.study, self.tracking_uri, telling.spool),)
            else:
                telling.spool.acknowledge(telling.run.study.storage)
        if problems and not self._warned:
            self._warned = True
            uri = public_uri(self.tracking_uri)
            warnings.warn(
                f"MLflow at {uri} lacks parts of the study. {' '.join(problems)}", GbtuneWarning, stacklevel=3
            )
        for telling in tellings:
            self._warn_once(telling)
        run = tellings[-1].run
        return Receipt(run.run_id, run.url, run.model_uri, problems, public_uri(self.tracking_uri))

    def _warn_once(self, telling: Telling) -> None:
        """Warn in the caller's thread: there the caller's filters and capture apply."""
        error = self._worker.first_error
        if error is not None and not self._warned:
            self._warn(f"{_reason(error, self.tracking_uri)}")
        if telling.spool.problem and not telling.spool_warned:
            telling.spool_warned = True
            warnings.warn(
                f"{telling.spool.folder} cannot be written: {telling.spool.problem}. Tuning goes on; but what MLflow "
                "has not got when this process is killed, it will not get.",
                GbtuneWarning,
                stacklevel=4,
            )

    def _warn(self, reason: str) -> None:
        self._warned = True
        warnings.warn(
            f"MLflow at {public_uri(self.tracking_uri)} cannot be written: {reason} "
            "Tuning goes on; what is missing is tried again at the end, and kept.",
            GbtuneWarning,
            stacklevel=4,
        )


def _rebuild(tracking_uri: str, settings: dict[str, Any]) -> MLflowTracker:
    return MLflowTracker(tracking_uri, **settings)


def _reason(error: BaseException, uri: str) -> str:
    return what_went_wrong(error).replace(uri, public_uri(uri)).rstrip(".") + "."


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
