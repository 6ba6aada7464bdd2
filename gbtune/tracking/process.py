"""An MLflow tracker in a process of its own.

MLflow's imports, its tables and its writing take seconds of the interpreter's lock, which the trials need between any
two boosting rounds. Elsewhere they take none of it, and a call that hangs is ended with its process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import importlib
import os
import queue
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from gbtune.errors import GbtuneError, GbtuneWarning, InvalidArgument
from gbtune.interpreter import start_interpreter
from gbtune.locations import public_uri
from gbtune.records import Receipt, StudyOutcome, StudyRecord, TrialRecord
from gbtune.tracking.base import Tracker
from gbtune.tracking.model_registry import ModelFiles, import_what_saving_needs
from gbtune.tracking.spool import Spool
from gbtune.tracking.sync import remedy

if TYPE_CHECKING:
    from gbtune.tracking.mlflow import MLflowTracker
    from gbtune.tracking.worker import Worker

START_SECONDS = 60.0
"""For a new interpreter and MLflow's import, on a busy machine."""
FIRST_SECONDS = 4.0
"""The same, and a new store, while the cores are busy with trials."""
LAST_SECONDS = 0.8
"""For the end of a study whose run is in the store already: results, files, model."""
TRIAL_SECONDS = 0.03
"""For a trial, until it is known how long the first ones have taken."""
IMPORT_SECONDS = 2.0
"""Those of `FIRST_SECONDS` for which the process needs no study yet."""
MOST_SLOWNESS = 3.0
"""Not more: a server that does not answer is no busy machine."""
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
    with the first word, or by `start` before.

    >>> from gbtune.tracking import MLflowTracker
    >>> from gbtune.tracking.process import ProcessTracker, apart
    >>> tracker = apart(MLflowTracker("http://localhost:5000"))
    >>> isinstance(tracker, ProcessTracker), tracker.inner.tracking_uri
    (True, 'http://localhost:5000')
    """

    def __init__(self, inner: MLflowTracker) -> None:
        self.inner = inner
        self._study: StudyRecord | None = None
        self._line: _Line | None = None
        self._ends: weakref.finalize[Any, Any] | None = None

    @property
    def ending_seconds(self) -> float:
        """What the end of a study takes: the whole of it where there is no process that could have begun."""
        if (line := self._line if self._is_working() else None) is None:
            return FIRST_SECONDS + LAST_SECONDS
        return LAST_SECONDS * line.slowness

    @property
    def backlog_seconds(self) -> float:
        """What the process has to do still: to get ready, and to write the trials that it was told of."""
        line = self._line if self._is_working() else None
        if line is None:
            return 0.0
        so_far = line.getting_ready
        # Later than usual, it is likely to take half as long again: the machine is busy.
        first = 0.0 if line.ready else max(1.0, FIRST_SECONDS - so_far, min(so_far / 2, FIRST_SECONDS))
        return first + line.unwritten * line.pace

    def _is_working(self) -> bool:
        """Hear what the process says, in the thread that runs the study; return whether it is there."""
        self._hear()
        return self._line is not None and not self._line.broken

    def start(self) -> None:
        """Start the process before there is a study: it imports MLflow while something else is prepared.

        If no study follows, it ends with `end`, or with this object.
        """
        self.end()
        try:
            self._line = _Line()
        except OSError:  # no room for a process: then from here, at the end
            return
        self._ends = weakref.finalize(self, self._line.end, 0.0)
        self._ends.atexit = False  # then it ends by itself, with what it is writing

    def end(self) -> None:
        """End the process, when no study follows."""
        self._end(0.0)

    def study_started(self, study: StudyRecord) -> None:
        """Tell the process, or start it; with ``policy="required"``, wait until it has written the study's run.

        Raises
        ------
        TrackingUnavailable
            As `MLflowTracker.study_started`.
        """
        if self._line is None or self._line.told_at is not None:
            self.start()
        self._study = study
        self._say("start", (self.inner, study, sys.argv))  # what started the study is named in its runs
        if self.inner.policy == "required":
            kind, content = self._answer("started", START_SECONDS + self.inner.flush_seconds)
            if kind == "error":
                self._end()
                raise content
            if kind is None:  # then it must be possible from here
                self._end()
                self.inner.study_started(study)

    def trial_finished(self, trial: TrialRecord) -> None:
        """Pass a finished trial on."""
        if self._study is None:
            raise InvalidArgument("trial_finished comes after study_started: call that first.")
        self._say("trial", trial)
        self._hear()

    def study_finished(self, outcome: StudyOutcome) -> Receipt:
        """Have the rest written, and wait for it as long as the tracker's `flush_seconds` says."""
        if self._study is None:
            raise InvalidArgument("study_finished comes after study_started: call that first.")
        study, self._study = self._study, None
        self._say("finish", outcome)
        kind, content = self._answer("finished", START_SECONDS + self.inner.flush_seconds)
        stands_still = self._line is not None and self._line.stands_still
        self._end()
        if kind == "finished":
            receipt: Receipt = content
            return receipt
        if kind is None and stands_still:
            return self._given_up(study, outcome)
        self.inner.study_started(study)  # it died, or could not be told: from here, in a thread
        return self.inner.study_finished(outcome)

    # -- the process ----------------------------------------------------------------------------------------

    def _say(self, kind: str, content: Any) -> None:
        if self._line is not None:
            self._line.told_at = self._line.told_at or time.monotonic()
            self._line.unwritten += kind == "trial"
            self._line.outbox.put((kind, content))

    def _answer(self, wanted: str, seconds: float) -> tuple[str | None, Any]:
        """Wait for an answer; ``(None, None)`` if there will be none."""
        end, line = time.monotonic() + seconds, self._line
        while line is not None and not line.broken and time.monotonic() < end:
            for kind, content in self._hear():
                if kind in (wanted, "error"):
                    return kind, content
            line.wait(0.1)
        return None, None

    def _hear(self) -> list[tuple[str, Any]]:
        """Return what has come; warn here, where the caller's filters apply."""
        heard = [] if self._line is None else self._line.hear()
        for kind, content in heard:
            if kind == "warning":
                warnings.warn(content, GbtuneWarning, stacklevel=4)
        return heard

    def _end(self, seconds: float = _ENDING_SECONDS) -> None:
        line, self._line = self._line, None
        if self._ends is not None:
            self._ends.detach()
        if line is not None:
            line.end(seconds)

    def _given_up(self, study: StudyRecord, outcome: StudyOutcome) -> Receipt:
        uri = self.inner.tracking_uri
        spool = Spool.of(study, uri)
        spool.start(study, self.inner._settings)  # the process may have been stopped before it did
        spool.finish(outcome, with_model=self.inner.log_model)
        spool.release()
        problems = ("The process that writes to MLflow did not answer.", remedy(study, uri, spool))
        warnings.warn(f"MLflow at {public_uri(uri)}: {' '.join(problems)}", GbtuneWarning, stacklevel=3)
        return Receipt(problems=problems, tracking_uri=public_uri(uri))


class _Line:
    """A process of ours, and the connection to it.

    Raises
    ------
    OSError
        If no process can be started.
    """

    def __init__(self) -> None:
        own = {name: value for name, value in _OWN_LIMITS.items() if name not in os.environ}
        self.process, self.connection = start_interpreter(__name__, "serve", environment=own)
        self.began, self.outbox = time.monotonic(), queue.SimpleQueue[Any]()
        self.told_at: float | None = None
        self.ready_at: float | None = None
        self.broken = False
        self.unwritten, self.pace = 0, TRIAL_SECONDS
        threading.Thread(target=self._post, daemon=True).start()

    @property
    def stands_still(self) -> bool:
        """Whether it lives and takes what it is told, and yet may not have answered."""
        return not self.broken and self.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether the process has come to the first trial."""
        return self.ready_at is not None

    @property
    def getting_ready(self) -> float:
        """Seconds it took, or has taken so far, without those in which it had nothing to do."""
        now = time.monotonic() if self.ready_at is None else self.ready_at
        idle = max(0.0, (now if self.told_at is None else self.told_at) - self.began - IMPORT_SECONDS)
        return now - self.began - idle

    @property
    def slowness(self) -> float:
        """How many times as long as usual that is: other work keeps the machine busy."""
        return min(max(1.0, self.getting_ready / FIRST_SECONDS), MOST_SLOWNESS)

    def _post(self) -> None:
        """Send what there is, off the path of tuning: a process that is stopped takes nothing."""
        while (message := self.outbox.get()) is not None:
            try:
                self.connection.send(_without_library(message))
            except Exception:  # it died, or a model cannot be saved
                self.broken = True
                return

    def hear(self) -> list[tuple[str, Any]]:
        """Return what has come."""
        heard = []
        try:
            while not self.connection.closed and self.connection.poll():
                heard.append(self.connection.recv())
        except (EOFError, OSError):
            self.broken = True
        for kind, content in heard:
            if kind == "ready":
                self.ready_at = content  # when it was: it may be heard much later
            elif kind == "written":
                self.unwritten, self.pace = self.unwritten - 1, content
        return heard

    def wait(self, seconds: float) -> None:
        """Wait until there is something to hear."""
        with contextlib.suppress(OSError):
            self.connection.poll(seconds)

    def end(self, seconds: float) -> None:
        """Close the connection, and end the process if it has not ended by itself after so many seconds."""
        self.outbox.put(None)
        self.connection.close()
        try:
            self.process.wait(seconds)
        except Exception:
            self.process.kill()
            self.process.wait()


def _without_library(message: tuple[str, Any]) -> tuple[str, Any]:
    """Put native files in the place of a fitted estimator, which nobody can unpickle without its library's import."""
    kind, content = message
    if kind != "finish" or content.model is None:
        return message
    model = dataclasses.replace(content.model, estimator=ModelFiles.of(content.model))
    return kind, dataclasses.replace(content, model=model)


def apart(tracker: Tracker | None) -> Tracker | None:
    """Return a tracker that writes from a process of its own, where that is an `MLflowTracker`.

    Other trackers stay as they are, and so does one for Databricks, whose credentials may be this process's alone.
    """
    from gbtune.tracking.mlflow import MLflowTracker

    if type(tracker) is not MLflowTracker or tracker.tracking_uri.startswith("databricks"):
        return tracker
    return ProcessTracker(tracker)


@contextlib.contextmanager
def started_apart(tracker: Tracker | None) -> Iterator[Tracker | None]:
    """Give a tracker as `apart` does, its process started, and ended whatever happens before it is told of a study.

    Examples
    --------
    >>> from gbtune.testing.trackers import RecordingTracker
    >>> from gbtune.tracking.process import started_apart
    >>> with started_apart(RecordingTracker()) as tracker:
    ...     type(tracker).__name__
    'RecordingTracker'
    """
    told = apart(tracker)
    if not isinstance(told, ProcessTracker):
        yield told
        return
    told.start()
    try:
        yield told
    finally:
        told.end()  # nothing to do after the end of a study


def _warm_up() -> None:
    """Import what writing needs, in one thread: two that import at once may clash.

    What imports make is no garbage: not to look for any saves a fifth of the time.
    """
    gc.disable()
    with contextlib.suppress(Exception):  # a missing MLflow is the tracker's news
        importlib.import_module("mlflow")
        import_what_saving_needs()
    gc.freeze()
    gc.enable()


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
    lock = threading.Lock()

    def say(kind: str, content: Any = None) -> None:
        with lock:
            connection.send((kind, content))

    def written(worker: Worker) -> None:
        say("written", worker.pace)

    tracker: MLflowTracker | None = None
    try:
        _warm_up()
        while True:
            kind, content = connection.recv()
            answer: tuple[str, Any] | None = None
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", GbtuneWarning)
                try:
                    if kind == "start":
                        tracker, study, sys.argv = content
                        tracker.study_started(study)
                        tracker._queue("", lambda: say("ready", time.monotonic()))  # once the study's run is written
                        answer = ("started", None)
                    elif kind == "trial":
                        assert tracker is not None
                        tracker.trial_finished(content)
                        tracker._queue("", functools.partial(written, tracker._worker))
                    else:
                        assert tracker is not None
                        answer = ("finished", tracker.study_finished(content))
                except GbtuneError as error:
                    answer = ("error", error)
            for warning in caught:
                if issubclass(warning.category, GbtuneWarning):
                    say("warning", str(warning.message))
            if answer is not None:
                say(*answer)
    except (EOFError, OSError):
        pass  # all has been said, or the parent is dead: what is not written is in the spool
    finally:
        os._exit(0)  # MLflow's threads and exit handlers have nothing left to do
