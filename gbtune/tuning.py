"""One tuning run from plan to result: probe, study, refit, tracker."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import optuna

from gbtune.earlier import Source
from gbtune.ending import Ending
from gbtune.errors import GbtuneWarning
from gbtune.evaluation import Evaluator
from gbtune.facts import best_record, read_records
from gbtune.isolation import ProcessEvaluator
from gbtune.memory import count_binnings, estimate_memory, fitting_workers, usable_memory
from gbtune.narrowing import Narrowing, narrowed
from gbtune.objective import BASELINE, KIND_KEY, Objective
from gbtune.planning import Plan, make_plan
from gbtune.progress import Progress
from gbtune.pruners import describe as describe_pruner
from gbtune.pruners import protocol_of
from gbtune.records import STUDY_KEY, StudyRecord, TrialRecord
from gbtune.report import warm_up
from gbtune.result import TuningResult
from gbtune.rounds import Rounds
from gbtune.runner import Runner
from gbtune.samplers import SamplerPlan
from gbtune.slots import Slots, is_cut
from gbtune.storage import describe as describe_storage
from gbtune.storage import study_lock
from gbtune.study import PORTFOLIO, Clock, Point
from gbtune.study_record import continued, refuse_differences
from gbtune.summary import plural
from gbtune.tracking import Tracker
from gbtune.warm_start import as_points, extended, kept_configurations, remarks

Isolation = Literal["thread", "process"]


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a study may use: finished trials, seconds, cores. None is no limit."""

    n_trials: int | None
    timeout: float | None
    n_jobs: int
    isolation: Isolation = "thread"
    note: str = ""
    """What was asked for and is not done, for the printed lines."""


class StartedMeanwhile(Exception):
    """Another process has begun the study, with a seed that it drew."""


class Tuning:
    """One tuning run.

    Parameters
    ----------
    objective : Objective
        What is tuned.
    study : optuna.Study
        Where trials live.
    sampling : SamplerPlan
        Where configurations come from.
    budget : Budget
        Trials, seconds, cores.
    tracker : Tracker or None
        Told everything.
    clock : Clock
        Running since the call began.
    name : str
        Of the study, for people.
    warm_start : sequence of Source, default ()
        Whose configurations come first.
    call : str, optional
        The Python call that finds the same again.
    ensemble : int, optional
        Of how many models the final model is the mean, at most. None: gbtune's choice.
    register : str, optional
        Name in the model registry.
    promote : bool, default True
        The first version of that name becomes its champion.
    progress : bool, default True
        Print and draw on stderr.
    """

    def __init__(
        self,
        objective: Objective,
        study: optuna.Study,
        sampling: SamplerPlan,
        budget: Budget,
        tracker: Tracker | None,
        *,
        clock: Clock,
        name: str,
        warm_start: Sequence[Source] = (),
        call: str = "",
        ensemble: int | None = None,
        register: str | None = None,
        promote: bool = True,
        progress: bool = True,
    ) -> None:
        self.objective, self.study, self.sampling, self.budget = objective, study, sampling, budget
        self.tracker, self.progress = tracker, progress
        self.clock, self.name, self.call, self.warm_start = clock, name, call, tuple(warm_start)
        self.workers = 1
        self._warned = self._goes_on = False
        self._floors: tuple[str, ...] = ()
        """For the printed lines: floors that the data are the reason for."""
        self.plan = Plan(len(objective.evaluator.folds), objective.evaluator.rounds)
        self.ending = Ending(
            objective,
            study,
            tracker,
            clock,
            n_jobs=budget.n_jobs,
            ensemble=ensemble,
            register=register,
            promote=promote,
        )

    def run(self, *, may_drop_folds: bool, example: Any) -> TuningResult:
        """Plan, search, refit, write.

        Parameters
        ----------
        may_drop_folds : bool
            The folds were gbtune's own choice.
        example : pandas.DataFrame
            A few raw rows, for the model's signature.

        Raises
        ------
        StudyFailed, BudgetTooSmall, KeyboardInterrupt
            As in `gbtune.tune`.
        """
        with self.clock.listening():
            self._arrange(self.objective.evaluator.limited(1, self.objective.evaluator.rounds))
            with study_lock(self.study, "plan"):  # processes that share a study keep to one plan
                before = self._record_before()
                self._goes_on = before is not None
                if before is not None:
                    self._check(before)
                self._plan(before, may_drop_folds)
                record = self._describe(before)
                self.study.set_user_attr(STUDY_KEY, record.to_json())
            if self.tracker is not None:
                self.tracker.study_started(record)
            try:
                self._search(record)
                model = self.ending.fit(record, self.plan)
            except BaseException:
                self.ending.tell("interrupted" if self.clock.interrupt.is_set() else "failed", None, None)
                raise
            receipt = self.ending.tell("interrupted" if self.clock.interrupt.is_set() else "complete", model, example)
        return TuningResult(self.study, model, self.objective.data.encoder, seconds=self.clock.elapsed, receipt=receipt)

    # -- before the first trial -----------------------------------------------------------------------------

    def _plan(self, before: StudyRecord | None, may_drop_folds: bool) -> None:
        objective = self.objective
        self.ending.reserve()
        unplanned = objective.evaluator.rounds
        if before is not None:  # trials of one study are compared: they keep to one plan
            rounds = unplanned
            # The plan that set a cap set a floor too; another cap is that of another space.
            if before.lowest_learning_rate is not None and not rounds.choices and before.max_rounds < rounds.cap:
                rounds = Rounds(before.max_rounds)
            self.plan = Plan(
                before.n_folds,
                rounds,
                before.lowest_learning_rate,
                reason=before.plan,
                train_rows=before.train_rows,
            )
        else:
            self.plan = make_plan(
                objective.evaluator,
                objective.space,
                timeout=self.clock.left,
                n_jobs=self.budget.n_jobs,
                n_trials=None if self.sampling.exhaustive else self.budget.n_trials,
                may_drop_folds=may_drop_folds,
                seed=objective.study_seed,
                interrupted=self.clock.reason_to_stop,
            )
        objective.limit(self.plan.n_folds, self.plan.rounds, self.plan.train_rows)
        if not self.sampling.exhaustive:  # the cells of a grid are what they are
            objective.space, self._floors = narrowed(objective, self.plan)
        if not unplanned.choices:
            self.ending.most_rounds = unplanned.cap
        self.ending.times_a_trials_round = self.plan.times_a_trials_round
        self.ending.reserve((self.plan.seconds_per_round or 0.0) * objective.baseline_rounds)
        if before is not None:
            self.ending.note(before, read_records(self.study)[1])

    def _check(self, before: StudyRecord) -> None:
        """Refuse a study that tuned something else: its trials could not be compared."""
        objective = self.objective
        if objective.seed is None and before.study_seed != objective.study_seed:
            raise StartedMeanwhile
        folds = objective.folds(before.n_folds, before.train_rows)
        now = objective.describe(self.study, folds_fingerprint=folds.fingerprint, folds=folds.description)
        refuse_differences(before, now)

    def _record_before(self) -> StudyRecord | None:
        text = self.study.user_attrs.get(STUDY_KEY)
        return None if text is None else StudyRecord.from_json(text)

    def _describe(self, before: StudyRecord | None) -> StudyRecord:
        record = self.objective.describe(
            self.study,
            name=self.name,
            max_rounds=self.plan.rounds.cap,
            lowest_learning_rate=self.plan.lowest_learning_rate,
            train_rows=self.plan.train_rows,
            sampler=self.sampling.name,
            pruner=describe_pruner(self.study.pruner),
            n_trials=self.budget.n_trials,
            timeout=self.budget.timeout,
            n_jobs=self.budget.n_jobs,
            plan=self.plan.reason,
            storage=describe_storage(self.study),
            warm_start=self._starts(before),
            call=self.call,
        )
        return record if before is None else continued(before, record, len(self.study.get_trials(deepcopy=False)))

    def _starts(self, before: StudyRecord | None) -> tuple[Mapping[str, Any], ...]:
        """What the study's record keeps of its warm starts: with it, the study goes on whatever became of them."""
        kept, space, family = () if before is None else before.warm_start, self.objective.space, self.objective.family
        slots = Slots(self.study)
        slots.read()
        trials = [trial for trial in slots.held.values() if trial.user_attrs.get(KIND_KEY) != BASELINE]
        return extended(kept, self.warm_start, space, family, [trial.params for trial in trials])

    def _points(self, record: StudyRecord) -> list[Point]:
        """Baseline, warm start, then the grid's cells or the portfolio; each point once."""
        space, task = self.objective.space, self.objective.data.task
        points = as_points(kept_configurations(record.warm_start), space, self.objective.family)
        seen = [point.params for point in points]
        if self.sampling.exhaustive:
            points += [Point(cell, "grid") for cell in self.sampling.points if cell not in seen]
        else:
            for entry in space.portfolio_for(task):
                projected = space.project(entry.params)
                if projected not in seen:
                    seen.append(projected)
                    points.append(Point(projected, PORTFOLIO, entry.provenance))
        if any(trial.kind == BASELINE and trial.state == "complete" for trial in read_records(self.study)[1]):
            return points
        return [Point(self._baseline_point(), BASELINE, "library default"), *points]

    def _baseline_point(self) -> dict[str, Any]:
        """Return the point of the space at which the sampler sees the baseline, which is evaluated as it is.

        What lies outside the space, such as LightGBM's unlimited depth, is seen at the space's default. A trial
        without parameters would be worse: multivariate TPE models only what all trials have in common.
        """
        ours, space = self.objective.family.default_params, self.objective.space
        clipped = space.project(ours)
        return space.project({name: value for name, value in clipped.items() if ours.get(name) == value})

    # -- trials ---------------------------------------------------------------------------------------------

    def _search(self, record: StudyRecord) -> None:
        budget, earlier = self.budget, read_records(self.study)[1]
        best_so_far = best_record(record, earlier)
        ended = [trial.state for trial in earlier if not is_cut(trial)]
        points = self._points(record)
        progress = Progress(
            self.progress,
            total=self._total_trials(points),
            timeout=budget.timeout,
            done=self._filled_slots(),
            pruned=ended.count("pruned"),
            failed=ended.count("failed"),
            metric=record.metric,
            direction=record.direction,
        )
        with progress:
            for line in self._opening(record):
                progress.say(line)

            by_trials = not (self._in_generations or self.sampling.exhaustive)
            narrowing = Narrowing(self.objective, self.plan, progress.say, by_trials=by_trials)

            def on_trial(trial: TrialRecord, mine: bool) -> None:
                nonlocal best_so_far
                if self.tracker is not None and mine:  # every process writes its own
                    self.tracker.trial_finished(trial)
                    if trial.kind == BASELINE:  # all other libraries are imported by now
                        threading.Thread(target=warm_up, daemon=True).start()
                if trial.state == "complete":
                    best_so_far = best_record(record, [*([best_so_far] if best_so_far else []), trial])
                self.ending.note(record, [trial])
                narrowing.note(trial, self.ending.baseline)
                if not is_cut(trial):  # its slot is run again
                    progress.update(trial, None if best_so_far is None else best_so_far.score)

            if self.ending.baseline is not None:  # of a study that goes on
                narrowing.note(self.ending.baseline, self.ending.baseline)
            self.workers = self.ending.workers = workers = self._arrange(self.objective.evaluator)
            self.ending.review.keep_predictions()
            with self._somewhere(workers):
                runner = Runner(
                    self.study,
                    self.objective,
                    points,
                    self.clock,
                    n_trials=budget.n_trials,
                    n_jobs=workers,
                    generations=self._in_generations,
                    exhaustive=self.sampling.exhaustive,
                    on_trial=on_trial,
                )
                runner.run()
                self.ending.review.predict_again(record)

    def _arrange(self, evaluator: Evaluator) -> int:
        """Return how many trials fit into the memory side by side; warn, once, where those are fewer than wanted."""
        typical = self.objective.space.defaults()
        estimate = estimate_memory(
            evaluator,
            isolation=self.budget.isolation,
            params=typical,
            binnings=count_binnings(evaluator.family, self.objective.space),
        )
        workers, warning = fitting_workers(estimate, self.budget.n_jobs, usable_memory())
        if warning and not self._warned:
            self._warned = True
            warnings.warn(warning, GbtuneWarning, stacklevel=4)
        return workers

    @property
    def _in_generations(self) -> bool:
        """Whether trials are asked in generations: the same for any number of cores, at the price of waiting.

        A study that time alone ends differs from run to run anyway. There a worker asks as soon as it is free, unless
        the pruner looks at running trials.
        """
        ends_by_time = self.budget.n_trials is None and not self.sampling.exhaustive
        by_rounds = protocol_of(self.study.pruner).schedule == "rounds"
        return self.objective.seed is not None and (by_rounds or not ends_by_time)

    @contextlib.contextmanager
    def _somewhere(self, workers: int) -> Iterator[None]:
        """Evaluate in processes, if asked for, as long as this lasts."""
        if self.budget.isolation == "thread":
            yield
            return
        by_rounds = protocol_of(self.study.pruner).schedule == "rounds" and self._in_generations
        with ProcessEvaluator(self.objective.evaluator, 1 if by_rounds else workers) as pool:
            pool.start()
            self.objective.elsewhere = pool.evaluate
            try:
                yield
            finally:
                self.objective.elsewhere = None

    def _total_trials(self, points: list[Point]) -> int | None:
        if not self.sampling.exhaustive:
            return self.budget.n_trials
        every = 1 + sum(point.kind != BASELINE for point in points)
        return every if self.budget.n_trials is None else min(every, self.budget.n_trials)

    def _filled_slots(self) -> int:
        slots = Slots(self.study)
        slots.read()
        return sum(trial.state.is_finished() for trial in slots.held.values())

    def _opening(self, record: StudyRecord) -> list[str]:
        limits = [] if record.n_trials is None else [f"{record.n_trials} trials"]
        limits += [] if record.timeout is None else [f"{record.timeout:g} s"]
        parts = [
            f"{record.space} v{record.space_version}",
            f"{record.n_rows:,} rows x {record.n_columns} columns, {record.task}",
            record.folds,
            record.metric,
            f"{record.sampler}, {record.pruner}",
            " or ".join(limits) or "all cells",
            f"{record.n_jobs} cores" if record.n_jobs > 1 else "1 core",
            f"seed {record.seed}",
        ]
        lines = ["gbtune: " + " | ".join(parts)]
        if record.storage:
            done = plural(self._filled_slots(), "trial")
            lines.append(f"gbtune: study {record.name!r} in {record.storage}, {done} so far")
        if record.changes:
            lines.append(f"gbtune: {record.changes[-1]}")
        if record.warm_start:
            lines.append(f"gbtune: warm start: {record.warm_start_words}")
        lines += [f"gbtune: {remark}" for remark in remarks(self.warm_start, record.metric)]
        if self.budget.note:
            lines.append(f"gbtune: {self.budget.note}")
        if record.plan:
            when = "to fit the time of its first run" if self._goes_on else "to fit the time"
            lines.append(f"gbtune: {when}, {record.plan}")
        lines += [f"gbtune: {floor}" for floor in self._floors]
        return lines + [f"gbtune: {note}" for note in self.objective.data.notes]
