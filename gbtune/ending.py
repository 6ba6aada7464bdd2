"""The end of a tuning run: the time kept for it, the final model, what the tracker is told."""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import optuna

from gbtune.diagnostics import MAX_SECONDS
from gbtune.ensemble import FINAL_MODEL_KEY, FinalModel, feature_importances
from gbtune.errors import BudgetTooSmall, GbtuneWarning, StudyFailed
from gbtune.facts import ReadStudy, collect_facts, read_records
from gbtune.final_model import DEFAULT_MEMBERS, choose_members, fit_members
from gbtune.growth import longest
from gbtune.objective import BASELINE, Objective
from gbtune.outcome import bundle_model, describe_outcome
from gbtune.planning import Plan, speed_up
from gbtune.pruners import protocol_of
from gbtune.records import Receipt, StudyRecord, TrialRecord
from gbtune.review import Review
from gbtune.storage import study_lock
from gbtune.study import Clock
from gbtune.tracking import Tracker

PARALLEL_REFIT_CELLS = 500_000
"""From so many cells on, a single refit uses all cores (docs/performance.md, "Threads"). Two side by side, with one
thread each, are faster still; and below, the model is the same for any number of cores."""
REPORT_SECONDS = 0.3
"""For the report's figures, when somebody tracks the study; what the tracker needs comes on top."""
LOOK_SHARE = 0.01
"""Of the time, for a look at the best trial's predictions."""
WRITING_SHARE = 0.4
"""Of the time, at most, for all that comes after the model: of a few seconds some must be left for trials."""
ENSEMBLE_SHARE = 0.1
"""Of the time, at most, that is kept for fitting further models than the best one's."""
LEAST_SHARE = 0.5
"""Of its rounds a model is always fitted with, however late it is."""
NEARLY_DONE = 0.01
"""Of the time: a refit that needs less than so much for the rest of its rounds is not cut."""
GROWTH_SHARE = 0.5
"""Of the time, at most, that is kept for a model that grows further than its trial: no trial begins in it."""
FASTER = 0.8
"""No trial takes less than so much of the shortest one so far."""
SIDE_BY_SIDE = 1.2
"""So many times longer boosters may take when others grow beside them."""


class Ending:
    """What comes after the last trial, and how much time it needs.

    Parameters
    ----------
    objective : Objective
        What is tuned.
    study : optuna.Study
        Where trials live.
    tracker : Tracker or None
        Told the end.
    clock : Clock
        Its `reserved` seconds are set here.
    n_jobs : int
        Cores.
    ensemble : int, optional
        Of how many models the final model is the mean, at most. None: `DEFAULT_MEMBERS`.
    register : str, optional
        Name in the model registry.
    promote : bool, default True
        The first version of that name becomes its champion.
    """

    def __init__(
        self,
        objective: Objective,
        study: optuna.Study,
        tracker: Tracker | None,
        clock: Clock,
        *,
        n_jobs: int,
        ensemble: int | None = None,
        register: str | None = None,
        promote: bool = True,
    ) -> None:
        self.objective, self.study, self.tracker, self.clock = objective, study, tracker, clock
        self.register, self.promote = register, promote
        self.wanted = DEFAULT_MEMBERS if ensemble is None else ensemble
        self.review = Review(objective, study, clock)
        self.n_jobs = self.workers = n_jobs
        """Cores, and boosters side by side: fewer where the memory does not allow for as many."""
        self.members: list[TrialRecord] = []
        """The best trials so far; later those that the model was fitted with."""
        self.baseline: TrialRecord | None = None
        """The library's default, once it is complete."""
        self.times_a_trials_round: float | None = None
        """How long a round takes on all rows, with one thread, in those of a trial; None: in proportion to the rows."""
        self.most_rounds = 0
        """Of a model whose trial the plan ended: what the space allows for without it; 0: those of its trial."""
        self._threads = 1
        """Of each booster that is fitted on all rows."""
        self._began = 0.0
        """When fitting did."""
        self._batch_began = 0.0
        """When fitting those began that are being fitted."""
        self._planned: float | None = None
        """Seconds that were expected for what is fitted so far; None: nothing is yet."""
        self._afterwards = 0.0
        """Seconds that were kept for what comes after the model when fitting began."""
        self._most: list[int] = []
        """Rounds to which the models may grow while there is time; empty: those of their trials."""
        self._rounds: dict[int, int] = {}
        """How many the models at these positions of `members` have, once that is known."""

    # -- time -----------------------------------------------------------------------------------------------

    def note(self, about: StudyRecord, records: Sequence[TrialRecord]) -> None:
        """Take note of finished trials, and keep the time that fitting the best of them again will take."""
        before = [*self.members] if self.baseline is None else [self.baseline, *self.members]
        known = {trial.number: trial for trial in (*before, *records)}
        complete = (trial for trial in known.values() if trial.kind == BASELINE and trial.state == "complete")
        self.baseline = next(complete, None)
        self._time_trials(records)
        self._choose(about, [*known.values()])
        if not self.members:
            return
        further = math.inf if self.clock.timeout is None else ENSEMBLE_SHARE * self.clock.timeout
        slower = SIDE_BY_SIDE if self.workers > 1 else 1.0
        count, seconds = self._affordable(self._alone(self.members[0]) + further, slower)
        wanted = seconds
        if grown := self._grown(count):
            seconds, wanted = self._seconds_to_grow(grown)
        self.clock.reserved, self.clock.growth = seconds + self._seconds_afterwards(), wanted - seconds

    def reserve(self, seconds_on_a_fold: float = 0.0) -> None:
        """Keep time for a model that takes so many seconds on the training rows of a fold; no trial is known yet.

        A model with half of its rounds, where it can be stopped, is better than none: so much must be left.
        """
        share = LEAST_SHARE if self.objective.family.capabilities.stoppable else 1.0
        self.clock.reserved = (
            share * self._on_all_rows(seconds_on_a_fold, self._all_threads) + self._seconds_afterwards()
        )

    def _time_trials(self, records: Sequence[TrialRecord]) -> None:
        """Tell the clock what the shortest trial takes, where no pruner can make one shorter: on a hold-out."""
        if len(self.objective.evaluator.folds) > 1 or protocol_of(self.study.pruner).schedule == "rounds":
            return
        times = [sum(trial.seconds.values()) for trial in records if trial.state == "complete" and trial.seconds]
        if times:
            shortest = FASTER * min(times)
            self.clock.shortest_trial = min(shortest, self.clock.shortest_trial or shortest)

    def _grown(self, count: int) -> list[int]:
        """Return to how many rounds the models that are fitted first may grow, if there is time; empty: no further.

        Of the `count` that there is time for they are so many as use all cores. Where rounds are missing, those are
        worth more than further models.
        """
        if self.clock.timeout is None or not self.objective.family.capabilities.stoppable:
            return []
        first = self.members[: 1 if self._all_threads > 1 else min(count, self.workers)]
        most = [self._most_rounds(trial) for trial in first]
        return most if most and most[0] > first[0].rounds else []

    def _most_rounds(self, trial: TrialRecord) -> int:
        objective, allowed, limit = self.objective, self.objective.evaluator.rounds.cap, self.most_rounds
        if trial.kind == BASELINE:
            allowed = objective.baseline_rounds
            limit = limit if allowed < objective.family.default_rounds else allowed  # as it is, if it was not cut
        return longest(trial, allowed, limit, objective.metric)

    def _seconds_to_grow(self, grown: Sequence[int]) -> tuple[float, float]:
        """Return the seconds of the first models with their trials' rounds, and with so many, at most half the time."""
        threads, slower = (self._all_threads, 1.0) if len(grown) == 1 else (1, SIDE_BY_SIDE)
        first = self.members[: len(grown)]
        each = [slower * self._refit_seconds(trial, threads) for trial in first]
        further = max(alone * most / trial.rounds for alone, most, trial in zip(each, grown, first, strict=True))
        return max(each), max(*each, min(further, GROWTH_SHARE * (self.clock.timeout or 0.0)))

    def _choose(self, about: StudyRecord, records: Sequence[TrialRecord]) -> None:
        """Choose the members; a single slow configuration is to be fitted once, not with several seeds."""
        self.members = choose_members(about, records, self.wanted)
        if self.clock.timeout is None or len({trial.number for trial in self.members}) != 1:
            return
        if self._refit_seconds(self.members[0], 1) > ENSEMBLE_SHARE * self.clock.timeout:
            del self.members[1:]

    def _affordable(self, limit: float, slower: float) -> tuple[int, float]:
        """Return how many of the members can be fitted within so many seconds, at least one, and the seconds of these.

        One alone has all cores. Several have one thread each, and take so many times longer beside each other: a second
        one that is slow costs more than its own time. After the first ones, `fit_members` fits as many again or none.
        """
        count, seconds = 1, self._alone(self.members[0])
        threads = self._all_threads if self.workers == 1 else 1
        each = [slower * self._refit_seconds(trial, threads) for trial in self.members]
        first = list(itertools.accumulate(each[: self.workers], max))
        fitting = sum(together <= limit for together in first)
        if fitting > 1:
            count, seconds = fitting, first[fitting - 1]
        if fitting < len(first):
            return count, seconds
        together = first[-1]
        for start in range(self.workers, len(each), self.workers):
            batch = each[start : start + self.workers]
            together += max(batch)
            if together > limit:
                break
            count, seconds = start + len(batch), together
        return count, seconds

    def _alone(self, trial: TrialRecord) -> float:
        return self._refit_seconds(trial, self._all_threads)

    @property
    def _all_threads(self) -> int:
        """Of a booster that is fitted while no other is."""
        cells = self.objective.data.n_rows * self.objective.data.n_columns
        return self.n_jobs if cells >= PARALLEL_REFIT_CELLS else 1

    @property
    def _left(self) -> float:
        """Seconds for fitting."""
        if self.clock.timeout is None:
            return math.inf
        return self.clock.timeout - self.clock.elapsed - self._seconds_afterwards()

    def _seconds_afterwards(self) -> float:
        """Return the seconds to keep for what comes after the model: a look at its predictions, and writing."""
        timeout, writing = self.clock.timeout, 0.0
        if self.tracker is not None:
            until_then = 0.0 if timeout is None else max(0.0, timeout - self.clock.elapsed)
            # Meanwhile it catches up, on cores that it shares with the boosters.
            behind = max(0.0, self.tracker.backlog_seconds - until_then / 2)
            writing = REPORT_SECONDS + behind + self.tracker.ending_seconds
        if timeout is None:
            return writing
        self.clock.writing = min(writing, WRITING_SHARE * timeout)
        return self.clock.writing + min(MAX_SECONDS, LOOK_SHARE * timeout)

    def _refit_seconds(self, trial: TrialRecord, threads: int) -> float:
        grown = sum(trial.rounds_grown)
        return self._on_all_rows(trial.seconds.get("train", 0.0) / grown * trial.rounds, threads) if grown else 0.0

    def _on_all_rows(self, seconds: float, threads: int) -> float:
        times = self.times_a_trials_round
        if times is None:
            splits = self.objective.evaluator.folds.splits
            times = self.objective.data.n_rows * len(splits) / sum(len(train) for train, _ in splits)
        return seconds * times / speed_up(threads)

    # -- the model ------------------------------------------------------------------------------------------

    def fit(self, record: StudyRecord, plan: Plan) -> Any:
        """Fit the final model; store which trials it is made of, and what the best one's predictions show.

        Raises
        ------
        StudyFailed, BudgetTooSmall, KeyboardInterrupt
            If no trial has completed.
        """
        records = read_records(self.study)[1]
        self._choose(record, records)
        chosen = self.members
        if not chosen:
            raise self._nothing_completed(records, plan)
        # A search ends a little late: half of the margin is for that.
        count, _ = self._affordable(self._left, (1 + SIDE_BY_SIDE) / 2)
        interrupted = self.clock.interrupt.is_set()
        self._most, self._afterwards = [] if interrupted else self._grown(count), self._seconds_afterwards()
        if self._most:
            count = len(self._most)
            self.members = chosen = chosen[:count]
        side_by_side = 1 if interrupted else min(self.workers, count)
        self._threads = self._all_threads if side_by_side == 1 else 1
        started, self._began, self._planned = time.perf_counter(), self.clock.elapsed, None
        self._batch_began = self._began
        model, fitted = fit_members(
            self.objective,
            chosen,
            threads=self._threads,
            workers=side_by_side,
            longest=self._most,
            may_go_on=self._may_go_on,
            enough=self._is_enough,
        )
        self.members = chosen[: len(fitted)]
        for position, kept in enumerate(fitted):
            self._explain(position, kept.rounds, kept.sound)
        self.review.store(self.members[0], feature_importances(model), time.perf_counter() - started)
        numbers = tuple(trial.number for trial in self.members)
        rounds = tuple(self._rounds[position] for position in range(len(numbers)))
        final = FinalModel(
            numbers,
            left_out=len({trial.number for trial in chosen} - set(numbers)),
            rounds=rounds if rounds[0] > chosen[0].rounds else (),
        )
        try:
            self.study.set_user_attr(FINAL_MODEL_KEY, final.to_json())
        except Exception as error:  # of any storage: it costs no model
            warnings.warn(
                f"Which trials the model was fitted with was not stored ({type(error).__name__}: {error}): trials "
                f"{', '.join(map(str, numbers))}. The result is not affected.",
                GbtuneWarning,
                stacklevel=2,
            )
        return model

    def _explain(self, position: int, rounds: int, sound: bool) -> None:
        """Keep in mind how many rounds a model has, and warn where it should have more."""
        trial = self.members[position]
        grown = self._rounds.get(position, self._most[position] if self._most else trial.rounds)
        self._rounds[position] = rounds
        if not sound:
            warnings.warn(
                f"Fitted on all rows, trial {trial.number}'s model came apart: it knows rows that it has learned from "
                f"far less well than the frequencies of the classes do, and has no earlier rounds that are better. Do "
                "not use it: raise its penalties, or lower its learning rate.",
                GbtuneWarning,
                stacklevel=3,
            )
        elif rounds < grown:
            warnings.warn(
                f"Fitted on all rows, trial {trial.number}'s model came apart: it knew rows that it had learned "
                f"from less well than the frequencies of the classes do. It keeps {rounds} of its "
                f"{grown} rounds. Raise the lower end of reg_lambda in the search space.",
                GbtuneWarning,
                stacklevel=3,
            )
        elif grown < trial.rounds:
            warnings.warn(
                f"timeout={self.clock.timeout:g} s was over before trial {trial.number} was fitted on all rows: "
                f"its model has {grown} of {trial.rounds} rounds. Raise timeout, or fit it "
                "yourself with result.best_params.",
                GbtuneWarning,
                stacklevel=3,
            )

    def _may_go_on(self, trials: Sequence[TrialRecord]) -> bool:
        """Whether these may be fitted, too, side by side: by what the ones before have really taken."""
        if self.clock.interrupt.is_set():
            return False
        self._batch_began = self.clock.elapsed
        planned = max(self._refit_seconds(trial, self._threads) for trial in trials)
        if self._planned is None:  # how many come first was decided by the time that there is
            self._planned = planned
            return True
        pace = (self.clock.elapsed - self._began) / self._planned if self._planned else 1.0
        if self._left < SIDE_BY_SIDE * pace * planned:
            return False
        self._planned += planned
        return True

    def _is_enough(self, position: int, grown: int) -> bool:
        """Whether a refit that takes longer than thought is cut: after the time, with at least half of its rounds.

        Not for the last instant, which is all that a small model takes when the search ends that late. What grows
        further than its trial ends in time.
        """
        timeout, elapsed, rounds = self.clock.timeout, self.clock.elapsed, self.members[position].rounds
        if timeout is None or grown < LEAST_SHARE * rounds:
            return False
        per_round = (elapsed - self._batch_began) / grown
        if grown < rounds:
            if elapsed <= timeout or (rounds - grown) * per_round < NEARLY_DONE * timeout:
                return False
        elif not self._most or (timeout - elapsed - self._afterwards > per_round and not self.clock.interrupt.is_set()):
            return False
        self._rounds[position] = grown
        return True

    def _fitted_with(self, position: int) -> dict[str, Any]:
        """Return what a member was really fitted with: its recipe must give the same model again."""
        params = self.members[position].all_params
        return {**params, "n_estimators": self._rounds.get(position, params["n_estimators"])}

    def _nothing_completed(self, records: list[TrialRecord], plan: Plan) -> BaseException:
        if self.clock.interrupt.is_set():
            return KeyboardInterrupt()
        errors = [record.error for record in records if record.error]
        if errors:
            return StudyFailed(f"No trial completed; the first error was:\n{errors[0]}")
        if self.clock.timeout is None:
            return StudyFailed(f"No trial completed: all {len(records)} were pruned. Choose a milder pruner.")
        evaluator = self.objective.evaluator
        rounds = self.objective.baseline_rounds
        last = plan.times_a_trials_round or 1.5  # the final model, in folds
        needed = self.clock.elapsed + (plan.seconds_per_round or 0) * rounds * (len(evaluator.folds) + last)
        return BudgetTooSmall(
            f"Not even the library's default model was evaluated within timeout={self.clock.timeout:g} s: it needs "
            f"about {needed:.0f} s on {len(evaluator.folds)} fold(s) of these {self.objective.data.n_rows:,} rows. "
            "Raise timeout, use fewer rows, or a hold-out (cv=0.2)."
        )

    # -- the tracker ----------------------------------------------------------------------------------------

    def tell(self, state: Literal["complete", "interrupted", "failed"], model: Any, example: Any) -> Receipt:
        """Tell the tracker the end. A report or tracker that breaks costs no model: it is a warning."""
        if self.tracker is None:
            return Receipt()
        try:
            with study_lock(self.study, "finish"):  # processes that share a study write its results one by one
                study = ReadStudy(self.study)
                facts = collect_facts(study, seconds=self.clock.elapsed)
                bundle = None
                if model is not None:
                    params = [*map(self._fitted_with, range(len(self.members)))]
                    bundle = bundle_model(self.objective, model, example, *params, threads=self._threads)
                outcome = describe_outcome(
                    study, state, model=bundle, register=self.register, promote=self.promote, facts=facts
                )
                return self.tracker.study_finished(outcome)
        except Exception as error:  # of any tracker, or of a report: it costs no model
            problem = f"The end of the study was not tracked ({type(error).__name__}: {error})."
            warnings.warn(problem, GbtuneWarning, stacklevel=2)
            return Receipt(problems=(problem,))
