"""An MLflow tracker in a process of its own.

MLflow's imports, its tables and its writing take seconds of the interpreter's lock, which the trials need between any
two boosting rounds. Elsewhere they take none of it, and a call that hangs is ended with its process.
"""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gbtune.errors import GbtuneWarning, InvalidArgument
from gbtune.locations import public_uri
from gbtune.records import Receipt, StudyOutcome, StudyRecord, TrialRecord
from gbtune.tracking.base import Tracker
from gbtune.tracking.line import FIRST_SECONDS, KEPT, LAST_SECONDS, Line, current_folder
from gbtune.tracking.spool import Spool
from gbtune.tracking.sync import remedy

if TYPE_CHECKING:
    from gbtune.tracking.mlflow import MLflowTracker

START_SECONDS = 60.0
"""For a new interpreter and MLflow's import, on a busy machine."""
_ENDING_SECONDS = 5.0


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
        self._line: Line | None = None
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
        usual = line.first_seconds
        first = 0.0 if line.ready else max(1.0, usual - so_far, min(so_far / 2, usual))
        return first + line.unwritten * line.pace

    def _is_working(self) -> bool:
        """Hear what the process says, in the thread that runs the study; return whether it is there."""
        self._hear()
        return self._line is not None and not self._line.broken

    def start(self) -> None:
        """Start the process before there is a study: it imports MLflow while something else is prepared.

        Or take that of a study that has just ended. If no study follows, it ends with `end`, or with this object.
        """
        self.end()
        try:
            self._line = KEPT.take(self.inner) or Line(self.inner)
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
        if self._line is None or self._line.told_at is not None or not self._line.stands_still:
            self.start()
        self._study = study
        # What started the study is named in its runs; some stores are in the current folder.
        self._say("start", (self.inner, study, sys.argv, current_folder()))
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
        if kind == "finished":
            receipt: Receipt = content
            if receipt.problems:  # a call may be under way still
                self._end()
            else:
                self._keep()
            return receipt
        stands_still = self._line is not None and self._line.stands_still
        self._end()
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
        if (line := self._let_go()) is not None:
            line.end(seconds)

    def _keep(self) -> None:
        if (line := self._let_go()) is not None:
            KEPT.keep(line)

    def _let_go(self) -> Line | None:
        line, self._line = self._line, None
        if self._ends is not None:
            self._ends.detach()
        return line

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
