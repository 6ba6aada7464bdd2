"""Warm starts: what was best earlier comes first, whoever kept it and however the study goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

import gbtune
from gbtune import warm_start
from gbtune.facts import read_records
from gbtune.records import TrialRecord
from gbtune.storage import journal
from gbtune.tracking.projection import project_study, project_trial

Frame = tuple[pd.DataFrame, pd.Series]
QUIET: dict[str, Any] = {"tracking": False, "progress": False}


def quick(family: str = "lightgbm", name: str = "core") -> gbtune.SearchSpace:
    """A shipped space whose trials are short: fast learning rates, at most forty rounds."""
    space = gbtune.SearchSpace.load(name, family=family)
    return space.override(learning_rate=(0.1, 0.3), n_estimators=(10, 40))


SPACE = quick()


def tuned(data: Frame, **arguments: Any) -> gbtune.TuningResult:
    family = arguments.pop("family", "lightgbm")
    return gbtune.tune(*data, **{"family": family, "space": quick(family), "cv": 3, **QUIET, **arguments})


def records(result: gbtune.TuningResult) -> list[TrialRecord]:
    return read_records(result.study)[1]


def started(result: gbtune.TuningResult) -> list[TrialRecord]:
    return [record for record in records(result) if record.kind == warm_start.KIND]


def outline(result: gbtune.TuningResult) -> list[tuple[Any, ...]]:
    """What must be equal for equal studies, slot by slot; trials that were cut off are left out."""
    kept = [r for r in records(result) if r.reason not in ("interrupt", "deadline", "killed")]
    kept.sort(key=lambda r: r.slot or 0)
    return [(r.slot, r.kind, r.state, dict(r.params), r.score, r.partial_score, r.rounds) for r in kept]


@pytest.fixture(scope="module")
def earlier() -> gbtune.TuningResult:
    """A study to start from; other trials than the portfolio's are among its best."""
    from sklearn.datasets import load_diabetes

    return tuned(load_diabetes(return_X_y=True, as_frame=True), n_trials=28, pruner=None)


# -- what comes first -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_the_best_come_first_and_score_exactly_what_they_scored(family: str, diabetes: Frame) -> None:
    first = tuned(diabetes, family=family, n_trials=12)
    second = tuned(diabetes, family=family, n_trials=9, warm_start=first)
    kinds = [record.kind for record in records(second)]
    assert kinds == ["baseline", *["warm_start"] * 5, *["portfolio"] * 3]
    best = sorted((r for r in records(first) if r.state == "complete"), key=lambda r: r.score or 0.0)
    best = [r for r in best if r.kind != "baseline"][:5]
    assert [r.params for r in started(second)] == [r.params for r in best]
    for then, now in zip(best, started(second), strict=True):
        assert now.state != "complete" or (now.score, now.rounds, now.fold_scores) == (
            then.score,
            then.rounds,
            then.fold_scores,
        )
    assert records(second)[1].score == first.best_score, "the very best is never pruned: nothing is there to race with"
    assert second.best_score <= first.best_score


def test_no_configuration_is_evaluated_twice(earlier: gbtune.TuningResult, diabetes: Frame) -> None:
    result = tuned(diabetes, n_trials=26, warm_start=[earlier, earlier, earlier.best_params])
    points = [tuple(trial.params.items()) for trial in result.study.trials[1:]]
    assert len(set(points)) == len(points)
    assert len(started(result)) == 10, "a study given twice offers its next five"


def test_where_a_trial_came_from_is_in_its_record_and_in_the_summary(
    earlier: gbtune.TuningResult, diabetes: Frame, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [{"max_depth": 3}, {"max_depth": 4, "subsample": 0.7}]
    result = tuned(diabetes, n_trials=9, warm_start=[*given, earlier], progress=True)
    first, second, third, *_ = started(result)
    assert first.provenance == "warm start: given parameters 1"
    assert second.params["max_depth"] == 4 and second.params["subsample"] == 0.7
    name, best = earlier.record.name, earlier.best_trial
    assert third.provenance == f"warm start: study {name!r} trial {best.number}, rmse {best.score:.3f}"
    words = f"2 of the given parameters, 5 of study {name!r}"
    assert f"gbtune: warm start: {words}" in capsys.readouterr().err
    assert f"warm start  {words}" in repr(result)
    assert set(result.trials["kind"]) == {"baseline", "warm_start", "portfolio"}


# -- projection -------------------------------------------------------------------------------------------------


def test_a_dict_moves_to_the_nearest_point_and_takes_the_spaces_defaults() -> None:
    (point,) = warm_start.points({"max_depth": 99, "learning_rate": 1e-4, "reg_alpha": 2.0, "n_estimators": 7}, SPACE)
    defaults = SPACE.defaults()
    assert point.params["max_depth"] == 12 and point.params["learning_rate"] == 0.1
    assert point.params["subsample"] == defaults["subsample"] and "n_estimators" not in point.params
    assert point.provenance == "warm start: given parameters; other in this space: max_depth, learning_rate, reg_alpha"


def test_no_limit_on_depth_is_not_the_lowest_depth() -> None:
    (point,) = warm_start.points({"max_depth": -1, "learning_rate": 0.2}, SPACE)
    assert point.params["max_depth"] == SPACE.defaults()["max_depth"]


def test_rounds_of_an_ordinary_kind_are_those_that_were_read_off(earlier: gbtune.TuningResult) -> None:
    kind = {"kind": "int", "low": 5, "high": 500, "default": 100}
    first = warm_start.points(earlier, SPACE.override(n_estimators=kind))[0]
    assert first.params["n_estimators"] == earlier.best_trial.rounds


def test_into_a_larger_space_what_was_not_set_keeps_the_librarys_default(diabetes: Frame) -> None:
    first = tuned(diabetes, family="xgboost", n_trials=5)
    wide = quick("xgboost", "wide").override(reg_lambda={"default": 7.0}, colsample_bylevel={"default": 0.6})
    point = warm_start.points(first, wide)[0]
    assert point.params["reg_lambda"] == 1.0 and point.params["colsample_bylevel"] == 0.6
    assert {name: point.params[name] for name in first.best_trial.sampled} == {
        name: first.best_params[name] for name in first.best_trial.sampled
    }


def test_points_that_become_alike_count_once(earlier: gbtune.TuningResult) -> None:
    narrow = SPACE.fix(max_depth=4, learning_rate=0.2, min_child_weight=1.0).override(
        subsample=(0.95, 1.0), colsample_bytree=(0.95, 1.0)
    )
    points = warm_start.points(earlier, narrow, best=20)
    assert 1 < len(points) < 20
    assert len({tuple(point.params.items()) for point in points}) == len(points)


# -- where earlier configurations are -----------------------------------------------------------------------------


def test_every_place_of_a_study_gives_the_same_points(
    diabetes: Frame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = tuned(diabetes, study="churn", n_trials=8)
    saved = result.save(tmp_path / "saved")
    url = f"sqlite:///{tmp_path}/kept.db"
    optuna.copy_study(
        from_study_name="churn", from_storage=journal("gbtune-studies/churn/study.journal"), to_storage=url
    )
    expected = [point.params for point in warm_start.points(result, SPACE)]
    assert len(expected) == 5
    folder = tmp_path / "gbtune-studies" / "churn"
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for place in (result.study, "churn", str(folder), folder, folder / "study.journal", saved, str(saved)):
        assert [point.params for point in warm_start.points(place, SPACE)] == expected, place
    assert [point.params for point in warm_start.points("churn", SPACE, storage=url)] == expected
    assert sorted(path.name for path in tmp_path.rglob("*") if "kept.db" not in path.name) == [
        name for name in before if "kept.db" not in name
    ], "reading leaves no file behind"
    named = tuned(diabetes, study="next", n_trials=3, warm_start="churn")
    assert named.best_score <= result.best_score


def test_a_registered_model_is_started_from_through_mlflow(
    diabetes: Frame, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    first = tuned(diabetes, n_trials=6, tracking=True, register="sugar")
    result = tuned(diabetes, n_trials=3, warm_start="models:/sugar@champion")
    (record,) = started(result)
    assert record.score == first.best_score == result.best_score
    assert record.provenance == f"warm start: model 'sugar' version 1, rmse {first.best_score:.3f}"
    study, trial = project_study(result.record), project_trial(result.record, record)
    assert study.tags["gbtune.warm_start"] == "1 of model 'sugar' version 1"
    assert trial.tags["gbtune.origin"] == "warm_start"
    assert trial.tags["gbtune.provenance"] == trial.tags["mlflow.note.content"] == record.provenance
    with pytest.raises(gbtune.GbtuneError, match=r"'xgboost'.* is of 'lightgbm'"):
        tuned(diabetes, family="xgboost", warm_start="models:/sugar/1")
    assert capfd.readouterr().err == "", "MLflow's progress bars are not shown"


def test_a_study_that_gbtune_did_not_run_gives_its_parameters(diabetes: Frame) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def of_ones_own(trial: optuna.Trial) -> float:
        return trial.suggest_int("max_depth", 1, 20) - 10 * trial.suggest_float("learning_rate", 0.01, 1.0, log=True)

    study.optimize(of_ones_own, n_trials=12)
    result = tuned(diabetes, n_trials=4, warm_start=study)
    first = started(result)[0]
    assert first.params["max_depth"] == min(12, study.best_params["max_depth"])
    assert f"trial {study.best_trial.number}, value" in first.provenance


def test_points_go_into_a_study_of_ones_own(earlier: gbtune.TuningResult, diabetes: Frame) -> None:
    objective = gbtune.Objective("lightgbm", *diabetes, space=SPACE, cv=3)
    study = optuna.create_study(direction=objective.direction, sampler=optuna.samplers.RandomSampler(seed=0))
    for point in warm_start.points(earlier, objective.space, best=2):
        study.enqueue_trial(point.params, user_attrs=point.user_attrs)
    study.optimize(objective, n_trials=3)
    kinds = [record.kind for record in read_records(study)[1]]
    assert kinds == ["warm_start", "warm_start", "sampled"]
    assert study.trials[0].value == earlier.best_score


def test_points_are_a_warm_start_themselves(earlier: gbtune.TuningResult, diabetes: Frame) -> None:
    points = warm_start.points(earlier, SPACE, best=7)
    result = tuned(diabetes, n_trials=9, warm_start=points)
    assert [r.provenance for r in started(result)] == [point.provenance for point in points]


# -- what is refused, what is said ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, "warm_start takes a TuningResult"),
        ("", "warm_start takes a TuningResult"),
        ([["churn"]], "warm_start takes a TuningResult"),
        ([None], "warm_start takes a TuningResult"),
        ("no such study", "no study 'no such study'"),
        (Path("nowhere"), "holds neither a study"),
        ("models:/", "'models:/<name>/<version>'"),
        ({"max_dept": 3}, "Did you mean 'max_depth'"),
        ({"max_depth": "deep"}, "must be a finite number"),
        ({"learning_rate": float("nan")}, "must be a finite number"),
        ({"num_leaves": 31}, "none of the parameters that lightgbm/core searches"),
        ({}, "none of the parameters"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_before_the_first_tree(
    given: Any, words: str, diabetes: Frame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gbtune.GbtuneError, match=words) as caught:
        tuned(diabetes, warm_start=given)
    assert isinstance(caught.value, ValueError)


def test_another_family_is_refused_and_a_dict_of_its_values_is_not(
    earlier: gbtune.TuningResult, diabetes: Frame
) -> None:
    with pytest.raises(gbtune.GbtuneError, match=r"'xgboost'.* is of 'lightgbm'.*as a dict"):
        tuned(diabetes, family="xgboost", warm_start=earlier)
    values = {"max_depth": earlier.best_params["max_depth"]}
    assert len(started(tuned(diabetes, family="xgboost", n_trials=2, warm_start=values))) == 1


def test_studies_without_a_best_trial_are_refused(diabetes: Frame) -> None:
    with pytest.raises(gbtune.GbtuneError, match="no complete trial"):
        tuned(diabetes, warm_start=optuna.create_study())
    with pytest.raises(gbtune.GbtuneError, match="2 values per trial"):
        tuned(diabetes, warm_start=optuna.create_study(directions=["minimize", "maximize"]))


def test_another_metric_and_other_data_are_starting_points_all_the_same(
    earlier: gbtune.TuningResult, breast_cancer: Frame, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tuned(breast_cancer, metric="roc_auc", n_trials=3, warm_start=earlier, progress=True)
    assert len(started(result)) == 2
    assert "was ranked by rmse, this study is by roc_auc" in capsys.readouterr().err


def test_a_study_of_the_default_alone_adds_nothing_and_says_so(
    diabetes: Frame, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tuned(diabetes, n_trials=1)
    result = tuned(diabetes, n_trials=3, warm_start=alone, progress=True)
    assert [record.kind for record in records(result)] == ["baseline", "portfolio", "portfolio"]
    assert "only the library's default completed" in capsys.readouterr().err


# -- the same study again -------------------------------------------------------------------------------------------


def test_the_study_is_the_same_for_every_number_of_cores_and_in_processes(
    earlier: gbtune.TuningResult, diabetes: Frame
) -> None:
    ways: list[dict[str, Any]] = [{"n_jobs": 1}, {"n_jobs": 2}, {"n_jobs": 2, "isolation": "process"}]
    one, two, apart = (outline(tuned(diabetes, n_trials=14, warm_start=earlier, **way)) for way in ways)
    assert one == two == apart


@pytest.mark.parametrize("stops", [(3, 11), (1, 7, 8)])
def test_a_study_in_parts_is_the_study_at_once_and_keeps_its_warm_start(
    stops: tuple[int, ...], earlier: gbtune.TuningResult, diabetes: Frame, tmp_path: Path
) -> None:
    whole = tuned(diabetes, n_trials=16, warm_start=earlier)
    kept: dict[str, Any] = {"study": "kept", "storage": tmp_path / "kept.journal"}
    for total in stops:
        tuned(diabetes, n_trials=total, warm_start=earlier, **kept)
    result = tuned(diabetes, n_trials=16, **kept)  # the study itself remembers
    assert outline(result) == outline(whole) and result.record.changes == ()


def test_more_warm_starts_come_next_in_a_study_that_goes_on(
    earlier: gbtune.TuningResult, diabetes: Frame, tmp_path: Path
) -> None:
    kept: dict[str, Any] = {"study": "kept", "storage": tmp_path / "kept.journal"}
    before = tuned(diabetes, n_trials=20, **kept)
    result = tuned(diabetes, n_trials=26, warm_start=[before, earlier.best_params], **kept)
    assert [r.kind for r in records(result)[20:]] == ["warm_start", *["sampled"] * 5], "its own best are known already"
    assert result.record.changes == ("after 20 trials: warm start with 1 more",)
    again = tuned(diabetes, n_trials=27, warm_start=[before, earlier.best_params, "kept"], **kept)
    assert len(started(again)) == 1 and again.record.changes == result.record.changes


def test_a_grid_visits_the_warm_start_and_each_other_cell_once(diabetes: Frame) -> None:
    space = gbtune.SearchSpace.load("lightgbm/grid-mini").override(n_estimators=(10, 40))
    cells = space.grid()
    between = {**cells[0], "learning_rate": 0.123}
    result = tuned(diabetes, space=space, sampler="grid", warm_start=[cells[7], between])
    kinds = [record.kind for record in records(result)]
    assert kinds == ["baseline", "warm_start", "warm_start", *["grid"] * (len(cells) - 1)]
    points = [tuple(trial.params.items()) for trial in result.study.trials[1:]]
    assert len(set(points)) == len(cells) + 1


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("pruner", ["median", None, optuna.pruners.SuccessiveHalvingPruner(min_resource=10)])
def test_every_sampler_and_pruner_starts_warm(
    sampler: str, pruner: Any, earlier: gbtune.TuningResult, diabetes: Frame
) -> None:
    result = tuned(diabetes, sampler=sampler, pruner=pruner, n_trials=8, warm_start=earlier)
    kinds = [record.kind for record in records(result)]
    assert kinds[:6] == ["baseline", *["warm_start"] * 5]
    assert result.best_score <= earlier.best_score or pruner is not None


def test_a_short_timeout_starts_warm_within_its_plan(earlier: gbtune.TuningResult, diabetes: Frame) -> None:
    result = tuned(
        diabetes, timeout=20, n_trials=4, cv=None, space=SPACE.override(n_estimators=(10, 3000)), warm_start=earlier
    )
    rate = result.record.space_definition["parameters"]["learning_rate"]["low"]
    assert started(result) and all(record.params["learning_rate"] >= rate for record in started(result))
