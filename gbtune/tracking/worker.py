"""A daemon thread that does slow and unreliable work off the path of tuning."""

from __future__ import annotations

import collections
import dataclasses
import os
import threading
import time
from collections.abc import Callable

LONGEST_PAUSE = 30.0
"""Seconds between two attempts while the study runs, at most."""
LONGEST_FINAL_PAUSE = 2.0
"""The same at the end, when somebody is waiting."""
DEAD_SECONDS = 5.0
"""How long to wait at the end when nothing has ever succeeded: it will hardly come to life now."""

_PERMANENT = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
_PASSING_CODES = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")


@dataclasses.dataclass
class Job:
    """One piece of work.

    Parameters
    ----------
    label : str
        For people, e.g. ``"trial 3"``.
    run : callable
        Does it; called again after a failure, so it must not matter how often.
    error : BaseException or None
        Of the last attempt.
    """

    label: str
    run: Callable[[], None]
    error: BaseException | None = None


class Worker:
    """Runs jobs in order, in one daemon thread; never raises into the caller.

    A job that fails because the other side is away goes back into the queue, and nothing is
    attempted for a while (1 s, doubling up to 30 s). A job that fails for another
    reason is put aside until `flush`, which attempts it once more. The thread starts with the first
    job, and again in a forked process (with an empty queue: the parent's jobs are the parent's).

    Examples
    --------
    >>> from gbtune.tracking.worker import Worker
    >>> worker, done = Worker(), []
    >>> worker.submit("note", lambda: done.append(1))
    >>> worker.flush(10.0), done
    ([], [1])
    """

    def __init__(self, name: str = "gbtune-tracking") -> None:
        self._name = name
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._waiting: collections.deque[Job] = collections.deque()
        self._aside: list[Job] = []
        self._busy: Job | None = None
        self._thread: threading.Thread | None = None
        self._flushing = False
        self._failures = 0
        self._successes = 0
        self._not_before = 0.0
        self._last_error: BaseException | None = None
        self.first_error: BaseException | None = None
        """The first failure of all; None while all is well."""

    def submit(self, label: str, run: Callable[[], None]) -> None:
        """Queue a job and return at once; thread-safe."""
        if self._pid != os.getpid():
            self._reset()
        with self._changed:
            self._waiting.append(Job(label, run))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> list[Job]:
        """Wait until all is done, at most `seconds`; return the jobs that are not, and forget them.

        When nothing has ever succeeded, `seconds` is cut to `DEAD_SECONDS` once an attempt has failed.
        A job that hangs is left to its thread, and a later `submit` starts another thread.
        """
        if self._pid != os.getpid():
            self._reset()
        started = time.monotonic()
        with self._changed:
            self._flushing, self._not_before = True, 0.0
            self._waiting.extend(self._aside)
            self._aside.clear()
            self._changed.notify_all()
            while self._waiting or self._busy:
                dead = self._failures and not self._successes
                left = started + (min(seconds, DEAD_SECONDS) if dead else seconds) - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            undone = [*([self._busy] if self._busy else []), *self._waiting, *self._aside]
            for job in undone:  # what the last one met is why the others were not even tried
                job.error = job.error or (self._last_error if self._failures else None)
            # An idle thread ends now; a busy one may hang for minutes and is left alone.
            self._thread = self._busy = None
            self._waiting.clear()
            self._aside.clear()
            self._flushing = False
            self._changed.notify_all()
        return undone

    def _work(self) -> None:
        mine = threading.current_thread()
        while (job := self._next(mine)) is not None:
            try:
                job.run()
            except BaseException as error:
                failure: BaseException | None = error
            else:
                failure = None
            with self._changed:
                if self._thread is not mine:
                    return
                self._busy, job.error = None, failure
                if failure is None:
                    self._successes += 1
                    self._failures = 0
                else:
                    self._put_back(job, failure)
                self._changed.notify_all()

    def _next(self, mine: threading.Thread) -> Job | None:
        with self._changed:
            while self._thread is mine:
                pause = self._not_before - time.monotonic()
                if self._waiting and pause <= 0:
                    self._busy = self._waiting.popleft()
                    return self._busy
                self._changed.wait(pause if self._waiting else None)
        return None

    def _put_back(self, job: Job, failure: BaseException) -> None:
        self.first_error = self.first_error or failure
        if not is_passing(failure):
            self._aside.append(job)
            return
        self._failures += 1
        self._last_error = failure
        self._waiting.append(job)
        longest, shortest = (LONGEST_FINAL_PAUSE, 0.25) if self._flushing else (LONGEST_PAUSE, 1.0)
        self._not_before = time.monotonic() + min(longest, shortest * 2.0 ** min(self._failures - 1, 10))


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
