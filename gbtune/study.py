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
        Seconds from now; None: for ever.
    """

    def __init__(self, timeout: float | None) -> None:
        self.started, self.timeout = time.monotonic(), timeout
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
        self.n_trials, self.n_jobs, self.generations = n_trials, n_jobs, generations
        self.finished = len(study.get_trials(deepcopy=False, states=_FINISHED))
        # Trials that the study's owner enqueued come first: Optuna hands them out in that order.
        self.waiting = len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
        self.asked = 0
        self.failures: list[str] = []
        self.stopped = False
        self._tasks: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Job] = queue.SimpleQueue()

    def run(self) -> None:
        """Run until the budget is used up, the points are (when exhaustive), or an interrupt.

        Raises
        ------
        StudyFailed
            If the baseline fails, or five trials in a row; from the first error.
        """
        self.objective.interrupted = self.clock.reason_to_stop
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(self.n_jobs)]
        for worker in workers:
            worker.start()
        try:
            if self.generations:
                self._run_generations()
            else:
                self._run_freely()
        finally:
            for _ in workers:
                self._tasks.put(None)

    # -- the two ways ---------------------------------------------------------------------------------------

    def _run_generations(self) -> None:
        size = FIRST_GENERATION
        while (count := min(size, self._remaining())) > 0 and self.clock.reason_to_stop() is None:
            for job in self._generation(count):
                self._tell(job)
            size = GENERATION

    def _generation(self, count: int) -> list[_Job]:
        """Run up to `count` trials, fewer at the deadline; none is told before all have ended.

        Each is asked only when a core is free, so that none is left over when time is up. That changes nothing in what
        is asked: no result comes in between.
        """
        jobs: list[_Job] = []
        running = 0
        while True:
            while running < self.n_jobs and len(jobs) < count and self.clock.reason_to_stop() is None:
                jobs.append(self._ask())
                self._tasks.put(jobs[-1])
                running += 1
            ended = len(self._wait(1)) if running else 0
            if not ended:  # all have, or an interrupt leaves some behind
                return jobs
            running -= ended

    def _run_freely(self) -> None:
        running: list[_Job] = []
        while True:
            while len(running) < self.n_jobs and self._remaining() > len(running):
                if self.clock.reason_to_stop() is not None:
                    break
                running.append(self._ask())
                self._tasks.put(running[-1])
            if not running:
                return
            for job in self._wait(1) or list(running):  # nothing came back: an interrupt leaves them behind
                running.remove(job)
                self._tell(job)

    def _remaining(self) -> int:
        if self.stopped:
            return 0
        by_points = len(self.points) + self.waiting if self.exhaustive else 1 << 30
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
        return _Job(trial, self.objective.propose(trial))

    def _work(self) -> None:
        while (job := self._tasks.get()) is not None:
            try:
                job.value = self.objective.evaluate(job.trial, job.proposal)
                job.state = TrialState.COMPLETE
            except optuna.TrialPruned:
                job.state = TrialState.PRUNED
            except BaseException as error:
                job.error, job.state = error, TrialState.FAIL
            self._done.put(job)

    def _wait(self, count: int) -> list[_Job]:
        """Return `count` finished jobs, or fewer when an interrupt's second is over."""
        finished: list[_Job] = []
        give_up: float | None = None
        while len(finished) < count:
            if give_up is None and self.clock.interrupt.is_set():
                give_up = time.monotonic() + INTERRUPT_SECONDS
            if give_up is not None and time.monotonic() > give_up:
                break
            with contextlib.suppress(queue.Empty):
                finished.append(self._done.get(timeout=0.05))
        return finished

    def _tell(self, job: _Job) -> None:
        state, number = job.state, job.trial.number
        if state is None:  # left behind by an interrupt, in the middle of a long round
            state = TrialState.PRUNED
            self._write_unfinished(job, "pruned", "interrupt", None)
        elif state == TrialState.FAIL and TRIAL_KEY not in job.trial.user_attrs:  # it failed before it began
            self._write_unfinished(job, "failed", None, "".join(traceback.format_exception(job.error)))
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
        record = TrialRecord(
            job.trial.number,
            state,
            dict(job.proposal.params),
            kind=job.proposal.kind,
            provenance=job.proposal.provenance,
            sampled=job.proposal.sampled,
            reason=reason,
            error=error,
            n_folds=len(self.objective.evaluator.folds),
            started_at=now,
            ended_at=now,
        )
        job.trial.set_user_attr(TRIAL_KEY, record.to_json())

    def _check_failures(self, job: _Job, record: TrialRecord) -> None:
        if record.state != "failed":
            self.failures.clear()
            return
        self.failures.append(record.error or "")
        if record.kind == BASELINE or len(self.failures) >= FAILURES_IN_A_ROW:
            what = "The baseline failed" if record.kind == BASELINE else f"{FAILURES_IN_A_ROW} trials in a row failed"
            raise StudyFailed(f"{what}; the first error was:\n{self.failures[0]}") from job.error
