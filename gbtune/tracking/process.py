"""An MLflow tracker in a process of its own.

MLflow's imports, its tables and its writing take seconds of the interpreter's lock, which the trials need between any
two boosting rounds. Elsewhere they take none of it, and a call that hangs is ended with its process.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import sys
import threading
import time
import warnings
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from gbtune import families
from gbtune.errors import GbtuneError, GbtuneWarning, InvalidArgument
from gbtune.interpreter import start_interpreter
from gbtune.locations import public_uri
from gbtune.records import Receipt, StudyOutcome, StudyRecord, TrialRecord
from gbtune.tracking.base import Tracker
from gbtune.tracking.spool import Spool
from gbtune.tracking.sync import remedy

if TYPE_CHECKING:
    import subprocess

    from gbtune.tracking.mlflow import MLflowTracker

START_SECONDS = 60.0
"""For a new interpreter and MLflow's import, on a busy machine."""
_ENDING_SECONDS = 5.0
_LOOKS_EVERY = 0.2
_OWN_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own last for minutes; in a process of ours they can be set. The user's own go first."""


class ProcessTracker(Tracker):
    """Runs a copy of an `MLflowTracker` in another process.

    Whatever goes wrong with that process, the study is told again from here at the end: telling it twice changes
    nothing.

    Parameters
    ----------
    inner : MLflowTracker
        What the other process runs a copy of.

    Examples
    --------
    `gbtune.tune` makes one of each `MLflowTracker`. It is told about a study like any tracker, and starts its process
    with the first word.

    >>> from gbtune.tracking import MLflowTracker
    >>> from gbtune.tracking.process import ProcessTracker, apart
    >>> tracker = apart(MLflowTracker("http://localhost:5000"))
    >>> isinstance(tracker, ProcessTracker), tracker.inner.tracking_uri
    (True, 'http://localhost:5000')
    """

    def __init__(self, inner: MLflowTracker) -> None:
        self.inner = inner
        self._study: StudyRecord | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._broken = False

    def study_started(self, study: StudyRecord) -> None:
        """Start the process; with ``policy="required"``, wait until it has written the study's run.

        Raises
        ------
        TrackingUnavailable
            As `MLflowTracker.study_started`.
        """
        self._end()
        self._study, self._broken, self._outbox = study, False, queue.SimpleQueue()
        try:
            self._process, self._connection = start_interpreter(
                __name__, "serve", environment={k: v for k, v in _OWN_LIMITS.items() if k not in os.environ}
            )
        except OSError:  # no room for a process
            self._broken = True
        else:
            threading.Thread(target=self._post, args=(self._outbox, self._connection), daemon=True).start()
            self._outbox.put(("start", (self.inner, study, sys.argv)))
        if self.inner.policy == "required":
            kind, content = self._answer("started", START_SECONDS + self.inner.flush_seconds)
            if kind == "error":
                self._end()
                raise content
            if kind is None:  # then it must be possible from here
                self._end()
                self.inner.study_started(study)
                self._broken = True

    def trial_finished(self, trial: TrialRecord) -> None:
        """Pass a finished trial on."""
        if self._study is None:
            raise InvalidArgument("trial_finished comes after study_started: call that first.")
        self._outbox.put(("trial", trial))
        self._hear()

    def study_finished(self, outcome: StudyOutcome) -> Receipt:
        """Have the rest written, and wait for it as long as the tracker's `flush_seconds` says."""
        if self._study is None:
            raise InvalidArgument("study_finished comes after study_started: call that first.")
        study, self._study = self._study, None
        self._outbox.put(("finish", outcome))
        kind, content = self._answer("finished", START_SECONDS + self.inner.flush_seconds)
        alive = self._process is not None and self._process.poll() is None
        self._end()
        if kind == "finished":
            receipt: Receipt = content
            return receipt
        if kind is None and alive and not self._broken:
            return self._given_up(study, outcome)
        self.inner.study_started(study)  # it died, or could not be told: from here, in a thread
        return self.inner.study_finished(outcome)

    # -- the connection -------------------------------------------------------------------------------------

    def _post(self, outbox: queue.SimpleQueue[Any], connection: Connection) -> None:
        """Send what there is, off the path of tuning: a process that is stopped takes nothing."""
        while (message := outbox.get()) is not None:
            try:
                connection.send(message)
            except Exception:  # it died, or an estimator cannot be pickled
                if outbox is self._outbox:
                    self._broken = True
                return

    def _answer(self, wanted: str, seconds: float) -> tuple[str | None, Any]:
        """Wait for an answer; ``(None, None)`` if there will be none."""
        end = time.monotonic() + seconds
        while not self._broken and time.monotonic() < end:
            for kind, content in self._hear():
                if kind in (wanted, "error"):
                    return kind, content
            if self._connection is None or self._connection.closed:
                break
            with contextlib.suppress(OSError):
                self._connection.poll(0.1)
        return None, None

    def _hear(self) -> list[tuple[str, Any]]:
        """Return what has come; warn here, where the caller's filters apply."""
        heard = []
        try:
            while self._connection is not None and not self._connection.closed and self._connection.poll():
                kind, content = self._connection.recv()
                if kind == "warning":
                    warnings.warn(content, GbtuneWarning, stacklevel=4)
                else:
                    heard.append((kind, content))
        except (EOFError, OSError):
            self._broken = True
        return heard

    def _end(self) -> None:
        self._outbox.put(None)
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            try:
                self._process.wait(_ENDING_SECONDS)
            except Exception:
                self._process.kill()
                self._process.wait()
        self._connection = self._process = None

    def _given_up(self, study: StudyRecord, outcome: StudyOutcome) -> Receipt:
        uri = self.inner.tracking_uri
        spool = Spool.of(study, uri)
        spool.start(study, self.inner._settings)  # the process may have been stopped before it did
        spool.finish(outcome, with_model=self.inner.log_model)
        spool.release()
        problems = ("The process that writes to MLflow did not answer.", remedy(study, uri, spool))
        warnings.warn(f"MLflow at {public_uri(uri)}: {' '.join(problems)}", GbtuneWarning, stacklevel=3)
        return Receipt(problems=problems, tracking_uri=public_uri(uri))


def apart(tracker: Tracker | None) -> Tracker | None:
    """Return a tracker that writes from a process of its own, where that is an `MLflowTracker`.

    Other trackers stay as they are, and so does one for Databricks, whose credentials may be this process's alone.
    """
    from gbtune.tracking.mlflow import MLflowTracker

    if type(tracker) is not MLflowTracker or tracker.tracking_uri.startswith("databricks"):
        return tracker
    return ProcessTracker(tracker)


def _warm_up(family: str) -> None:
    """Import what the fitted model and MLflow need, one after the other: two threads that import at once may clash."""
    with contextlib.suppress(Exception):  # a family that is no plug-in
        importlib.import_module(families.get(family).extra)
    with contextlib.suppress(Exception):  # a missing MLflow is the tracker's news
        importlib.import_module("mlflow")


def _end_with(parent: int) -> None:
    """End this process when its parent has: the study's next one writes what is missing, and both would write it twice.

    A killed parent closes the connection, but nobody reads that while the end of a study is being written.
    """
    while os.getppid() == parent:  # on Windows for ever: there it ends with the connection
        time.sleep(_LOOKS_EVERY)
    os._exit(0)


def serve(connection: Connection) -> None:
    """Be the other process: run the tracker until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    tracker: MLflowTracker | None = None
    try:
        while True:
            kind, content = connection.recv()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", GbtuneWarning)
                try:
                    if kind == "start":
                        tracker, study, sys.argv = content  # what started the study is named in its runs
                        _warm_up(study.family)
                        tracker.study_started(study)
                        answer: tuple[str, Any] | None = ("started", None)
                    elif kind == "trial":
                        assert tracker is not None
                        tracker.trial_finished(content)
                        answer = None
                    else:
                        assert tracker is not None
                        answer = ("finished", tracker.study_finished(content))
                except GbtuneError as error:
                    answer = ("error", error)
            for warning in caught:
                if issubclass(warning.category, GbtuneWarning):
                    connection.send(("warning", str(warning.message)))
            if answer is not None:
                connection.send(answer)
    except (EOFError, OSError):
        pass  # all has been said, or the parent is dead: what is not written is in the spool
    finally:
        os._exit(0)  # MLflow's threads and exit handlers have nothing left to do
