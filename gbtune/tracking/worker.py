"""A daemon thread that does slow and unreliable work off the path of tuning."""

from __future__ import annotations

import collections
import dataclasses
import os
import threading
import time
from collections.abc import Callable

FIRST_SECONDS = 30.0
"""How long an attempt may stand still before anything has succeeded: imports, new tables, a cold server."""
ATTEMPT_SECONDS = 10.0
"""The same afterwards."""
UPLOAD_SECONDS = 300.0
"""The same for files and models: one call that sends much."""
SHORTEST_PAUSE = 30.0
LONGEST_PAUSE = 300.0
"""Seconds between two attempts while the study runs: doubling with each failure."""
SHORTEST_FINAL_PAUSE = 0.25
LONGEST_FINAL_PAUSE = 2.0
"""The same at the end, when somebody is waiting."""
DEAD_SECONDS = 5.0
"""How long to wait at the end when nothing has ever succeeded: it will hardly come to life now."""
WATCH_SECONDS = 1.0
"""How often an attempt's progress is looked at."""
TRIES_IN_FRONT = 3
"""So often a job is attempted before those behind it go first."""

PACE_WEIGHT = 0.2
"""Of the latest job in the running mean of their seconds."""

_PERMANENT = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
_PASSING_CODES = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")


class Abandoned(Exception):
    """This attempt took too long and another has its place: it must not touch anything any more."""


@dataclasses.dataclass
class Job:
    """One piece of work.

    Parameters
    ----------
    label : str
        For people, e.g. ``"trial 3"``; empty for work that nobody misses when it fails.
    run : callable
        Does it; called again after a failure, so it must not matter how often.
    seconds : float or None
        How long an attempt may stand still. Default: `FIRST_SECONDS`, `ATTEMPT_SECONDS`.
    error : BaseException or None
        Of the last attempt.
    attempts : int
        How many there were.
    """

    label: str
    run: Callable[[], None]
    seconds: float | None = None
    error: BaseException | None = None
    attempts: int = 0


class _Attempts(threading.Thread):
    """The thread that attempts jobs, until it is abandoned."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self.abandoned = False
        self.seconds = FIRST_SECONDS
        self.alive_at = time.monotonic()


def beat() -> None:
    """Say, between two calls to the other side, that the attempt goes on.

    Raises
    ------
    Abandoned
        If it was given up meanwhile. Outside a worker's thread nothing happens.

    Examples
    --------
    >>> from gbtune.tracking.worker import beat
    >>> beat()
    """
    thread = threading.current_thread()
    if isinstance(thread, _Attempts):
        if thread.abandoned:
            raise Abandoned
        thread.alive_at = time.monotonic()


class Worker:
    """Runs jobs in order, in one daemon thread; never raises into the caller.

    A call that never returns cannot be stopped from outside. So an attempt that stands still for
    `ATTEMPT_SECONDS` (between two `beat`) is abandoned: its thread is left alone, its next `beat` raises, and a
    new thread goes on.

    A job that fails because the other side is away, or is abandoned, goes back into the queue, and nothing
    is attempted for a while (30 s, doubling up to 5 min; short during `flush`). A job that fails for another
    reason is put aside until `flush`, which attempts it once more. The threads start with the first
    job, and again in a forked process (with an empty queue: the parent's jobs are the parent's).

    Examples
    --------
    >>> from gbtune.tracking.worker import Worker
    >>> worker, done = Worker(), []
    >>> job = worker.submit("note", lambda: done.append(1))
    >>> worker.flush(10.0), done
    ([], [1])
    """

    def __init__(self, name: str = "gbtune-tracking") -> None:
        self._name = name
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        lock = threading.Lock()
        self._arrived = threading.Condition(lock)  # a job, or the end: for the thread that attempts
        self._settled = threading.Condition(lock)  # a job is done or failed: for those who wait
        self._ended = threading.Condition(lock)  # for the watch
        self._lock = lock
        self._waiting: collections.deque[Job] = collections.deque()
        self._aside: list[Job] = []
        self._busy: Job | None = None
        self._thread: _Attempts | None = None
        self._watcher: threading.Thread | None = None
        self._flushing = False
        self._failures = 0
        self._successes = 0
        self._not_before = 0.0
        self._last_error: BaseException | None = None
        self.first_error: BaseException | None = None
        """The first failure of all; None while all is well."""
        self.pace = 0.0
        """Seconds that a job takes, a running mean of those with a label."""

    def submit(self, label: str, run: Callable[[], None], seconds: float | None = None) -> Job:
        """Queue a job and return at once; thread-safe.

        Parameters
        ----------
        label, run, seconds
            As in `Job`.
        """
        if self._pid != os.getpid():
            self._reset()
        job = Job(label, run, seconds)
        with self._lock:
            self._waiting.append(job)
            if self._thread is None:
                self._start_thread()
                self._watcher = threading.Thread(target=self._watch, name=f"{self._name}-watch", daemon=True)
                self._watcher.start()
            self._arrived.notify()
        return job

    def wait(self, job: Job, seconds: float) -> bool:
        """Wait for the first attempt at a job; return whether it succeeded.

        Parameters
        ----------
        job : Job
            As `submit` returned it.
        seconds : float
            At most so long; the job stays queued.
        """
        ends = time.monotonic() + seconds
        with self._lock:
            if not job.attempts:  # somebody is waiting: an earlier job's failure is no reason not to try
                self._not_before = 0.0
                self._arrived.notify()
            while job is self._busy or (job in self._waiting and not job.attempts):
                left = ends - time.monotonic()
                if left <= 0:
                    return False
                self._settled.wait(left)
            return job.attempts > 0 and job.error is None

    def drop(self) -> None:
        """Forget all jobs; an attempt that is under way is abandoned."""
        with self._lock:
            self._retire()

    def flush(self, seconds: float, dead_seconds: float | None = None) -> list[Job]:
        """Wait until all is done, at most `seconds`; return the jobs that are not, and forget them.

        A job that hangs is left to its thread, and a later `submit` starts another thread.

        Parameters
        ----------
        seconds : float
            The longest wait.
        dead_seconds : float, optional
            The longest wait when nothing has ever succeeded, once an attempt has failed. Default: `DEAD_SECONDS`.
        """
        if self._pid != os.getpid():
            self._reset()
        started = time.monotonic()
        shortest = min(seconds, DEAD_SECONDS if dead_seconds is None else dead_seconds)
        with self._lock:
            self._flushing, self._not_before = True, 0.0
            self._waiting.extend(self._aside)
            self._aside.clear()
            self._arrived.notify_all()
            while self._waiting or self._busy:
                dead = self._failures and not self._successes
                left = started + (shortest if dead else seconds) - time.monotonic()
                if left <= 0:
                    break
                self._settled.wait(left)
            undone = [*([self._busy] if self._busy else []), *self._waiting, *self._aside]
            for job in undone:  # what the last one met is why the others were not even tried
                job.error = job.error or (self._last_error if self._failures else None)
            self._retire()
            self._flushing = False
        return [job for job in undone if job.label]

    def _retire(self) -> None:
        if self._thread is not None:
            self._thread.abandoned = True  # an idle thread ends now, a busy one with its next beat
        self._thread = self._busy = None
        self._waiting.clear()
        self._aside.clear()
        self._arrived.notify_all()
        self._ended.notify_all()

    def _start_thread(self) -> None:
        self._thread = _Attempts(self._work, self._name)
        self._thread.start()

    def _work(self) -> None:
        mine = threading.current_thread()
        assert isinstance(mine, _Attempts)
        while (job := self._next(mine)) is not None:
            failure: BaseException | None = None
            began = time.monotonic()
            try:
                job.run()
            except BaseException as error:
                failure = error
            with self._lock:
                if mine.abandoned:
                    return
                if job.label and self._successes:  # the first one imports
                    seconds = time.monotonic() - began
                    self.pace = (1 - PACE_WEIGHT) * self.pace + PACE_WEIGHT * seconds if self.pace else seconds
                self._settle(job, failure)

    def _next(self, mine: _Attempts) -> Job | None:
        with self._lock:
            while not mine.abandoned:
                pause = self._not_before - time.monotonic()
                if self._waiting and pause <= 0:
                    job = self._busy = self._waiting.popleft()
                    mine.seconds = job.seconds or (ATTEMPT_SECONDS if self._successes else FIRST_SECONDS)
                    mine.alive_at = time.monotonic()
                    return job
                self._arrived.wait(pause if self._waiting else None)
        return None

    def _settle(self, job: Job, failure: BaseException | None) -> None:
        self._busy, job.error = None, failure
        job.attempts += 1
        if failure is None:
            self._successes += bool(job.label)
            self._failures = 0
        elif job.label:
            self._put_back(job, failure)
        self._settled.notify_all()

    def _put_back(self, job: Job, failure: BaseException) -> None:
        self.first_error = self.first_error or failure
        if not is_passing(failure):
            self._aside.append(job)
            return
        self._failures += 1
        self._last_error = failure
        # The order of jobs is kept while the other side is away, but no job holds up the others for ever.
        if isinstance(failure, OSError) and job.attempts < TRIES_IN_FRONT:
            self._waiting.appendleft(job)
        else:
            self._waiting.append(job)
        if self._flushing:
            shortest, longest = SHORTEST_FINAL_PAUSE, LONGEST_FINAL_PAUSE
        else:
            shortest, longest = SHORTEST_PAUSE, LONGEST_PAUSE
        self._not_before = time.monotonic() + min(longest, shortest * 2.0 ** min(self._failures - 1, 10))

    def _watch(self) -> None:
        """Abandon attempts that stand still."""
        mine = threading.current_thread()
        with self._lock:
            while (thread := self._thread) is not None and self._watcher is mine:
                job, now = self._busy, time.monotonic()
                if job is not None and now - thread.alive_at > thread.seconds:
                    thread.abandoned = True
                    self._settle(job, TimeoutError(f"no answer within {thread.seconds:g} s"))
                    self._start_thread()
                self._ended.wait(min(WATCH_SECONDS, ATTEMPT_SECONDS / 4))


def is_passing(error: BaseException) -> bool:
    """Return whether an error may pass by itself: a connection, a timeout, a lock.

    Examples
    --------
    >>> from gbtune.tracking.worker import is_passing
    >>> is_passing(ConnectionError()), is_passing(PermissionError()), is_passing(ValueError())
    (True, False, False)
    """
    if isinstance(error, OSError):  # also the exceptions of requests
        return not isinstance(error, _PERMANENT)
    # MlflowException carries its kind as a name; importing mlflow only to ask for the class would cost seconds
    return getattr(error, "error_code", None) in _PASSING_CODES and "readonly" not in str(error)


def is_simultaneous(error: BaseException) -> bool:
    """Return whether somebody else wrote the same row at the same moment: the second attempt finds it there.

    Examples
    --------
    >>> from gbtune.tracking.worker import is_simultaneous
    >>> is_simultaneous(RuntimeError("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name"))
    True
    """
    return any(name in str(error) for name in ("IntegrityError", "UniqueViolation"))
