"""Opens studies, new ones and those that go on, and says when to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage

from gbtune.errors import InvalidArgument, StudyFailed
from gbtune.objective import KIND_KEY, PROVENANCE_KEY
from gbtune.records import STUDY_KEY, Direction, StudyRecord, TrialRecord
from gbtune.slots import POINT_KEY, is_cut

FAILURES_IN_A_ROW = 5
PORTFOLIO = "portfolio"
"""The kind of a trial that evaluates an entry of the space's portfolio."""
DEATHS_IN_A_ROW = 3
"""Of worker processes: more than bad luck."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A configuration to evaluate before the sampler is asked.

    Parameters
    ----------
    params : mapping
        Values of the space's sampled parameters: what ``study.enqueue_trial`` takes.
    kind, provenance : str
        As in `TrialRecord`.
    """

    params: Mapping[str, Any]
    kind: str
    provenance: str = ""

    @property
    def key(self) -> str:
        """Equal for equal points, in every process."""
        return json.dumps([self.kind, dict(self.params)], sort_keys=True)

    @property
    def user_attrs(self) -> dict[str, Any]:
        """User attributes of a trial that evaluates it, from which its record knows kind and provenance."""
        return {KIND_KEY: self.kind, PROVENANCE_KEY: self.provenance, POINT_KEY: self.key}


class Clock:
    """The time a study has, and whether someone wants it to end.

    Parameters
    ----------
    timeout : float or None
        Seconds from the start; None: for ever.
    started : float, optional
        A reading of `time.monotonic`. Default: now.
    """

    def __init__(self, timeout: float | None, started: float | None = None) -> None:
        self.started, self.timeout = time.monotonic() if started is None else started, timeout
        self.reserved = self.writing = 0.0
        """Seconds at the end that belong to the refit and to writing; those of them that belong to writing."""
        self.growth = self.shortest_trial = 0.0
        """Seconds before those in which no trial begins, as the model may need them; seconds without which a trial
        would only be cut."""
        self.interrupt = threading.Event()

    @property
    def has_time_for_a_trial(self) -> bool:
        """Whether a further trial is worth beginning."""
        return self.left is None or self.left - self.growth >= self.shortest_trial

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds until the search must end; None without a timeout."""
        return None if self.timeout is None else self.timeout - self.reserved - self.elapsed

    def reason_to_stop(self) -> str | None:
        """Return ``"interrupt"``, ``"deadline"`` or None. Asked between boosting rounds."""
        if self.interrupt.is_set():
            return "interrupt"
        if self.timeout is None:
            return None
        # Of every round of every trial: `left`, without its two calls.
        ended = time.monotonic() - self.started >= self.timeout - self.reserved
        return "deadline" if ended else None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Turn the first Ctrl-C into a request to end; the second one aborts as ever.

        The previous handler is back afterwards. Outside the main thread nothing is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.getsignal(signal.SIGINT)

        def request(*_: object) -> None:
            signal.signal(signal.SIGINT, previous)
            self.interrupt.set()

        signal.signal(signal.SIGINT, request)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


class Failures:
    """Says when trials fail too often in a row: told each finished trial.

    Examples
    --------
    >>> from gbtune.records import TrialRecord
    >>> from gbtune.study import Failures
    >>> print(Failures().note(TrialRecord(0, "failed", {}, kind="baseline", error="no such device")))
    The baseline failed; the first error was:
    no such device
    """

    def __init__(self) -> None:
        self._in_a_row: list[TrialRecord] = []

    def note(self, record: TrialRecord) -> StudyFailed | None:
        """Return the error that ends the study, or None."""
        if is_cut(record):
            return None
        if record.state != "failed":
            self._in_a_row.clear()
            return None
        self._in_a_row.append(record)
        others = [number for number, failed in enumerate(self._in_a_row) if failed.reason != "worker"]
        deaths = self._in_a_row[others[-1] + 1 :] if others else self._in_a_row
        if record.kind == "baseline" and record.reason != "worker":
            what, first = "The baseline failed", record
        elif len(deaths) >= DEATHS_IN_A_ROW:
            what, first = f"{len(deaths)} worker processes in a row died", deaths[0]
        elif len(self._in_a_row) >= FAILURES_IN_A_ROW:
            what, first = f"{FAILURES_IN_A_ROW} trials in a row failed", self._in_a_row[0]
        else:
            return None
        return StudyFailed(f"{what}; the first error was:\n{first.error}")


def open_study(
    study: str | optuna.Study | None,
    storage: BaseStorage | None,
    *,
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
    direction: Direction,
    default_name: str,
) -> optuna.Study:
    """Return the study to work in: a new one, or the stored one of that name.

    Parameters
    ----------
    study : str, optuna.Study or None
        A name, or a Study, which is used as it is: its own sampler and pruner stay.
    storage : optuna storage or None
        Where a named one is kept. None: in memory.
    sampler, pruner
        Of this run.
    direction : {"minimize", "maximize"}
        Of the metric.
    default_name : str
        When `study` is None.

    Raises
    ------
    InvalidArgument
        If the study's direction does not fit the metric.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.study import open_study
    >>> open_study(
    ...     "churn", None, sampler=optuna.samplers.RandomSampler(), pruner=optuna.pruners.NopPruner(),
    ...     direction="minimize", default_name="",
    ... ).study_name
    'churn'
    """
    if isinstance(study, optuna.Study):
        opened = study
    else:
        with quiet_optuna():
            opened = optuna.create_study(
                study_name=study or default_name,
                storage=storage,
                sampler=sampler,
                pruner=pruner,
                direction=direction,
                load_if_exists=storage is not None,
            )
    if opened.direction.name.lower() != direction:
        raise InvalidArgument(
            f"The study's direction must be {direction!r} for this metric, got {opened.direction.name.lower()!r}. "
            f"Choose another name, or run optuna.create_study(direction={direction!r})"
        )
    return opened


def stored_record(study: str | optuna.Study | None, storage: BaseStorage | None) -> StudyRecord | None:
    """Return the record of a study that goes on; None for a new one."""
    if study is None:
        return None
    if not isinstance(study, optuna.Study):
        if storage is None or study not in optuna.get_all_study_names(storage):
            return None
        study = optuna.load_study(study_name=study, storage=storage)
    text = study.user_attrs.get(STUDY_KEY)
    return None if text is None else StudyRecord.from_json(text)


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's "a new study was created" lines off the caller's terminal."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
