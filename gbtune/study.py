"""Creates and runs studies: generations of trials in threads, one deadline, one interrupt.

With a seed, trials are asked in generations whose sizes do not depend on the number of cores, run side by side, and
are told in number order. A pruner or sampler then sees the same finished trials whatever ``n_jobs`` is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from gbtune.errors import InvalidArgument, StudyFailed
from gbtune.objective import BASELINE, KIND_KEY, PROVENANCE_KEY, Objective, Proposal
from gbtune.pruners import protocol_of
from gbtune.records import TRIAL_KEY, Direction, TrialRecord

FIRST_GENERATION, GENERATION = 4, 8
"""Small at first, so that racing starts after the fewest complete trials; later wide enough for eight cores."""
FAILURES_IN_A_ROW = 5
INTERRUPT_SECONDS = 1.0
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclasses.dataclass(frozen=True)
class Point:
    """A configuration to evaluate before the sampler is asked: sampled parameters, kind, source."""

    params: Mapping[str, Any]
    kind: str
    provenance: str = ""


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
        self.reserved = 0.0
        """Seconds at the end that belong to the refit."""
        self.interrupt = threading.Event()

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
        left = self.left
        return "deadline" if left is not None and left <= 0 else None

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


def create_study(
    study: str | optuna.Study | None,
    storage: Any,
    *,
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
    direction: Direction,
    default_name: str,
) -> optuna.Study:
    """Return the study to work in.

    Parameters
    ----------
    study : str, optuna.Study or None
        A name, or a Study, which is used as it is: its own sampler and pruner stay.
    storage : str, optuna storage or None
        Where it is kept. None: in memory.
    sampler, pruner
        Of a new study.
    direction : {"minimize", "maximize"}
        Of the metric.
    default_name : str
        When `study` is None.

    Raises
    ------
    InvalidArgument
        If the study's direction does not fit the metric, or the name is taken in the storage.
    """
    if isinstance(study, optuna.Study):
        if storage is not None:
            raise InvalidArgument("storage goes with a study's name; a Study object has its own. Drop one of the two.")
        if study.direction.name.lower() != direction:
            raise InvalidArgument(
                f"The study's direction must be {direction!r} for this metric, got {study.direction.name.lower()!r}. "
                f"Run: optuna.create_study(direction={direction!r})"
            )
        return study
    if study is not None and not isinstance(study, str):
        raise InvalidArgument(f"study must be a name, an optuna.Study or None, got {type(study).__name__}.")
    with quiet_optuna():
        try:
            return optuna.create_study(
                study_name=study or default_name, storage=storage, sampler=sampler, pruner=pruner, direction=direction
            )
        except optuna.exceptions.DuplicatedStudyError as error:
            raise InvalidArgument(
                f"The storage has a study {study!r} already, and continuing a stored study is not supported yet. "
                "Choose another name, or load it with optuna.load_study and pass the Study object."
            ) from error


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's "a new study was created" lines off the caller's terminal."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


@dataclasses.dataclass
class _Job:
    trial: optuna.Trial
    proposal: Proposal
    value: float | None = None
    state: TrialState | None = None  # None while it runs
    error: BaseException | None = None


class Runner:
    """Runs trials of one objective in one study until the budget is used up.

    Parameters
    ----------
    study : optuna.Study
        Where trials are asked and told.
    objective : Objective
        What evaluates them.
    points : iterable of Point
        Asked for, in order, before the sampler is.
    clock : Clock
        Deadline and interrupt.
    n_trials : int or None
        Finished trials in the study when it ends; None: the deadline ends it.
    n_jobs : int, default 1
        Trials side by side.
    generations : bool, default True
        False: a worker asks as soon as it is free (fast, and not reproducible).
    exhaustive : bool, default False
        End after the points.
    on_trial : callable, optional
        Told each finished trial's record, in number order, from the calling thread.
    """

    def __init__(
        self,
        study: optuna.Study,
        objective: Objective,
        points: Iterable[Point],
        clock: Clock,
        *,
        n_trials: int | None,
        n_jobs: int = 1,
        generations: bool = True,
        exhaustive: bool = False,
        on_trial: Callable[[TrialRecord], None] = lambda _: None,
    ) -> None:
        self.study, self.objective, self.clock, self.on_trial = study, objective, clock, on_trial
        self.points, self.exhaustive = deque(points), exhaustive
        self.n_trials, self.generations = n_trials, generations
        self.workers, self.first_size, self.size = n_jobs, FIRST_GENERATION, GENERATION
        if generations and protocol_of(study.pruner).schedule == "rounds":
            # Such pruners look at running trials too: one trial at a time, its folds side by side.
            self.workers, self.first_size, self.size = 1, 1, 1
            objective.fold_workers = n_jobs
        self.finished = len(study.get_trials(deepcopy=False, states=_FINISHED))
        # Trials that the study's owner enqueued come first: Optuna hands them out in that order.
        self.waiting = len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
        self.open: list[_Job] = []
        self.failures: list[str] = []
        self.failure: StudyFailed | None = None
        self.failure_cause: BaseException | None = None
        self.failed = self.stopped = False
        self.give_up: float | None = None
        self._tasks: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Job] = queue.SimpleQueue()

    def run(self) -> None:
        """Run until the budget is used up, the points are (when exhaustive), or an interrupt.

        Whatever happens, no trial of this runner is left running.

        Raises
        ------
        StudyFailed
            If the baseline fails, or five trials in a row; from the first error.
        """
        self.objective.interrupted = self._reason_to_stop
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(self.workers)]
        for worker in workers:
            worker.start()
        try:
            if self.generations:
                self._run_generations()
            else:
                self._run_freely()
        finally:
            self.failed = True  # what still trains stops at its next round
            for job in list(self.open):
                self._tell(job)
            for _ in workers:
                self._tasks.put(None)
        if self.failure is not None:
            raise self.failure from self.failure_cause

    def _reason_to_stop(self) -> str | None:
        return "failure" if self.failed else self.clock.reason_to_stop()

    # -- the two ways ---------------------------------------------------------------------------------------

    def _run_generations(self) -> None:
        size = self.first_size
        while (count := min(size, self._remaining())) > 0 and self._reason_to_stop() is None:
            for job in self._generation(count):
                self._tell(job)
            size = self.size

    def _generation(self, count: int) -> list[_Job]:
        """Run up to `count` trials, fewer at the deadline; none is told before all have ended.

        Each is asked only when a core is free, so that none is left over when time is up. That changes nothing in what
        is asked: no result comes in between.
        """
        jobs: list[_Job] = []
        running = 0
        while True:
            while running < self.workers and len(jobs) < count and self._reason_to_stop() is None:
                jobs.append(self._ask())
                self._tasks.put(jobs[-1])
                running += 1
            ended = self._wait() if running else None
            if ended is None:  # all have, or an interrupt leaves some behind
                return jobs
            running -= 1

    def _run_freely(self) -> None:
        running = 0
        while True:
            while running < self.workers and self._remaining() > running and self._reason_to_stop() is None:
                self._tasks.put(self._ask())
                running += 1
            ended = self._wait() if running else None
            if ended is None:
                return
            running -= 1
            self._tell(ended)

    def _remaining(self) -> int:
        if self.stopped:
            return 0
        by_points = len(self.points) + self.waiting + len(self.open) if self.exhaustive else 1 << 30
        return by_points if self.n_trials is None else min(by_points, self.n_trials - self.finished)

    # -- one trial ------------------------------------------------------------------------------------------

    def _ask(self) -> _Job:
        if self.waiting:
            self.waiting -= 1
        elif self.points:
            point = self.points.popleft()
            attributes = {KIND_KEY: point.kind, PROVENANCE_KEY: point.provenance}
            with quiet_optuna():
                self.study.enqueue_trial(dict(point.params), user_attrs=attributes)
        trial = self.study.ask()
        # Here, not in the worker: independent sampling draws from one stream, which must be in order.
        try:
            job = _Job(trial, self.objective.propose(trial))
        except BaseException:
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        self.open.append(job)
        return job

    def _work(self) -> None:
        while (job := self._tasks.get()) is not None:
            try:
                job.value = self.objective.evaluate(job.trial, job.proposal)
                job.state = TrialState.COMPLETE
            except optuna.TrialPruned:
                job.state = TrialState.PRUNED
            except BaseException as error:
                job.error, job.state = error, TrialState.FAIL
                if job.proposal.kind == BASELINE:
                    self.failed = True  # nothing to compare with: the others need not go on
            self._done.put(job)

    def _wait(self) -> _Job | None:
        """Return the next job that has ended, or None when an interrupt's second is over."""
        while True:
            if self.give_up is None and self.clock.interrupt.is_set():
                self.give_up = time.monotonic() + INTERRUPT_SECONDS
            if self.give_up is not None and time.monotonic() > self.give_up:
                return None
            with contextlib.suppress(queue.Empty):
                return self._done.get(timeout=0.05)

    def _tell(self, job: _Job) -> None:
        state, number = job.state, job.trial.number
        if state is None:  # left behind in the middle of a long round
            state = TrialState.PRUNED
            self._write_unfinished(job, "pruned", self.clock.reason_to_stop() or "failure", None)
        elif state == TrialState.FAIL and TRIAL_KEY not in job.trial.user_attrs:  # it failed before it began
            self._write_unfinished(job, "failed", None, "".join(traceback.format_exception(job.error)))
        self.open.remove(job)
        try:
            self.study.tell(job.trial, job.value, state)
        except RuntimeError as error:
            # Optuna's exhaustive samplers ask the study to stop, which it refuses outside optimize().
            if "Study.stop" not in str(error):
                raise
            self.stopped = True
        self.finished += 1
        record = TrialRecord.from_json(self.study.get_trials(deepcopy=False)[number].user_attrs[TRIAL_KEY])
        self.on_trial(record)
        self._check_failures(job, record)

    def _write_unfinished(self, job: _Job, state: Any, reason: str | None, error: str | None) -> None:
        now = time.time_ns() // 1_000_000
        text = job.trial.user_attrs.get(TRIAL_KEY)
        begun = job.proposal.record(job.trial, self.objective, now) if text is None else TrialRecord.from_json(text)
        partial = sum(begun.fold_scores) / len(begun.fold_scores) if begun.fold_scores else None
        record = dataclasses.replace(
            begun, state=state, reason=reason, error=error, partial_score=partial, ended_at=now
        )
        job.trial.set_user_attr(TRIAL_KEY, record.to_json())

    def _check_failures(self, job: _Job, record: TrialRecord) -> None:
        if record.state != "failed":
            self.failures.clear()
            return
        self.failures.append(record.error or "")
        baseline = record.kind == BASELINE
        if self.failure is None and (baseline or len(self.failures) >= FAILURES_IN_A_ROW):
            what = "The baseline failed" if baseline else f"{FAILURES_IN_A_ROW} trials in a row failed"
            self.failure = StudyFailed(f"{what}; the first error was:\n{self.failures[0]}")
            self.failure_cause, self.failed = job.error, True
