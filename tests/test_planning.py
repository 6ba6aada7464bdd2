"""The budget plan: what fits into the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import TimeSeriesSplit
from stub import SPACE, stub_objective

import gbtune
from gbtune import planning
from gbtune.narrowing import with_lowest_rate
from gbtune.planning import RATES, make_plan, probe, slowest_rate
from gbtune.rounds import Rounds
from gbtune.spaces import SearchSpace


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A machine on which a round takes as long as the list says."""
    seconds = [0.001]
    monkeypatch.setattr(planning, "probe", lambda *_: seconds[0])
    return seconds


def plan_for(
    timeout: float | None,
    *,
    n_jobs: int = 2,
    may_drop_folds: bool = True,
    cv: Any = 5,
    n_trials: int | None = None,
    space: SearchSpace | None = None,
) -> planning.Plan:
    objective = stub_objective(cv=cv)
    evaluator = objective.evaluator.limited(len(objective.evaluator.folds), Rounds(3000))
    return make_plan(
        evaluator,
        SearchSpace.load(SPACE) if space is None else space,
        timeout=timeout,
        n_jobs=n_jobs,
        may_drop_folds=may_drop_folds,
        seed=0,
        n_trials=n_trials,
    )


def test_without_a_deadline_nothing_is_given_up() -> None:
    plan = plan_for(None)
    assert (plan.n_folds, plan.rounds, plan.lowest_learning_rate, plan.reason) == (5, Rounds(3000), None, "")
    assert plan.seconds_per_round is None, "nothing was probed"


def test_with_ample_time_nothing_is_given_up(slow: list[float]) -> None:
    plan = plan_for(6000)
    assert plan.n_folds == 5 and plan.rounds.cap == 3000 and plan.lowest_learning_rate is None and plan.reason == ""


def test_slow_rates_are_given_up_first_then_folds_then_rounds(slow: list[float]) -> None:
    kept = []
    for slow[0] in (0.0002, 0.004, 0.015, 0.03, 0.1, 0.5):
        plan = plan_for(60)
        kept.append((plan.lowest_learning_rate or 0.01, plan.n_folds, plan.rounds.cap))
    rates, folds, caps = zip(*kept, strict=True)
    assert list(folds) == sorted(folds, reverse=True) and set(folds) == {5, 3, 1}
    assert rates[0] == 0.01 < rates[1] and folds[1] == 5, "slow rates before folds"
    assert list(caps) == sorted(caps, reverse=True) and caps[0] == 3000 and caps[-1] < 300


def test_where_ten_rounds_are_too_many_one_trial_gets_as_many_as_there_is_time_for(slow: list[float]) -> None:
    caps = []
    for slow[0] in (0.2, 1.0, 2.0, 10.0):
        plan = plan_for(15)
        assert plan.n_folds == 1
        caps.append(plan.rounds.cap)
    assert caps[0] >= planning.LEAST_ROUNDS > caps[1] > caps[2] > caps[3] == 1


def test_time_that_is_short_goes_into_fewer_trials_and_faster_rates_alike() -> None:
    """At a quarter of the rounds, half as many trials at twice the rate."""
    assert [slowest_rate(rounds, 0.001) for rounds in (16_000, 4_000, 1_000, 250)] == [0.0125, 0.025, 0.05, 0.1]


def test_no_more_trials_are_wanted_than_were_asked_for(slow: list[float]) -> None:
    slow[0] = 0.01
    one, many = plan_for(60, n_trials=2), plan_for(60)
    assert (one.lowest_learning_rate or 0.01) < (many.lowest_learning_rate or 0.01)


def test_a_floor_on_the_learning_rate_is_a_round_number_with_a_reason(slow: list[float]) -> None:
    slow[0] = 0.1
    plan = plan_for(60)
    assert plan.lowest_learning_rate in RATES
    assert "hold-out" in plan.reason and f"at most {plan.rounds.cap} rounds" in plan.reason
    assert f"learning rate at least {plan.lowest_learning_rate:g}" in plan.reason
    assert "100 ms a round" in plan.reason and "60 s" in plan.reason


def test_a_little_noise_of_the_probe_changes_no_floor(slow: list[float]) -> None:
    floors = set()
    for slow[0] in (0.0100, 0.0101, 0.0102):
        floors.add(plan_for(60).lowest_learning_rate)
    assert len(floors) == 1


def test_a_space_without_a_range_of_learning_rates_is_only_capped(slow: list[float]) -> None:
    slow[0] = 0.1
    plan = plan_for(60, space=SearchSpace.load(SPACE).fix(learning_rate=0.1))
    assert plan.rounds.cap < 3000 and f"at most {plan.rounds.cap} rounds" in plan.reason
    assert "learning rate" not in plan.reason


def test_the_floor_leaves_the_upper_third_of_a_range(slow: list[float]) -> None:
    slow[0] = 5.0
    space = SearchSpace.load(SPACE).override(learning_rate=(0.01, 0.12))
    assert plan_for(60, space=space).lowest_learning_rate == pytest.approx(0.08)


def test_where_there_is_no_race_folds_cost_more(slow: list[float]) -> None:
    slow[0] = 0.004
    raced, not_raced = plan_for(60, may_drop_folds=False), plan_for(60, may_drop_folds=False, cv=TimeSeriesSplit(5))
    assert (raced.lowest_learning_rate or 0) < (not_raced.lowest_learning_rate or 0)


def test_more_cores_keep_more(slow: list[float]) -> None:
    slow[0] = 0.02
    assert plan_for(60, n_jobs=8).n_folds > plan_for(60, n_jobs=1).n_folds


def test_folds_the_user_chose_are_never_dropped(slow: list[float]) -> None:
    slow[0] = 0.5
    plan = plan_for(60, may_drop_folds=False)
    assert plan.n_folds == 5 and plan.rounds.cap < 300


def test_slow_entries_of_a_portfolio_are_tried_at_the_floor_with_their_trees_as_they_are() -> None:
    X, y = load_diabetes(return_X_y=True)
    objective = gbtune.Objective("lightgbm", X, y, cv=5)
    before = [objective.space.project(entry.params) for entry in objective.space.portfolio]
    faster = with_lowest_rate(objective.space, 0.04)
    assert faster is not None
    after = [faster.project(entry.params) for entry in faster.portfolio]
    assert min(point["learning_rate"] for point in before) < 0.01
    assert after == [{**point, "learning_rate": max(0.04, point["learning_rate"])} for point in before]


def test_an_objective_keeps_to_its_limits() -> None:
    objective = stub_objective()
    before = objective.evaluator.prepared
    objective.limit(2, Rounds(40))
    assert len(objective.evaluator.folds) == 2 and objective.evaluator.prepared is before
    result = objective.evaluator.evaluate({"learning_rate": 0.1}, seed=0)
    assert len(result.fold_scores) == 2 and max(result.rounds_grown) <= 40


def test_a_floor_on_the_learning_rate_leaves_the_rates_above_it() -> None:
    faster = with_lowest_rate(SearchSpace.load(SPACE), 0.1)
    assert faster is not None
    distribution = faster.distributions(rounds=False)["learning_rate"]
    assert (distribution.low, distribution.high) == (0.1, 0.5)
    assert with_lowest_rate(faster, 0.1) is None, "it is there already"


def test_the_floor_of_a_stepped_learning_rate_is_a_step() -> None:
    space = SearchSpace.load(SPACE).override(
        learning_rate={"kind": "float", "low": 0.01, "high": 0.31, "step": 0.05, "default": 0.11}
    )
    faster = with_lowest_rate(space, 10 / 150)
    assert faster is not None
    assert faster.distributions(rounds=False)["learning_rate"].low == pytest.approx(0.11)


def test_the_probe_grows_a_few_rounds_of_one_fold() -> None:
    grown: list[int] = []
    objective = stub_objective(lambda params, fold: grown.append(fold))
    assert probe(objective.evaluator, 10.0, 0) >= 0
    assert grown == [0]


def test_of_folds_in_time_the_probe_takes_one_of_average_size() -> None:
    grown: list[int] = []
    objective = stub_objective(lambda params, fold: grown.append(fold), cv=TimeSeriesSplit(5))
    probe(objective.evaluator, 10.0, 0)
    assert grown == [2]


@pytest.mark.parametrize("how", [{}, {"n_trials": 6}])
def test_a_rate_that_the_time_does_not_allow_for_is_given_up_when_trials_show_it(
    how: dict[str, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty rounds at .01 come nowhere near the default's twenty at .3."""
    hasty = planning.Plan(3, Rounds(20), 0.01, 0.001, "at most 20 rounds")
    monkeypatch.setattr("gbtune.tuning.make_plan", lambda *_, **__: hasty)
    X, y = load_diabetes(return_X_y=True)
    space = SearchSpace.load("xgboost/core").override(learning_rate=(0.005, 0.6))
    limits = {"timeout": 4.0 if not how else 60.0, **how}
    result = gbtune.tune_xgb(X, y, space=space, tracking=False, n_jobs=1, **limits)
    trials = result.trials[result.trials["kind"] != "baseline"].sort_values("number")
    rates = trials["param_learning_rate"]
    said = "was still improving at its last round" in capsys.readouterr().err
    if how:  # a study with a number of trials is the same every time
        assert rates.min() < 0.02 and not said
    else:
        assert said and rates.iloc[0] == 0.01 and rates.iloc[1] >= 0.02
        assert rates.iloc[-1] > 0.05, "until a trial was ahead of the default, or at its early stop"
        assert result.gain is not None and result.gain > 0


def test_a_study_that_goes_on_says_that_its_plan_is_that_of_its_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hasty = planning.Plan(3, Rounds(20), 0.1, 0.001, "at most 20 rounds: 1 ms a round on one fold, 13 s")
    monkeypatch.setattr("gbtune.tuning.make_plan", lambda *_, **__: hasty)
    said = []
    for n_trials in (2, 3):
        storage = f"sqlite:///{tmp_path / 'kept.db'}"
        limits = {"n_trials": n_trials, "timeout": 600, "n_jobs": 1}
        gbtune.tune_xgb(*load_diabetes(return_X_y=True), storage=storage, study="kept", tracking=False, **limits)
        said.append(capsys.readouterr().err)
    assert "gbtune: to fit the time, at most 20 rounds" in said[0]
    assert "gbtune: to fit the time of its first run, at most 20 rounds" in said[1]


def test_a_model_whose_trial_the_plan_ended_has_more_rounds_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = planning.Plan(1, Rounds(10), 0.1, 0.001, "a hold-out, at most 10 rounds")
    monkeypatch.setattr("gbtune.tuning.make_plan", lambda *_, **__: hasty)
    monkeypatch.setattr("gbtune.ending.PARALLEL_REFIT_CELLS", 1)
    space = SearchSpace.load("xgboost/core").fix(learning_rate=0.3)
    limits = {"n_trials": 4, "timeout": 600, "n_jobs": 2}
    result = gbtune.tune_xgb(*load_digits(return_X_y=True), task="multiclass", space=space, tracking=False, **limits)
    best, rounds = result.best_trial, result.model.get_params()["n_estimators"]
    assert best.rounds == 10
    assert rounds == result.model.get_booster().num_boosted_rounds() == 20
    assert f"like trial {best.number} on all rows, with 20 rounds: it was still improving" in str(result)
    assert result.best_params["n_estimators"] == 10, "what was scored"
