"""The budget plan: what fits into the time."""

from __future__ import annotations

import pytest
from stub import stub_objective

from gbtune import planning
from gbtune.evaluation import Rounds
from gbtune.planning import make_plan, probe


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A machine on which a round takes as long as the list says."""
    seconds = [0.001]
    monkeypatch.setattr(planning, "probe", lambda *_: seconds[0])
    return seconds


def plan_for(timeout: float | None, *, n_jobs: int = 2, may_drop_folds: bool = True, cv: int = 5) -> planning.Plan:
    evaluator = stub_objective(cv=cv).evaluator.limited(cv, Rounds(3000))
    return make_plan(evaluator, timeout=timeout, n_jobs=n_jobs, may_drop_folds=may_drop_folds, seed=0)


def test_without_a_deadline_nothing_is_given_up() -> None:
    plan = plan_for(None)
    assert (plan.n_folds, plan.rounds, plan.lowest_learning_rate, plan.reason) == (5, Rounds(3000), None, "")
    assert plan.seconds_per_round is None, "nothing was probed"


def test_small_data_keep_all_folds(slow: list[float]) -> None:
    plan = plan_for(60)
    assert plan.n_folds == 5 and plan.rounds.cap == 3000 and plan.reason == ""


def test_folds_are_dropped_first_then_rounds(slow: list[float]) -> None:
    kept = []
    for slow[0] in (0.001, 0.005, 0.015, 0.05, 0.5):
        plan = plan_for(60)
        kept.append((plan.n_folds, plan.rounds.cap))
    folds, caps = zip(*kept, strict=True)
    assert list(folds) == sorted(folds, reverse=True) and set(folds) == {5, 3, 1}
    assert list(caps) == sorted(caps, reverse=True) and caps[0] == 3000 and caps[-1] < 300


def test_a_round_cap_comes_with_a_floor_on_the_learning_rate_and_a_reason(slow: list[float]) -> None:
    slow[0] = 0.1
    plan = plan_for(60)
    assert plan.lowest_learning_rate == pytest.approx(10 / plan.rounds.cap)
    assert "hold-out" in plan.reason and f"at most {plan.rounds.cap} rounds" in plan.reason
    assert "100 ms a round" in plan.reason and "60 s" in plan.reason


def test_more_cores_keep_more(slow: list[float]) -> None:
    slow[0] = 0.02
    assert plan_for(60, n_jobs=8).n_folds > plan_for(60, n_jobs=1).n_folds


def test_folds_the_user_chose_are_never_dropped(slow: list[float]) -> None:
    slow[0] = 0.5
    plan = plan_for(60, may_drop_folds=False)
    assert plan.n_folds == 5 and plan.rounds.cap < 300


def test_an_objective_keeps_to_its_limits() -> None:
    objective = stub_objective()
    before = objective.evaluator.prepared
    objective.limit(2, Rounds(40), 0.1)
    assert len(objective.evaluator.folds) == 2 and objective.evaluator.prepared is before
    distribution = objective.space.distributions(rounds=False)["learning_rate"]
    assert (distribution.low, distribution.high) == (0.1, 0.5)
    result = objective.evaluator.evaluate({"learning_rate": 0.1}, seed=0)
    assert len(result.fold_scores) == 2 and max(result.rounds_grown) <= 40


def test_the_probe_grows_a_few_rounds_of_one_fold() -> None:
    grown: list[int] = []
    objective = stub_objective(lambda params, fold: grown.append(fold))
    assert probe(objective.evaluator, 10.0, 0) >= 0
    assert grown == [0]
