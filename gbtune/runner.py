"""Runs the trials of a study: asked by slot, evaluated in threads, told by generation.

The study's storage is the truth. A runner looks at it, asks for slots that are free, and tells a generation once all
its trials are evaluated, whoever evaluated them. So it makes no difference whether a study is run at once, in parts,
or by several processes, nor, with a seed, how many cores there are.
"""

from __future__ import annotations

import dataclasses
import math
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import optuna
from optuna.study._tell import _tell_with_warning
from optuna.trial import FrozenTrial, TrialState

from gbtune.errors import StudyFailed, WorkerDied
from gbtune.leases import OWNER_KEY, Lease, same_machine
from gbtune.objective import BASELINE, KIND_KEY, PROVENANCE_KEY, Objective, Proposal
from gbtune.points import PrescribedPoints
from gbtune.pruners import protocol_of
from gbtune.records import TRIAL_KEY, TrialRecord
from gbtune.slots import ALONE_KEY, POINT_KEY, SLOT_KEY, Slots, generation_end, record_of, slot_of
from gbtune.storage import study_lock, writing
from gbtune.study import Clock, Failures, Point

INTERRUPT_SECONDS = 1.0
LOOK_SECONDS = 0.2
"""How often to look what the other processes have done, while waiting for them."""
HALVING_PREFIX = "completed_rung_"
"""Of the system attributes in which Optuna's successive halving notes how far a trial has come."""
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclasses.dataclass
class _Job:
    trial: optuna.Trial
    proposal: Proposal
    running: bool = True
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
        Asked for, in order, before the sampler is; those that the study has already are not repeated.
    clock : Clock
        Deadline and interrupt.
    n_trials : int or None
        Slots that are filled when the study ends; None: the deadline ends it.
    n_jobs : int, default 1
        Trials side by side.
    generations : bool, default True
        False: a worker asks as soon as it is free (fast, and not reproducible).
    exhaustive : bool, default False
        End after the points.
    on_trial : callable, optional
        Told each finished trial's record, and whether this process ran it, from the calling thread. With
        generations, in the order of slots.
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
        on_trial: Callable[[TrialRecord, bool], None] = lambda record, mine: None,
    ) -> None:
        self.study, self.objective, self.clock, self.on_trial = study, objective, clock, on_trial
        self.exhaustive = exhaustive
        # A study that time alone does not end is the same every time: its portfolio comes in one order.
        self.points = PrescribedPoints(points, objective.space, objective.metric, adaptive=not generations)
        self.n_trials, self.generations, self.workers, self.fold_workers = n_trials, generations, n_jobs, 1
        if generations and protocol_of(study.pruner).schedule == "rounds":
            # Such pruners look at running trials too: one trial at a time, its folds side by side.
            self.workers, self.fold_workers = 1, n_jobs
        objective.in_generations = generations
        self.slots, self.lease, self._lock = Slots(study), Lease(study), study_lock(study)
        self.open: dict[int, _Job] = {}
        self.running = 0
        self.failures = Failures()
        self.failure: StudyFailed | None = None
        self.failure_cause: BaseException | None = None
        self.outside: Exception | None = None
        self.failed = self.stopped = False
        self._next_look, self._sharing = 0.0, 1
        self._give_up: float | None = None
        self._tasks: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Job] = queue.SimpleQueue()

    def run(self) -> None:
        """Run until the budget is used up, the points are (when exhaustive), or an interrupt.

        Whatever happens, no trial of this runner is left running, as long as the storage can be written.

        Raises
        ------
        StudyFailed
            If the baseline fails, five trials in a row, or three worker processes in a row; from the first error. Or if
            the study's storage cannot be written.
        """
        self.objective.interrupted = self._reason_to_stop
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        try:
            with writing(self.study), self.lease:
                self._take_note(self.slots.read(), told=True)
                try:
                    self._run()
                finally:
                    self._end()
        finally:
            self.failed = True  # what still trains stops at its next round
            for _ in threads:
                self._tasks.put(None)
        if self.outside is not None:
            raise self.outside
        if self.failure is not None:
            raise self.failure from self.failure_cause

    def _reason_to_stop(self) -> str | None:
        return self.clock.reason_to_stop() or ("failure" if self.failed else None)

    # -- the loop -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._reason_to_stop() is None:
            with self._lock:
                self._look()
                while self._settle():
                    pass
                if self.stopped or self._reason_to_stop() is not None or not self._fill():
                    return
            self._wait()

    def _end(self) -> None:
        """Wait for what still runs, which has been told to stop, and tell all that this process has open."""
        self.failed = True
        while self.running and not self._is_given_up():
            self._take_ended()
        with self._lock:
            self._take_note(self.slots.read())
            for job in sorted(self.open.values(), key=lambda job: (job.proposal.slot or 0, job.trial.number)):
                if not self._frozen(job.trial.number).state.is_finished():
                    self._close(job)
                    self._tell(self._frozen(job.trial.number))
            for trial in self._orphans():
                if self._is_evaluated(trial.number):
                    self._tell(trial)
            self._take_note(self.slots.read())

    def _look(self) -> None:
        """Read the storage; free the slots of dead processes."""
        self._take_note(self.slots.read())
        if time.monotonic() < self._next_look:
            return
        for trial in self._orphans():
            if not self._is_evaluated(trial.number):
                self._mark_killed(trial)
                self._tell(self._frozen(trial.number))
            elif not self.generations:
                self._tell(trial)
        self._next_look = time.monotonic() + LOOK_SECONDS
        self._take_note(self.slots.read())

    def _orphans(self) -> list[FrozenTrial]:
        """Return the running trials whose process is dead."""
        living = self.lease.living()
        # Several processes on one machine share its cores.
        self._sharing = max(1, sum(same_machine(lease) for lease in living.values()))
        mine = self.open
        return [t for t in self.slots.running if t.number not in mine and t.user_attrs.get(OWNER_KEY) not in living]

    def _mark_killed(self, trial: FrozenTrial) -> None:
        kind, now = trial.user_attrs.get(KIND_KEY, "sampled"), time.time_ns() // 1_000_000
        started = now if trial.datetime_start is None else int(trial.datetime_start.timestamp() * 1000)
        record = record_of(trial) or TrialRecord(
            trial.number,
            "running",
            trial.params,
            kind,
            sampled=tuple(trial.params),
            slot=slot_of(trial),
            started_at=started,
        )
        record = dataclasses.replace(record, state="failed", reason="killed", ended_at=now)
        self.study._storage.set_trial_user_attr(trial._trial_id, TRIAL_KEY, record.to_json())

    def _settle(self) -> bool:
        """Tell what is known: evaluated trials at once, or generation by generation; return whether there was any."""
        if not self.generations:
            ready = [job.trial.number for job in self.open.values() if not job.running]
        else:
            first = self.slots.first_open()
            end = int(min(generation_end(first, self.study.pruner), self._total()))
            if first >= end or self.slots.free(range(first, end)):
                return False
            holders = [self.slots.held[slot] for slot in range(first, end)]
            ready = [trial.number for trial in holders if not trial.state.is_finished()]
            if not all(self._is_evaluated(number) for number in ready):
                return False
        for number in ready:
            self._tell(self._frozen(number))
        self._take_note(self.slots.read())
        return bool(ready)

    def _is_evaluated(self, number: int, *, open_too: bool = True) -> bool:
        job = self.open.get(number) if open_too else None
        if job is not None:
            return not job.running
        record = record_of(self._frozen(number))
        return record is not None and record.state != "running"

    def _fill(self) -> bool:
        """Ask for free slots while workers are free; return whether anything is left to wait for."""
        total = self._total()
        workers = max(1, self.workers // self._sharing)
        self.objective.fold_workers = max(1, self.fold_workers // self._sharing)
        while self.running < workers and self._reason_to_stop() is None:
            slot = self._next_slot(total)
            if slot is None:
                break
            if not self.clock.has_time_for_a_trial:
                return self.running > 0
            self._ask(slot)
        return self.slots.first_open() < total

    def _next_slot(self, total: float) -> int | None:
        first = self.slots.first_open()
        if self.generations:
            free = self.slots.free(range(first, int(min(generation_end(first, self.study.pruner), total))))
            return free[0] if free else None
        slot = first
        while slot in self.slots.held:
            slot += 1
        return slot if slot < total else None

    def _total(self) -> float:
        """Slots there are in all."""
        if not self.exhaustive:
            return float("inf") if self.n_trials is None else self.n_trials
        keys = self.points.by_key.keys()
        points = len(keys) + self.slots.others(keys) + len(self.slots.waiting)
        return points if self.n_trials is None else min(points, self.n_trials)

    # -- one trial ------------------------------------------------------------------------------------------

    def _ask(self, slot: int) -> None:
        """Ask for the trial of a slot and start it. The lock is held: nobody else asks."""
        attributes: dict[str, Any] = {SLOT_KEY: slot, OWNER_KEY: self.lease.owner}
        if not self.generations:
            attributes[ALONE_KEY] = True
        again = self._again(slot)
        # What the study's owner enqueued comes before all but a slot that was begun: Optuna hands it out.
        enqueued = again is None and bool(self.slots.waiting)
        if enqueued:
            trial = self.study.ask()
        else:
            point = None if again else self.points.next(self.slots, self.objective.space)
            params, more, notes = again or (*(point or ({}, {})), {})  # nothing at all: it is the sampler's turn
            trial = self._new_trial(params, {**attributes, **more}, notes)
        try:
            if enqueued:
                for key, value in attributes.items():
                    trial.set_user_attr(key, value)
            # Here, not in the worker: independent sampling draws from one stream, which must be in order.
            job = _Job(trial, self.objective.propose(trial))
        except BaseException:
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        self.open[trial.number] = job
        self.running += 1
        self._tasks.put(job)
        self.slots.read()

    def _new_trial(
        self, params: Mapping[str, Any], attributes: Mapping[str, Any], notes: Mapping[str, Any]
    ) -> optuna.Trial:
        """Start a trial with its slot and owner in one step, so that no kill can come in between.

        ``study.ask()`` would start what somebody has enqueued, and can take no attributes.
        """
        prescribed = {"fixed_params": dict(params)} if params else {}
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING, user_attrs=dict(attributes), system_attrs={**notes, **prescribed}
        )
        self.study._thread_local.cached_all_trials = None
        number = self.study._storage.create_new_trial(self.study._study_id, template_trial=template)
        return optuna.Trial(self.study, number)

    def _again(self, slot: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]] | None:
        """Return parameters and attributes of the trial that was cut off in a slot, if it had them all.

        The last are the sampler's own: CMA-ES keeps its state in them.
        """
        cut = self.slots.cut.get(slot)
        if cut is None or not self._is_whole(cut):
            return None
        kept = (KIND_KEY, PROVENANCE_KEY, POINT_KEY)
        about = {key: cut.user_attrs[key] for key in kept if key in cut.user_attrs}
        notes = {key: value for key, value in cut.system_attrs.items() if not key.startswith(HALVING_PREFIX)}
        return dict(cut.params), about, notes

    def _is_whole(self, trial: FrozenTrial) -> bool:
        """Whether a trial that was cut off had all its parameters, and the space still has them."""
        projected = self.objective.space.project(trial.params)
        # A stepped float comes from the sampler as 0.6000000000000001.
        return projected.keys() == trial.params.keys() != set() and all(
            value == trial.params[name] or (isinstance(value, float) and math.isclose(value, trial.params[name]))
            for name, value in projected.items()
        )

    def _work(self) -> None:
        while (job := self._tasks.get()) is not None:
            try:
                self.objective.evaluate(job.trial, job.proposal)
            except optuna.TrialPruned:
                pass
            except BaseException as error:
                job.error = error
                if job.proposal.kind == BASELINE and not isinstance(error, WorkerDied):
                    self.failed = True  # nothing to compare with: the others need not go on
            self._done.put(job)

    def _wait(self) -> None:
        """Wait until a job has ended, or it is time to look what other processes have done."""
        look = time.monotonic() + LOOK_SECONDS
        while not self._take_ended():
            if self._is_given_up() or (self.running < self.workers and time.monotonic() > look):
                return

    def _is_given_up(self) -> bool:
        """Whether an interrupt's second is over: what is in the middle of a long round is left behind."""
        if self._give_up is None and self.clock.interrupt.is_set():
            self._give_up = time.monotonic() + INTERRUPT_SECONDS
        return self._give_up is not None and time.monotonic() > self._give_up

    def _take_ended(self) -> bool:
        try:
            job = self._done.get(timeout=0.05)
        except queue.Empty:
            return False
        job.running = False
        self.running -= 1
        self._finish(job)
        return True

    def _finish(self, job: _Job) -> None:
        """Make sure that an evaluated trial has its record."""
        if isinstance(job.error, StudyFailed):  # its record could not be written
            raise job.error
        # It failed before it began, or with what no objective catches: SystemExit.
        if job.error is not None and not self._is_evaluated(job.trial.number, open_too=False):
            self._write_end(job, "failed", None, "".join(traceback.format_exception(job.error)))

    def _close(self, job: _Job) -> None:
        record = record_of(self._frozen(job.trial.number))
        # Left behind in the middle of a long round, or its record could not be written.
        if job.running or record is None or record.state == "running":
            self._write_end(job, "pruned", self.clock.reason_to_stop() or "failure", None)

    def _write_end(self, job: _Job, state: Any, reason: str | None, error: str | None) -> None:
        now = time.time_ns() // 1_000_000
        text = job.trial.user_attrs.get(TRIAL_KEY)
        begun = job.proposal.record(job.trial, self.objective, now) if text is None else TrialRecord.from_json(text)
        partial = sum(begun.fold_scores) / len(begun.fold_scores) if begun.fold_scores else None
        record = dataclasses.replace(
            begun, state=state, reason=reason, error=error, partial_score=partial, ended_at=now
        )
        job.trial.set_user_attr(TRIAL_KEY, record.to_json())

    # -- telling --------------------------------------------------------------------------------------------

    def _frozen(self, number: int) -> FrozenTrial:
        storage = self.study._storage  # one trial: the list of all would be copied first
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))

    def _tell(self, trial: FrozenTrial) -> None:
        """Tell a trial what its record says, whoever ran it."""
        record = record_of(trial)
        assert record is not None, f"trial {trial.number} has no record"
        state = _STATES[record.state]
        try:
            # Study.tell copies the finished trial, to return it: a fifth of a millisecond.
            _tell_with_warning(self.study, trial.number, record.score if state == TrialState.COMPLETE else None, state)
        except RuntimeError as error:
            # Optuna's exhaustive samplers ask the study to stop, which it refuses outside optimize().
            if "Study.stop" not in str(error):
                raise
            self.stopped = True

    def _take_note(self, finished: list[FrozenTrial], *, told: bool = False) -> None:
        """Pass on what has finished, here or elsewhere; `told`: before this run."""
        for trial in finished:
            job = self.open.pop(trial.number, None)
            record = record_of(trial)
            if record is None:
                continue
            self.objective.remember(record, self.study)
            self.points.note(record)
            if not told:
                self._pass_on(record, trial.user_attrs.get(OWNER_KEY) == self.lease.owner)
                self._check_failures(record, job)

    def _pass_on(self, record: TrialRecord, mine: bool) -> None:
        """Tell whoever listens; if that breaks, the study is closed in order first."""
        try:
            self.on_trial(record, mine)
        except Exception as error:
            self.outside, self.failed = self.outside or error, True

    def _check_failures(self, record: TrialRecord, job: _Job | None) -> None:
        failure = self.failures.note(record)
        if failure is not None and self.failure is None:
            self.failure, self.failed = failure, True
            self.failure_cause = job.error if job else None
