"""Every exception and warning that gbtune raises.

The tree::

    GbtuneError
    ├── InvalidArgument   (also ValueError)   an argument breaks a rule
    │   ├── InvalidData                       X, y, sample_weight, groups
    │   ├── InvalidSpace                      a search-space file, dictionary or point
    │   └── UnknownName                       a name that nothing answers to; says the nearest
    ├── MissingLibrary    (also ImportError)  an optional library is not installed
    ├── StudyFailed       (also RuntimeError) trials kept failing; carries the first cause
    ├── BudgetTooSmall    (also RuntimeError) nothing completed within the time
    ├── WorkerDied        (also RuntimeError) a worker process ended in the middle of its work
    └── TrackingUnavailable (also RuntimeError) a store that is required cannot be written
    GbtuneWarning         (UserWarning)       something you should know; the work goes on

Bad input raises before the first tree is grown.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class GbtuneError(Exception):
    """Base class: ``except GbtuneError`` catches whatever gbtune raises on purpose."""


class InvalidArgument(GbtuneError, ValueError):
    """An argument breaks a rule: the message says the rule, what was given, what to do."""


class InvalidData(InvalidArgument):
    """X, y, sample_weight or groups cannot be used as given."""


class InvalidSpace(InvalidArgument):
    """A search space is malformed: the message names the file, the key and the rule."""


class UnknownName(InvalidArgument):
    """A name that nothing answers to.

    Parameters
    ----------
    kind : str
        What the name should have been, e.g. ``"sampler"``.
    given : str
        The name received.
    known : iterable of str
        The names that exist.
    hint : str, default ""
        One more sentence on what to do.
    """

    def __init__(self, kind: str, given: object, known: Iterable[str], hint: str = "") -> None:
        names = sorted(set(known))
        close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
        nearest = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"Unknown {kind} {given!r}.{nearest} Known: {', '.join(names)}.{' ' + hint if hint else ''}")


class MissingLibrary(GbtuneError, ImportError):
    """A library this call needs is not installed: the message has the pip line."""


class StudyFailed(GbtuneError, RuntimeError):
    """The study was stopped because its trials fail; the first traceback is in the message."""


class BudgetTooSmall(GbtuneError, RuntimeError):
    """Nothing completed within the time: the message names the seconds needed."""


class TrackingUnavailable(GbtuneError, RuntimeError):
    """The tracking store cannot be reached or written, and ``MLflowTracker(policy="required")`` says it must be."""


class WorkerDied(GbtuneError, RuntimeError):
    """A worker process ended before it answered; the next call has a new one.

    Parameters
    ----------
    pid : int
        Its process id.
    reason : str
        How it ended, e.g. ``"was killed by signal 9 (SIGKILL); out of memory is the usual cause"``.
    params : dict
        What it was evaluating.
    """

    def __init__(self, pid: int, reason: str, params: dict[str, Any]) -> None:
        super().__init__(pid, reason, params)  # as they are, so that it can be pickled
        self.pid, self.reason, self.params = pid, reason, params

    def __str__(self) -> str:
        return f"Worker process {self.pid} {self.reason}. It was evaluating {self.params}."


class GbtuneWarning(UserWarning):
    """Something you should know; the work goes on."""
