from __future__ import annotations

import dataclasses

import optuna
import pytest
from test_plots import new_study, study_by_hand

from gbtune.errors import InvalidArgument
from gbtune.facts import ReadStudy, best_record, collect_facts, parameter_importances, read_records
from gbtune.records import TRIAL_KEY, Direction, TrialRecord


def told(study: optuna.Study, record: TrialRecord, space: dict[str, optuna.distributions.BaseDistribution]) -> None:
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState[states[record.state]],
            value=record.score,
            params={name: record.params[name] for name in space},
            distributions=space,
            user_attrs={TRIAL_KEY: record.to_json()},
        )
    )


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_best_record_is_optunas_best_trial(direction: Direction):
    study = study_by_hand(40, direction)
    about, records = read_records(study)
    best = best_record(about, records)
    assert best is not None
    assert (best.number, best.score) == (study.best_trial.number, study.best_value)


def test_the_facts_of_a_study_are_counted_and_timed():
    facts = collect_facts(study_by_hand(40), warnings=("Something first.",), run_id="abc")
    assert dict(facts.counts) == {"complete": 19, "pruned": 20, "failed": 1}
    assert facts.seconds == 100.0
    assert facts.baseline is not None and facts.baseline.number == 0
    assert facts.gain is not None and facts.gain[0] > 0
    assert facts.best is not None and facts.best_params == facts.best.all_params
    assert facts.warnings == ("Something first.", "1 trial failed. The first error: ValueError: bad <bin>")
    assert facts.run_id == "abc"


def test_a_study_without_a_record_is_refused_with_what_to_do():
    with pytest.raises(InvalidArgument, match="Pass the study of a result"):
        collect_facts(optuna.create_study())


def test_running_and_waiting_trials_are_left_out():
    study = study_by_hand(5)
    study.enqueue_trial({"max_depth": 3})
    study.ask()
    study.enqueue_trial({"max_depth": 4})
    assert len(read_records(study)[1]) == 5


def test_optunas_state_wins_over_the_record_of_a_killed_worker():
    study = new_study()
    trial = study.ask()
    trial.set_user_attr(TRIAL_KEY, TrialRecord(0, "running", {"a": 1}, fold_scores=(0.4,)).to_json())
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    (record,) = read_records(study)[1]
    assert (record.state, record.params, record.fold_scores) == ("failed", {"a": 1}, (0.4,))
    assert collect_facts(study).warnings == ("No trial completed.", "1 trial failed.")


def test_a_trial_without_a_record_gets_one_from_optunas_data():
    study = new_study()
    trial = study.ask()
    trial.suggest_int("max_depth", 1, 9)
    study.tell(trial, 0.4)
    (record,) = read_records(study)[1]
    assert (record.state, record.score, record.sampled) == ("complete", 0.4, ("max_depth",))


def test_a_baseline_on_other_folds_gives_no_gain_instead_of_a_wrong_one():
    facts = collect_facts(study_by_hand(10))
    assert facts.baseline is not None
    cut = dataclasses.replace(facts.baseline, fold_scores=facts.baseline.fold_scores[:2])
    assert dataclasses.replace(facts, baseline=cut).gain is None


Float, Int = optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution


@pytest.mark.parametrize(
    ("distribution", "value", "words"),
    [
        (Float(0.01, 0.3, log=True), 0.3, "x = 0.3 lies on the upper edge"),
        (Float(0.01, 0.3, log=True), 0.0101, "lies on the lower edge"),
        (Float(0.01, 0.3, log=True), 0.28, None),
        (Int(2, 12), 12, "x = 12 lies on the upper edge"),
        (Int(2, 12), 11, None),
        (Int(8, 256, log=True), 8, "lower edge"),
        (Float(0.5, 1.0), 1.0, None),
        (Float(0.0, 10.0), 0.0, None),
        (Float(0.0, 10.0), 10.0, "upper edge"),
        (optuna.distributions.CategoricalDistribution([1, 2, 3]), 3, None),
        (Float(0.2, 0.2), 0.2, None),
    ],
)
def test_a_best_value_on_the_edge_of_its_range_is_pointed_out(distribution, value, words):
    study = new_study()
    told(study, TrialRecord(0, "complete", {"x": value}, sampled=("x",), score=0.4), {"x": distribution})
    warnings = collect_facts(study).warnings
    assert len(warnings) == (words is not None)
    assert words is None or words in warnings[0]


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, True),
        ({"rounds": 199}, False),
        ({"kind": "baseline"}, False),
        ({"rounds_grown": (200, 260)}, False),
        ({"sampled": ("n_estimators",), "params": {"n_estimators": 200}}, False),
    ],
)
def test_a_score_that_still_improves_at_the_last_round_is_pointed_out(changes, warned):
    study = new_study()
    record = TrialRecord(0, "complete", {}, score=0.4, rounds=200, rounds_grown=(200, 200))
    told(study, dataclasses.replace(record, **changes), {})
    assert any("still improving" in warning for warning in collect_facts(study).warnings) is warned


def test_importances_are_shares_the_largest_first_and_computed_once(monkeypatch):
    study = ReadStudy(study_by_hand(40))
    found, reason = parameter_importances(study)
    assert sum(found.values()) == pytest.approx(1) and reason == ""
    assert list(found.values()) == sorted(found.values(), reverse=True)
    monkeypatch.setattr(optuna.importance, "get_param_importances", None)  # a second time would fail
    assert parameter_importances(ReadStudy(study))[0] == collect_facts(study).importances == found


def test_importances_of_a_short_study_are_empty():
    assert collect_facts(study_by_hand(5)).importances == {}
