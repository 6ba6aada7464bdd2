"""The end of the time: what is kept for the model and for writing, what is left out, and when a study ends.

On a clock that stands still, except where a booster grows a round or a tracker writes.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.datasets import load_diabetes
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import TimeSeriesSplit
from stub import SPACE, stub_objective

import gbtune
from gbtune import families
from gbtune.data import Dataset
from gbtune.diagnostics import MAX_SECONDS
from gbtune.ending import (
    ENSEMBLE_SHARE,
    FASTER,
    GROWTH_SHARE,
    LEAST_SHARE,
    LOOK_SHARE,
    REPORT_SECONDS,
    SIDE_BY_SIDE,
    WRITING_SHARE,
    Ending,
)
from gbtune.ensemble import FINAL_MODEL_KEY, FinalModel
from gbtune.families.base import FoldFit, Prepared
from gbtune.final_model import ENOUGH
from gbtune.planning import speed_up
from gbtune.records import Receipt, StudyOutcome, StudyRecord, TrialRecord
from gbtune.rounds import Rounds
from gbtune.study import Clock
from gbtune.testing.families import StubFamily
from gbtune.testing.trackers import RecordingTracker
from gbtune.tracking import MLflowTracker
from gbtune.tracking import line as tracking_line
from gbtune.tracking.process import ProcessTracker

ABOUT = StudyRecord("1", "demo", "stub", "stub/core", "1", {}, "rmse", "minimize", "regression", 442, 1, "4 folds", 4)


class Time:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time of all modules that plan with it."""
    fake = Time()
    clock = types.SimpleNamespace(
        monotonic=lambda: fake.now, perf_counter=lambda: fake.now, time_ns=lambda: int(fake.now * 1e9)
    )
    clock.strftime = lambda _: "today"
    for module in ("api", "study", "planning", "evaluation", "ending", "diagnostics"):
        monkeypatch.setattr(f"gbtune.{module}.time", clock)
    return fake


class SlowFamily(StubFamily):
    """Takes its time: for a round on the rows of a fold, and for one on all rows."""

    def __init__(self, time: Time, seconds: float, *, alone: float = 1.0) -> None:
        super().__init__()
        self.time, self.seconds, self.alone = time, seconds, alone
        self.fitted: list[int] = []
        self.threads: list[int] = []

    def prepare(self, *args: Any, **arguments: Any) -> Prepared:
        inner = super().prepare(*args, **arguments)
        train_fold = inner.train_fold

        def slow(params: Any, fold: int, rounds: int, seed: int, on_round: Any = None) -> FoldFit:
            fit = SlowFit(train_fold(params, fold, 0, seed), self)
            fit.grow(rounds, on_round)
            return fit

        inner.train_fold = slow  # type: ignore[method-assign]  # of this one object
        return inner

    def fit(self, data: Any, params: Any, rounds: int, seed: int, **arguments: Any) -> Any:
        enough, grown = arguments.get("enough"), 0
        while grown < rounds and not (grown and enough is not None and enough(grown)):
            self.time.passes(self.alone * self.seconds)
            grown += 1
        self.fitted.append(grown)
        self.threads.append(arguments["threads"])
        return DummyRegressor().fit(data.X, data.y)  # an average takes scikit-learn's estimators only


class SlowFit(FoldFit):
    def __init__(self, inner: FoldFit, family: SlowFamily) -> None:
        self.inner, self.family = inner, family

    @property
    def curve(self) -> Any:
        return self.inner.curve

    def grow(self, rounds: int, on_round: Any = None) -> None:
        def after(_: FoldFit) -> bool:
            self.family.time.passes(self.family.seconds * 0.75)  # a fold's training rows are three quarters of all
            return on_round is not None and bool(on_round(self))

        self.inner.grow(rounds, after)

    def predict(self, rounds: int | None = None) -> Any:
        return self.inner.predict(rounds)


class SlowTracker(RecordingTracker):
    """Takes as long for the end as it says."""

    def __init__(self, time: Time, seconds: float, behind: float = 0.0) -> None:
        super().__init__()
        self.time, self.seconds, self.behind = time, seconds, behind

    @property
    def backlog_seconds(self) -> float:
        return self.behind

    @property
    def ending_seconds(self) -> float:
        return self.seconds

    def study_finished(self, outcome: StudyOutcome) -> Receipt:
        self.time.passes(self.seconds)
        return super().study_finished(outcome)


def ending(timeout: float | None, **arguments: Any) -> Ending:
    tracker, objective = arguments.pop("tracker", None), arguments.pop("objective", None) or stub_objective()
    return Ending(objective, optuna.create_study(), tracker, Clock(timeout), **{"n_jobs": 2, **arguments})


def trial(number: int, *, refit: float = 4.0, state: Any = "complete") -> TrialRecord:
    """A trial whose refit on all rows takes so many seconds: four folds of 100 rounds on three quarters of them."""
    return TrialRecord(
        number,
        state,
        {"learning_rate": 0.1, "split": number / 100},
        score=60.0 + number,
        rounds=100,
        rounds_grown=(100, 100, 100, 100),
        seconds={"train": refit * 4 * 0.75},
    )


def trials(count: int, **arguments: Any) -> list[TrialRecord]:
    return [trial(number, **arguments) for number in range(count)]


# -- what is kept ---------------------------------------------------------------------------------------------


def test_before_the_first_trial_the_librarys_default_model_has_its_time(time: Time) -> None:
    end = ending(100.0)
    end.reserve(3.315)
    assert end.clock.reserved == pytest.approx(LEAST_SHARE * 4.42 + 100 * LOOK_SHARE), "half of it, if need be"
    family = end.objective.family
    family.capabilities = dataclasses.replace(family.capabilities, stoppable=False)  # type: ignore[misc]
    end.reserve(3.315)
    assert end.clock.reserved == pytest.approx(4.42 + 100 * LOOK_SHARE)


def test_windows_in_time_have_half_of_the_rows_on_average(time: Time) -> None:
    in_time = stub_objective(cv=TimeSeriesSplit(5))
    end = ending(1000.0, objective=in_time, ensemble=1)
    end.note(ABOUT, [dataclasses.replace(trial(0), seconds={"train": 4 * 2.0})])
    assert end.clock.reserved == pytest.approx(2.0 * 442 / 223 + MAX_SECONDS)


def test_the_best_trials_refit_is_kept_time_for_and_a_pruned_ones_is_not(time: Time) -> None:
    end = ending(1000.0, ensemble=1)
    end.note(ABOUT, [trial(5, refit=8.0)])
    assert end.clock.reserved == pytest.approx(8.0 + MAX_SECONDS)
    end.note(ABOUT, [trial(7, refit=1.0)])
    end.note(ABOUT, [trial(0, refit=1.0, state="pruned")])
    assert end.clock.reserved == pytest.approx(8.0 + MAX_SECONDS), "they are worse, or not complete"
    end.note(ABOUT, [trial(1, refit=2.0)])
    assert end.clock.reserved == pytest.approx(2.0 + MAX_SECONDS)


def test_a_study_without_a_deadline_keeps_nothing_back(time: Time) -> None:
    end = ending(None, tracker=SlowTracker(time, 3.0))
    end.note(ABOUT, trials(3))
    time.passes(1e6)
    assert end.clock.left is None and end.clock.reason_to_stop() is None
    assert end.review.seconds_to_look == MAX_SECONDS and end._may_go_on(trials(1))


def test_further_members_are_fitted_side_by_side_and_get_a_share_of_the_time_at_most(time: Time) -> None:
    end = ending(400.0)
    end.note(ABOUT, trials(5))
    assert end.clock.reserved == pytest.approx(3 * 4.0 * SIDE_BY_SIDE + 400 * LOOK_SHARE), "two, two and one"
    end = ending(400.0, ensemble=2)
    end.note(ABOUT, [trial(0, refit=9.0), trial(1)])
    assert end.clock.reserved == pytest.approx(9.0 * SIDE_BY_SIDE + 400 * LOOK_SHARE), "the best one takes longest"
    end = ending(100.0)
    end.note(ABOUT, trials(10, refit=7.0))
    assert end.clock.reserved == pytest.approx(2 * 7.0 * SIDE_BY_SIDE + 100 * LOOK_SHARE), "four: six are too many"
    assert 3 * 7.0 * SIDE_BY_SIDE > 7.0 + ENSEMBLE_SHARE * 100


def test_a_slow_configuration_is_fitted_alone_and_a_fast_one_with_several_seeds(time: Time) -> None:
    samples = {"params": {"subsample": 0.5}}
    end = ending(100.0)
    end.note(ABOUT, [dataclasses.replace(trial(0, refit=9.9), **samples)])
    assert [member.number for member in end.members] == [0] * ENOUGH
    assert end.clock.reserved == pytest.approx(9.9 * SIDE_BY_SIDE + 100 * LOOK_SHARE), "two of them"
    end = ending(100.0)
    end.note(ABOUT, [dataclasses.replace(trial(0, refit=10.1), **samples)])
    assert [member.number for member in end.members] == [0]
    assert end.clock.reserved == pytest.approx(10.1 + 100 * LOOK_SHARE)


def test_after_the_first_ones_time_is_kept_for_as_many_again_or_none(time: Time) -> None:
    end = ending(100.0)
    end.note(ABOUT, [*trials(3, refit=5.0), trial(3, refit=40.0)])
    assert end.clock.reserved == pytest.approx(5.0 * SIDE_BY_SIDE + 100 * LOOK_SHARE), "the fourth goes with the third"
    end = ending(100.0, n_jobs=4)
    end.note(ABOUT, [*trials(3, refit=5.0), trial(3, refit=40.0)])
    assert end._affordable(15.0, SIDE_BY_SIDE)[0] == 3, "of the first ones some may be left out"


def test_no_more_boosters_grow_side_by_side_than_the_memory_allows_for(time: Time) -> None:
    end = ending(400.0, n_jobs=4)
    end.workers = 2
    end.note(ABOUT, trials(4))
    assert end.clock.reserved == pytest.approx(2 * 4.0 * SIDE_BY_SIDE + 400 * LOOK_SHARE)
    end.workers = 1
    end.note(ABOUT, trials(4))
    assert end.clock.reserved == pytest.approx(4 * 4.0 + 400 * LOOK_SHARE), "one after the other"


@pytest.mark.parametrize(("timeout", "n_jobs", "count", "members"), [(20.0, 2, 6, 2), (60.0, 2, 6, 4), (20.0, 8, 6, 6)])
def test_what_time_is_kept_for_is_fitted_when_the_search_ends_a_little_late(
    time: Time, timeout: float, n_jobs: int, count: int, members: int
) -> None:
    family = SlowFamily(time, 0.04, alone=1 / min(n_jobs, members))  # the seconds of all threads add up
    assert fitted(time, timeout=timeout, begins=None, count=count, n_jobs=n_jobs, family=family) == [*range(members)]
    assert time.now <= timeout


def test_what_is_fitted_alone_has_all_cores_and_a_second_one_must_be_worth_its_time(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gbtune.ending.PARALLEL_REFIT_CELLS", 1)
    alone = 1 / speed_up(2)
    for refit, seconds in ((17.0, 17.0 * SIDE_BY_SIDE), (18.0, 18.0 * alone)):
        end = ending(100.0)
        end.note(ABOUT, trials(2, refit=refit))
        assert end.clock.reserved == pytest.approx(seconds + 100 * LOOK_SHARE)


def test_the_tracker_says_what_writing_takes(time: Time) -> None:
    end = ending(200.0, tracker=SlowTracker(time, 3.0), ensemble=1)
    end.note(ABOUT, trials(1))
    assert end.clock.writing == pytest.approx(3.0 + REPORT_SECONDS)
    assert end.clock.reserved == pytest.approx(4.0 + 200 * LOOK_SHARE + 3.0 + REPORT_SECONDS)


def test_what_a_tracker_is_behind_with_it_makes_up_for_until_the_end(time: Time) -> None:
    end = ending(200.0, tracker=SlowTracker(time, 3.0, behind=4.0), ensemble=1)
    end.note(ABOUT, trials(1))
    assert end.clock.writing == pytest.approx(3.0 + REPORT_SECONDS), "there is time enough for it"
    time.passes(198.0)
    end.note(ABOUT, trials(1))
    assert end.clock.writing == pytest.approx(3.0 + 3.0 + REPORT_SECONDS), "one second of it in the two that are left"


def test_a_few_seconds_are_not_all_kept_for_writing(time: Time) -> None:
    end = ending(5.0, tracker=SlowTracker(time, 30.0), ensemble=1)
    end.note(ABOUT, trials(1, refit=0.0))
    assert end.clock.writing == pytest.approx(5.0 * WRITING_SHARE) and (end.clock.left or 0.0) > 2.5


def test_predictions_are_looked_at_in_what_is_left_before_the_writing(time: Time) -> None:
    end = ending(100.0, tracker=SlowTracker(time, 4.0 - REPORT_SECONDS))
    end.reserve()
    time.passes(94.0)
    assert end.review.seconds_to_look == pytest.approx(2.0)
    time.passes(10.0)
    assert end.review.seconds_to_look == pytest.approx(0.5), "a little, however late it is"


# -- what is left out -----------------------------------------------------------------------------------------


def fitted(
    time: Time,
    *,
    timeout: float | None,
    begins: float | None,
    alone: float = 1.0,
    count: int = 6,
    family: SlowFamily | None = None,
    n_jobs: int = 1,
    interrupted: bool = False,
) -> Sequence[int]:
    """The members of a final model that is begun so late; each is a hundred rounds of 0.04 s on all rows.

    None: when there is no more time for trials, and a little later.
    """
    family = family or SlowFamily(time, 0.04, alone=alone)
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    objective = gbtune.Objective(family, X[["bmi"]], y, space=SPACE, cv=4)
    end = ending(timeout, objective=objective, n_jobs=n_jobs)
    end.note(ABOUT, trials(count))
    if interrupted:
        end.clock.interrupt.set()
    time.passes((end.clock.left or 0.0) + 0.05 if begins is None else begins)
    for record in trials(count):
        end.study.add_trial(
            optuna.trial.create_trial(value=record.score, user_attrs={"gbtune:trial": record.to_json()})
        )
    end.study.set_user_attr("gbtune:study", ABOUT.to_json())
    end.fit(ABOUT, None)  # type: ignore[arg-type]  # a plan is for the error when nothing has completed
    return [member.number for member in end.members]


def test_with_time_all_members_are_fitted(time: Time) -> None:
    assert fitted(time, timeout=100.0, begins=60.0) == [0, 1, 2, 3, 4, 5]
    assert fitted(Time(), timeout=None, begins=60.0) == [0, 1, 2, 3, 4, 5]


def test_members_that_do_not_fit_into_the_time_are_left_out(time: Time) -> None:
    assert fitted(time, timeout=100.0, begins=85.0) == [0, 1, 2]
    assert time.now <= 100


def test_the_best_one_is_fitted_however_late_it_is_and_with_half_of_its_rounds_at_least(time: Time) -> None:
    family = SlowFamily(time, 0.04)
    with pytest.warns(gbtune.GbtuneWarning, match="trial 0 was fitted on all rows: its model has 50 of 100 rounds"):
        assert fitted(time, timeout=100.0, begins=120.0, family=family) == [0]
    assert family.fitted == [50]


def test_a_refit_that_takes_longer_than_thought_ends_with_the_time(time: Time) -> None:
    family = SlowFamily(time, 0.04, alone=5.0)
    with pytest.warns(gbtune.GbtuneWarning, match="its model has 75 of 100 rounds"):
        assert fitted(time, timeout=100.0, begins=85.1, family=family) == [0]
    assert family.fitted == [75] and time.now == pytest.approx(100.1), "a round later"


def test_a_small_model_is_not_cut_because_the_search_ended_an_instant_late(time: Time) -> None:
    family = SlowFamily(time, 1e-4)
    assert fitted(time, timeout=100.0, begins=100.2, family=family) == [0]
    assert family.fitted == [100] and time.now == pytest.approx(100.21)


def test_the_last_rounds_of_a_late_model_are_grown_where_they_take_an_instant(time: Time) -> None:
    family = SlowFamily(time, 0.0195)  # after half of a hundred rounds 0.975 s are left, of a hundred
    assert fitted(time, timeout=100.0, begins=120.0, family=family) == [0]
    assert family.fitted == [100] and time.now == pytest.approx(121.95)


def test_a_family_that_cannot_be_stopped_is_not_asked_to(time: Time) -> None:
    family = SlowFamily(time, 0.04, alone=5.0)
    family.capabilities = dataclasses.replace(family.capabilities, stoppable=False)  # type: ignore[misc]
    assert fitted(time, timeout=100.0, begins=85.0, family=family) == [0]
    assert family.fitted == [100]


@pytest.mark.parametrize(("alone", "members"), [(0.5, [0, 1, 2, 3, 4, 5]), (1.0, [0, 1, 2]), (2.0, [0])])
def test_what_the_first_refit_took_says_how_many_more_there_is_time_for(
    time: Time, alone: float, members: list[int]
) -> None:
    assert fitted(time, timeout=100.0, begins=85.0, alone=alone) == members


def test_members_side_by_side_are_thought_to_take_a_little_longer(time: Time) -> None:
    end = ending(100.0)
    end.members = trials(4)
    assert end._may_go_on(trials(2)), "how many come first is decided before"
    end.clock.started -= 99.0 - 2 * 4.0 * SIDE_BY_SIDE  # the first took all but twice of that: pace is far above one
    assert not end._may_go_on(trials(2))
    end._began = end.clock.elapsed - 4.0  # they took what was thought
    assert end._may_go_on(trials(2)) and end._planned == pytest.approx(8.0)
    end.clock.started -= 4.0 * SIDE_BY_SIDE + 1e-3
    end._began, end._planned = end.clock.elapsed - 4.0, 4.0
    assert not end._may_go_on(trials(2))


def test_the_recipe_of_a_model_that_was_cut_has_the_rounds_that_it_has(time: Time) -> None:
    end = ending(100.0)
    time.passes(200.0)
    again = trial(0)
    end.members = [again, trial(1), again]
    assert end._is_enough(2, 60)
    assert end._fitted_with(2) == {**again.params, "n_estimators": 60}
    assert [end._fitted_with(position) for position in (0, 1)] == [each.all_params for each in end.members[:2]]


# -- what grows further ---------------------------------------------------------------------------------------


def still_falling(refit: float = 4.0) -> TrialRecord:
    """A trial that the plan ended after a hundred rounds."""
    rounds = tuple(range(1, 101))
    return dataclasses.replace(trial(0, refit=refit), curve_rounds=rounds, curve=tuple(100 - 0.4 * r for r in rounds))


def planned(time: Time, timeout: float, **arguments: Any) -> Ending:
    """The ending of a study whose space has 3000 rounds, and whose plan 100."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    objective = gbtune.Objective(SlowFamily(time, 0.04), X[["bmi"]], y, space=SPACE, cv=4)
    objective.limit(4, Rounds(100))
    end = ending(timeout, objective=objective, **{"n_jobs": 1, **arguments})
    end.most_rounds = 3000
    return end


def grown(end: Ending, time: Time, best: TrialRecord, begins: float, others: Sequence[TrialRecord] = ()) -> int:
    """The rounds of the model that is begun so late."""
    end.note(ABOUT, [best, *others])
    time.passes(begins)
    for record in (best, *others):
        attributes = {"gbtune:trial": record.to_json()}
        end.study.add_trial(optuna.trial.create_trial(value=record.score, user_attrs=attributes))
    end.study.set_user_attr("gbtune:study", ABOUT.to_json())
    end.fit(ABOUT, None)  # type: ignore[arg-type]
    return int(end.objective.family.fitted[0])  # type: ignore[attr-defined]


def test_a_model_whose_trial_the_plan_ended_has_up_to_half_of_the_time(time: Time) -> None:
    kept = []
    for timeout, best in ((100.0, still_falling()), (20.0, still_falling()), (100.0, trial(0))):
        end = planned(time, timeout)
        end.note(ABOUT, [best])
        assert end.clock.reserved == pytest.approx(4.0 + timeout * LOOK_SHARE), "what runs may use the rest"
        kept.append(4.0 + end.clock.growth)
    assert kept == pytest.approx([4 * 4.0, GROWTH_SHARE * 20.0, 4.0])


def test_no_trial_begins_in_the_time_of_a_model_that_grows(time: Time) -> None:
    end = planned(time, 100.0)
    end.note(ABOUT, [still_falling()])
    time.passes(100.0 - 1.0 - 4 * 4.0 - 1e-3)
    assert end.clock.has_time_for_a_trial
    time.passes(1.0)
    assert not end.clock.has_time_for_a_trial and end.clock.reason_to_stop() is None
    end.note(ABOUT, [dataclasses.replace(trial(1), score=1.0)])
    assert end.clock.has_time_for_a_trial, "another one is better, and it has all of its rounds"


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_so_many_models_grow_as_use_all_cores(time: Time, n_jobs: int) -> None:
    end = planned(time, 100.0, n_jobs=n_jobs)
    others = [
        dataclasses.replace(still_falling(), number=1, params={"split": 0.1}),
        dataclasses.replace(still_falling(), number=2, params={"split": 0.2}),
    ]
    assert grown(end, time, still_falling(), 10.0, others) == 400
    assert [member.number for member in end.members] == [0, 1][:n_jobs]
    assert end.objective.family.fitted == [400] * n_jobs  # type: ignore[attr-defined]
    once = 4.0 * (SIDE_BY_SIDE if n_jobs == 2 else 1.0)
    assert end.clock.growth == pytest.approx(3 * once)
    assert end.clock.reserved == pytest.approx(once + 100 * LOOK_SHARE), "of no model that is not fitted"
    final = FinalModel.from_json(end.study.user_attrs[FINAL_MODEL_KEY])
    assert final == FinalModel((0, 1)[:n_jobs], rounds=(400, 400)[:n_jobs]), "for none there was no time"


def test_no_time_is_kept_for_a_slow_model_beside_one_that_grows(time: Time) -> None:
    end = planned(time, 100.0, n_jobs=2)
    end.note(ABOUT, [still_falling(), dataclasses.replace(trial(1, refit=40.0), score=60.1)])
    assert [member.number for member in end.members] == [0, 1]
    assert end.clock.reserved == pytest.approx(4.0 + 100 * LOOK_SHARE) and end.clock.growth == pytest.approx(12.0)


def test_beside_a_model_that_grows_another_has_the_rounds_of_its_trial(time: Time) -> None:
    end = planned(time, 100.0, n_jobs=2)
    done = dataclasses.replace(trial(1), rounds=90)
    grown(end, time, still_falling(), 10.0, [done])
    assert sorted(end.objective.family.fitted) == [90, 400]  # type: ignore[attr-defined]
    assert [end._fitted_with(position)["n_estimators"] for position in (0, 1)] == [400, 90]


def test_a_scheduled_rate_grows_on_too_for_its_horizon_is_its_own(time: Time) -> None:
    best = still_falling()
    scheduled = dataclasses.replace(best, params={**best.params, "learning_rate_schedule": "cosine"})
    assert grown(planned(time, 100.0), time, scheduled, 10.0) == 400


def test_a_model_that_grew_and_was_cut_to_its_trials_rounds_has_these_in_its_recipe(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gbtune.final_model.sound_rounds", lambda family, model, data, rounds: (model, 100, True))
    end = planned(time, 100.0)
    with pytest.warns(gbtune.GbtuneWarning, match="keeps 100 of its 400 rounds"):
        assert grown(end, time, still_falling(), 10.0) == 400
    assert end._fitted_with(0)["n_estimators"] == 100


def test_a_study_without_a_timeout_is_the_same_every_time(time: Time) -> None:
    end = planned(time, 100.0)
    end.clock.timeout = None
    assert grown(end, time, still_falling(), 10.0) == 100


@pytest.mark.parametrize(("last", "rounds"), [(0.2, 100), (0.3, 200), (0.7, 200), (0.8, 400), (-0.1, 100)])
def test_the_steeper_the_curve_the_further_it_grows(time: Time, last: float, rounds: int) -> None:
    bend = dataclasses.replace(still_falling(), curve_rounds=(25, 50, 100), curve=(70.0, 69.0, 69.0 - last))
    assert grown(planned(time, 100.0), time, bend, 10.0) == rounds


@pytest.mark.parametrize(("begins", "rounds"), [(10.0, 400), (91.0, 200), (95.5, 100)])
def test_it_grows_while_there_is_time(time: Time, begins: float, rounds: int) -> None:
    end = planned(time, 100.0)
    assert grown(end, time, still_falling(), begins) == pytest.approx(rounds, abs=2)
    assert end._fitted_with(0)["n_estimators"] == end.objective.family.fitted[0]  # type: ignore[attr-defined]
    assert time.now <= 100.0


def test_what_was_not_ended_by_a_plan_keeps_its_rounds(time: Time) -> None:
    curve = still_falling()
    flat = dataclasses.replace(curve, curve=tuple(60 + 0.5**rounds for rounds in curve.curve_rounds))
    stopped = dataclasses.replace(curve, rounds=80)
    broken = dataclasses.replace(curve, curve=(*curve.curve[:-1], float("nan")))
    late = dataclasses.replace(curve, curve=tuple(60 - 1e-6 * max(0, r - 95) for r in curve.curve_rounds))
    for best in (flat, stopped, broken, late):
        assert grown(planned(Time(), 100.0), time, best, 0.0) == best.rounds
    without_a_plan = planned(time, 100.0)
    without_a_plan.most_rounds = 100
    assert grown(without_a_plan, time, curve, 0.0) == 100
    interrupted = planned(time, 100.0)
    interrupted.clock.interrupt.set()
    assert grown(interrupted, time, curve, 0.0) == 100


@pytest.mark.parametrize(("rounds", "found"), [(40, 160), (100, 100)])
def test_the_librarys_default_grows_on_where_the_plan_ended_it(time: Time, rounds: int, found: int) -> None:
    end = planned(time, 1000.0)
    end.objective.baseline_rounds = rounds
    grid = tuple(range(1, rounds + 1))
    default = dataclasses.replace(
        still_falling(), kind="baseline", rounds=rounds, curve_rounds=grid, curve=tuple(100 - 0.4 * r for r in grid)
    )
    assert grown(end, time, default, 0.0) == found


def test_on_a_hold_out_no_trial_is_begun_that_has_less_time_than_the_shortest(time: Time) -> None:
    end = planned(time, 100.0)
    end.note(ABOUT, trials(2))
    assert end.clock.shortest_trial == 0, "a pruner may end it after a fold"
    end.objective.limit(1, Rounds(100))
    end.note(ABOUT, [trial(2, refit=4.0), trial(3, refit=8.0), trial(4, refit=1.0, state="pruned")])
    assert end.clock.shortest_trial == pytest.approx(FASTER * 12.0)
    assert end.clock.has_time_for_a_trial
    time.passes(90.0)
    assert not end.clock.has_time_for_a_trial


@pytest.mark.parametrize(
    ("begins", "interrupted", "members", "threads"), [(20.0, False, 6, 1), (95.0, False, 1, 2), (20.0, True, 1, 2)]
)
def test_where_only_the_best_one_is_fitted_it_has_all_cores(
    time: Time, monkeypatch: pytest.MonkeyPatch, begins: float, interrupted: bool, members: int, threads: int
) -> None:
    monkeypatch.setattr("gbtune.ending.PARALLEL_REFIT_CELLS", 1)
    family = SlowFamily(time, 0.04)
    found = fitted(time, timeout=100.0, begins=begins, family=family, n_jobs=2, interrupted=interrupted)
    assert found == [*range(members)] and set(family.threads) == {threads}


def test_a_model_that_was_stopped_is_the_model_of_so_many_rounds(family_name: str) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    family, data = families.get(family_name), Dataset.from_arrays(X, y)
    arguments: dict[str, Any] = {"loss": "squared_error", "params": {"learning_rate": 0.2}, "seed": 0}
    asked: list[int] = []
    stopped = family.fit(data, rounds=20, enough=lambda grown: asked.append(grown) or grown >= 7, **arguments)
    whole = family.fit(data, rounds=7, **arguments)
    assert asked == [1, 2, 3, 4, 5, 6, 7] and stopped.n_estimators == whole.n_estimators == 7
    assert np.array_equal(stopped.predict(data.X), whole.predict(data.X))
    never = family.fit(data, rounds=7, enough=lambda _: False, **arguments)
    assert np.array_equal(never.predict(data.X), whole.predict(data.X)) and never.n_estimators == 7


# -- whole studies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.002, 0.02, 0.2])
@pytest.mark.parametrize("timeout", [5.0, 60.0])
def test_a_study_ends_in_its_time_or_a_round_later(time: Time, timeout: float, seconds: float) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    family, tracker = SlowFamily(time, seconds), SlowTracker(time, 0.1 * timeout)
    result = gbtune.tune(
        X[["bmi"]], y, family=family, space=SPACE, timeout=timeout, n_jobs=1, tracking=tracker, progress=False
    )
    assert time.now <= max(1.05 * timeout, timeout + seconds)
    assert time.now >= 0.5 * timeout, "the time is there to be used"
    assert len(family.fitted) == len(result.members) and tracker.outcomes


# -- the process that writes to MLflow ------------------------------------------------------------------------


def line_of(time: Time, **more: Any) -> Any:
    """A connection to a process that was started now, with nothing to hear."""
    line = tracking_line.Line.__new__(tracking_line.Line)
    vars(line).update(began=time.now, told_at=None, ready_at=None, broken=False, unwritten=0, pace=0.5)
    vars(line).update(imports=tracking_line.IMPORT_SECONDS, outbox=queue.SimpleQueue(), _hearing=threading.Lock())
    vars(line).update(more)
    line.hear = list  # type: ignore[method-assign]
    return line


@pytest.fixture
def process_time(monkeypatch: pytest.MonkeyPatch, time: Time) -> Time:
    monkeypatch.setattr(tracking_line, "time", types.SimpleNamespace(monotonic=lambda: time.now))
    return time


def test_a_process_that_is_not_ready_yet_has_its_imports_before_it(process_time: Time) -> None:
    tracker = ProcessTracker(MLflowTracker("sqlite:///unused.db"))
    nobody = tracker.ending_seconds
    assert tracker.backlog_seconds == 0
    line = tracker._line = line_of(process_time, end=lambda seconds: None)
    at_first = tracker.backlog_seconds
    process_time.passes(2.0)
    assert at_first == tracker.backlog_seconds + 2.0 > 2.0
    assert tracker.ending_seconds == tracking_line.LAST_SECONDS < nobody
    line.ready_at = process_time.now
    assert tracker.backlog_seconds == 0
    line.unwritten = 6
    assert tracker.backlog_seconds == 3.0, "trials that wait to be written"
    line.broken = True
    assert tracker.ending_seconds == nobody and tracker.backlog_seconds == 0, "then it is written from here"
    assert MLflowTracker("sqlite:///unused.db").ending_seconds > nobody - 1
    assert RecordingTracker().ending_seconds < 1


def test_a_process_that_takes_long_to_get_ready_is_given_longer_at_the_end_too(process_time: Time) -> None:
    tracker = ProcessTracker(MLflowTracker("sqlite:///unused.db"))
    line = tracker._line = line_of(process_time, end=lambda seconds: None)
    process_time.passes(30.0)
    assert tracker.ending_seconds == tracking_line.LAST_SECONDS, "nobody has told it of a study yet"
    line.told_at = process_time.now
    process_time.passes(6.0)
    assert line.slowness == 2.0, "eight seconds with its imports, where four are usual"
    assert tracker.ending_seconds == 2 * tracking_line.LAST_SECONDS and tracker.backlog_seconds == 4.0
    ready = process_time.now
    process_time.passes(60.0)
    sent = types.SimpleNamespace(closed=False, poll=iter([True, False]).__next__, recv=lambda: ("ready", ready))
    line.connection = sent
    assert tracking_line.Line.hear(line) == [("ready", ready)]
    assert line.slowness == 2.0, "as long as it took, not as late as it was heard"
    line.ready_at = None
    assert line.slowness == tracking_line.MOST_SLOWNESS, "a server that never answers is no busy machine"


def test_a_process_that_is_used_again_has_its_imports_behind_it(process_time: Time) -> None:
    tracker = ProcessTracker(MLflowTracker("sqlite:///unused.db"))
    line = tracker._line = line_of(process_time, end=lambda seconds: None)
    process_time.passes(30.0)
    line.begin_again(tracker.inner)
    assert line.outbox.get_nowait() == ("hold", None)
    assert tracker.backlog_seconds == tracking_line.FIRST_SECONDS - tracking_line.IMPORT_SECONDS
    line.told_at = process_time.now
    process_time.passes(2.0)
    assert line.slowness == 1.0 and line.getting_ready == 2.0
    process_time.passes(2.0)
    assert line.slowness == 2.0
