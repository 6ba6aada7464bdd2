"""The one line, end to end, without MLflow (tests/tracking and test_tune_mlflow.py have that)."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import scipy.sparse as sp
from quick import quick_space
from sklearn.model_selection import GroupKFold, TimeSeriesSplit

import gbtune
from gbtune.records import TrialRecord
from gbtune.testing.trackers import RecordingTracker

Frame = tuple[pd.DataFrame, pd.Series]
QUIET: dict[str, Any] = {"tracking": False, "progress": False}


def study_of(result: gbtune.TuningResult) -> list[tuple[Any, ...]]:
    """What must be equal for equal studies: parameters, states, rounds, values."""
    columns = ["state", "reason", "score", "partial_score", "rounds", "rounds_grown"]
    table = result.trials
    names = [*columns, *(name for name in table if name.startswith("param_"))]
    return [tuple(row) for row in table[names].astype(object).where(table[names].notna(), None).to_numpy()]


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_the_study_is_the_same_for_one_two_and_four_cores(family: str, cancer_means: Frame) -> None:
    # The portfolio has row sampling (subsample < 1) in most entries.
    results = [
        gbtune.tune(
            *cancer_means, family=family, space=quick_space(family), n_trials=24, n_jobs=n_jobs, seed=0, **QUIET
        )
        for n_jobs in (1, 2, 4)
    ]
    assert (results[0].trials["param_subsample"] < 1).sum() >= 3
    assert results[0].trials["state"].value_counts()[["complete", "pruned"]].min() >= 3
    assert study_of(results[0]) == study_of(results[1]) == study_of(results[2])
    X = cancer_means[0]
    np.testing.assert_array_equal(results[0].predict_proba(X), results[1].predict_proba(X))


def test_twice_the_same_with_the_same_seed_and_another_with_another(mixed: Frame) -> None:
    space = quick_space("lightgbm", "native")
    first, again, other = (gbtune.tune_lgbm(*mixed, space=space, n_trials=12, seed=seed, **QUIET) for seed in (0, 0, 1))
    assert study_of(first) == study_of(again) != study_of(other)
    assert (first.predict(mixed[0]) == again.predict(mixed[0])).all()


def test_without_a_seed_it_is_random_and_says_which_seed_it_drew(diabetes: Frame) -> None:
    result = gbtune.tune_xgb(*diabetes, space=quick_space("xgboost"), n_trials=3, seed=None, **QUIET)
    assert result.record.seed is None and result.record.study_seed > 0
    assert len(result.trials) == 3


def test_a_multiclass_frame_of_strings_categories_and_missing_values(family_name: str, mixed: Frame) -> None:
    X, y = mixed
    before = copy.deepcopy((X, y))
    result = gbtune.tune(X, y, family=family_name, space=quick_space(family_name), n_trials=5, **QUIET)
    pd.testing.assert_frame_equal(X, before[0])
    pd.testing.assert_series_equal(y, before[1])
    assert set(result.predict(X)) <= {"low", "middle", "high"}
    proba = result.predict_proba(X)
    assert proba.shape == (len(X), 3)
    assert (np.array(result.encoder.classes)[proba.argmax(axis=1)] == result.predict(X)).all()
    assert (result.predict(X) == y).mean() > 0.5
    shuffled = X[list(X.columns[::-1])].copy()
    shuffled["sex"] = shuffled["sex"].astype("object")
    np.testing.assert_array_equal(result.predict(shuffled), result.predict(X))
    unseen = X.copy()
    unseen["sex"] = "three"
    missing = X.copy()
    missing["sex"] = None
    np.testing.assert_array_equal(result.predict_proba(unseen), result.predict_proba(missing))
    with pytest.raises(gbtune.GbtuneError, match="'bmi'"):
        result.predict(X.drop(columns="bmi"))


@pytest.mark.parametrize("labels", [[True, False], ["yes", "no"], [7, 3]])
def test_labels_come_back_as_they_were_given(labels: list[Any], breast_cancer: Frame) -> None:
    X, y = breast_cancer
    given = np.array(labels)[y.to_numpy()]
    result = gbtune.tune_xgb(X, given, n_trials=1, **QUIET)
    assert set(result.predict(X).tolist()) == set(labels)
    assert (result.predict(X) == given).mean() > 0.95


def test_arrays_and_sparse_matrices_are_tuned_too(family_name: str, cancer_means: Frame) -> None:
    X, y = cancer_means[0].to_numpy(), cancer_means[1].to_numpy()
    arguments: dict[str, Any] = {"family": family_name, "space": quick_space(family_name), "n_trials": 2, **QUIET}
    dense = gbtune.tune(X, y, **arguments)
    assert dense.predict(X).shape == (569,)
    sparse = sp.csr_matrix(np.where(X.mean(axis=0) < X, X, 0))
    result = gbtune.tune(sparse, y, **arguments)
    assert (result.predict(sparse) == y).mean() > 0.9


def test_best_params_refit_with_the_librarys_own_class(family_name: str, cancer_means: Frame) -> None:
    import lightgbm
    import xgboost

    space = quick_space(family_name)
    result = gbtune.tune(*cancer_means, family=family_name, space=space, n_trials=6, ensemble=1, **QUIET)
    own = {"xgboost": xgboost.XGBClassifier, "lightgbm": lightgbm.LGBMClassifier}[family_name]
    assert isinstance(result.model, own)
    refit = own(**result.best_params).fit(result.encode(cancer_means[0]), cancer_means[1])
    assert refit.get_params()["n_estimators"] == result.best_trial.rounds
    assert result.best_score == result.study.best_value == pytest.approx(result.fold_scores.mean())
    assert set(result.study.best_params) < set(result.best_params)


def test_the_gain_is_paired_with_the_baseline_by_fold(diabetes: Frame) -> None:
    result = gbtune.tune_lgbm(*diabetes, n_trials=8, **QUIET)
    baseline = result.trials.iloc[0]
    assert baseline["kind"] == "baseline" and baseline["rounds"] == 100
    assert result.baseline_score == baseline["score"]
    assert result.gain == pytest.approx(result.baseline_score - result.best_score)
    assert result.gain_se is not None and result.gain_se > 0
    assert "paired by fold" in repr(result) and "<table>" in result._repr_html_()


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_a_grid_visits_each_cell_once_and_stops(family: str, diabetes: Frame) -> None:
    result = gbtune.tune(*diabetes, family=family, space="grid-mini", sampler="grid", cv=3, **QUIET)
    assert len(result.study.trials) == 13, "the baseline and twelve cells"
    cells = [tuple(sorted(trial.params.items())) for trial in result.study.trials[1:]]
    assert len(cells) == 12 == len(set(cells))


def test_a_space_without_a_finite_grid_is_refused_by_parameter(diabetes: Frame) -> None:
    space = gbtune.SearchSpace.load("xgboost/core").override(
        subsample={"kind": "float", "low": 0.5, "high": 1.0, "default": 1.0}
    )
    with pytest.raises(gbtune.GbtuneError, match="subsample"):
        gbtune.tune_xgb(*diabetes, space=space, sampler="grid", **QUIET)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", optuna.samplers.QMCSampler])
@pytest.mark.parametrize("pruner", ["race", "median", None, optuna.pruners.SuccessiveHalvingPruner])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_sampler_goes_with_every_pruner(sampler: Any, pruner: Any, cancer_means: Frame) -> None:
    chosen = sampler if isinstance(sampler, str) else sampler(seed=0)
    stopper = pruner if pruner is None or isinstance(pruner, str) else pruner(min_resource=10)
    result = gbtune.tune_xgb(
        *cancer_means, space=quick_space("xgboost"), sampler=chosen, pruner=stopper, n_trials=20, cv=4, seed=0, **QUIET
    )
    table = result.trials
    assert ((table["state"] == "pruned").sum() > 0) == (pruner is not None)
    # A value is what an unpruned evaluation of the same parameters gives.
    plain = gbtune.Objective("xgboost", *cancer_means, space=quick_space("xgboost"), cv=4)
    for record in [r for r in map(_record, result.study.trials) if r.state == "complete" and r.kind != "baseline"][:4]:
        assert plain.evaluator.evaluate(record.params, seed=0).score == record.score


def test_every_value_is_that_of_an_unpruned_evaluation(family_name: str, diabetes: Frame) -> None:
    X, y = diabetes[0].iloc[:150], diabetes[1].iloc[:150]  # so few rows that some rounds of LightGBM find no split
    result = gbtune.tune(X, y, family=family_name, space=quick_space(family_name), n_trials=25, cv=4, **QUIET)
    plain = gbtune.Objective(family_name, X, y, space=quick_space(family_name), cv=4).evaluator
    complete = [r for r in map(_record, result.study.trials) if r.state == "complete" and r.kind != "baseline"]
    assert len(complete) >= 5
    assert [plain.evaluate(record.params, seed=0).score for record in complete] == [r.score for r in complete]


def _record(trial: optuna.trial.FrozenTrial) -> TrialRecord:
    return TrialRecord.from_json(trial.user_attrs["gbtune:trial"])


def test_groups_stay_together_and_time_is_not_raced(cancer_means: Frame) -> None:
    X, y = cancer_means
    groups = np.arange(len(X)) // 10
    arguments: dict[str, Any] = {"space": quick_space("xgboost"), **QUIET}
    grouped = gbtune.tune_xgb(X, y, groups=groups, n_trials=2, **arguments)
    assert "group" in grouped.record.folds.lower()
    splitter = gbtune.tune_xgb(X, y, groups=groups, cv=GroupKFold(3), n_trials=2, **arguments)
    assert splitter.record.n_folds == 3
    time = gbtune.tune_xgb(X, y, cv=TimeSeriesSplit(4), n_trials=12, **arguments)
    assert time.record.pruner == "none" and (time.trials["state"] == "complete").all()


def test_a_hold_out_has_no_error_and_says_so(diabetes: Frame) -> None:
    result = gbtune.tune_xgb(*diabetes, cv=0.25, space=quick_space("xgboost"), n_trials=12, **QUIET)
    assert result.gain is not None and result.gain > 0
    assert result.record.n_folds == 1 and result.gain_se is None
    assert "noise cannot be told from gain" in repr(result)


def test_a_class_with_fewer_rows_than_folds_is_warned_about_and_learned(cancer_means: Frame) -> None:
    X, y = cancer_means
    rare = y.astype(str).to_numpy(dtype=object)
    rare[:2], rare[2] = "twice", "once"
    with pytest.warns(gbtune.GbtuneWarning, match="fewer than 5 rows"):
        result = gbtune.tune_lgbm(X, rare, space=quick_space("lightgbm", "native"), n_trials=3, **QUIET)
    assert {"once", "twice"} < set(result.encoder.classes)
    assert np.isfinite(result.best_score)


@pytest.mark.parametrize(
    ("task", "metric"),
    [("binary", "roc_auc"), ("binary", "f1"), ("binary", "average_precision"), ("regression", "mean_poisson_deviance")],
)
def test_metrics_of_all_kinds_are_optimised(family_name: str, task: str, metric: str, diabetes: Frame) -> None:
    X, y = diabetes
    target = y > 150 if task == "binary" else y
    name = {"mean_poisson_deviance": "neg_mean_poisson_deviance"}.get(metric, metric)
    space = quick_space(family_name)
    result = gbtune.tune(X, target, family=family_name, space=space, metric=[name], n_trials=5, cv=3, **QUIET)
    assert result.record.metric == metric and np.isfinite(result.best_score)
    assert result.gain is not None and result.gain >= 0, "the baseline is among the trials"
    if metric == "mean_poisson_deviance":
        assert (result.predict(X) > 0).all()


def test_the_tracker_is_told_everything_in_order(diabetes: Frame) -> None:
    tracker = RecordingTracker()
    result = gbtune.tune_xgb(*diabetes, n_trials=7, tracking=tracker, register="sugar", progress=False)
    (study,) = tracker.studies
    assert study.space == "xgboost/core" and study.n_rows == 442 and study.sampler == "tpe"
    assert [trial.number for trial in tracker.trials] == list(range(7))
    (outcome,) = tracker.outcomes
    assert outcome.state == "complete" and outcome.register == "sugar"
    assert outcome.best is not None and outcome.best.score == result.best_score
    assert outcome.model is not None and outcome.model.recipe["params"] == result.best_params
    assert outcome.report_html.lower().startswith("<!doctype html>")


def test_control_c_gives_the_result_of_what_there_is(diabetes: Frame) -> None:
    class Stopper(RecordingTracker):
        def trial_finished(self, trial: TrialRecord) -> None:
            super().trial_finished(trial)
            if trial.number == 3:
                os.kill(os.getpid(), signal.SIGINT)

    before, tracker = signal.getsignal(signal.SIGINT), Stopper()
    result = gbtune.tune_xgb(*diabetes, space=quick_space("xgboost"), n_trials=1000, tracking=tracker, progress=False)
    assert len(result.trials) < 100 and result.predict(diabetes[0]).shape == (442,)
    assert tracker.outcomes[0].state == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before


def test_control_c_before_anything_is_done_aborts_and_the_tracker_is_told(diabetes: Frame) -> None:
    class Stopper(RecordingTracker):
        def study_started(self, study: Any) -> None:
            super().study_started(study)
            os.kill(os.getpid(), signal.SIGINT)

    tracker = Stopper()
    with pytest.raises(KeyboardInterrupt):
        gbtune.tune_xgb(*diabetes, n_trials=5, tracking=tracker, progress=False)
    assert [outcome.state for outcome in tracker.outcomes] == ["interrupted"]


def test_a_tracker_that_breaks_at_the_end_costs_no_model(diabetes: Frame) -> None:
    class Broken(RecordingTracker):
        def study_finished(self, outcome: Any) -> Any:
            raise RuntimeError("disk full")

    with pytest.warns(gbtune.GbtuneWarning, match="disk full"):
        result = gbtune.tune_xgb(*diabetes, n_trials=2, tracking=Broken(), progress=False)
    assert result.predict(diabetes[0]).shape == (442,) and "disk full" in repr(result)


def test_a_baseline_outside_the_space_is_evaluated_as_it_is(diabetes: Frame) -> None:
    result = gbtune.tune_lgbm(*diabetes, space="core", n_trials=1, **QUIET)
    assert result.best_params["max_depth"] == -1 and result.best_params["num_leaves"] == 31
    # The sampler sees it at the nearest point that says something: the space's default depth.
    assert result.study.trials[0].params["max_depth"] == 6
    assert "edge of the space" not in repr(result)


def test_a_timeout_that_is_too_short_names_the_seconds_needed(diabetes: Frame) -> None:
    with pytest.raises(gbtune.GbtuneError, match=r"needs about \d+ s"):
        gbtune.tune_xgb(*diabetes, timeout=1e-3, **QUIET)


def test_it_works_outside_the_main_thread(diabetes: Frame) -> None:
    results, space = [], quick_space("xgboost")
    thread = threading.Thread(
        target=lambda: results.append(gbtune.tune_xgb(*diabetes, space=space, n_trials=2, **QUIET))
    )
    thread.start()
    thread.join()
    assert len(results) == 1


def test_a_study_of_the_callers_goes_on_and_refuses_other_data(diabetes: Frame, breast_cancer: Frame) -> None:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    arguments: dict[str, Any] = {"space": quick_space("xgboost"), "study": study, **QUIET}
    first = gbtune.tune_xgb(*diabetes, n_trials=4, **arguments)
    second = gbtune.tune_xgb(*diabetes, n_trials=7, **arguments)
    assert second.study is study and len(second.trials) == 7
    assert (second.trials["kind"] == "baseline").sum() == 1
    assert first.record.uid == second.record.uid
    # A deadline does not change the folds of a study that has begun.
    third = gbtune.tune_xgb(*diabetes, n_trials=9, timeout=30, **arguments)
    assert third.record.n_folds == 5 and third.record.folds_fingerprint == first.record.folds_fingerprint
    with pytest.raises(gbtune.GbtuneError, match="Did you mean 'tpe'"):
        gbtune.tune_xgb(*diabetes, sampler="tpee", **arguments)
    with pytest.raises(gbtune.GbtuneError, match=r"differs: data 442 rows.*Start a new one"):
        gbtune.tune_xgb(diabetes[0] * 2, diabetes[1], n_trials=9, **arguments)


def test_a_named_study_is_kept_in_its_storage(diabetes: Frame, tmp_path: Any) -> None:
    storage = f"sqlite:///{tmp_path}/studies.db"
    result = gbtune.tune_lgbm(*diabetes, study="sugar", storage=storage, n_trials=3, **QUIET)
    again = optuna.load_study(study_name="sugar", storage=storage)
    assert again.best_value == result.best_score and len(again.trials) == 3


def test_it_is_silent_without_progress_and_speaks_with_it(diabetes: Frame) -> None:
    script = """
import gbtune
from sklearn.datasets import load_diabetes
X, y = load_diabetes(return_X_y=True, as_frame=True)
space = gbtune.SearchSpace.load("xgboost/core").override(learning_rate=(0.1, 0.3), n_estimators=(10, 60))
gbtune.tune_xgb(X, y, space=space, n_trials=2, tracking=False, progress={progress})
"""
    silent, loud = (
        subprocess.run(
            [sys.executable, "-c", script.format(progress=progress)],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        for progress in (False, True)
    )
    assert silent.stdout == silent.stderr == ""
    assert loud.stdout == "" and "gbtune: xgboost/core" in loud.stderr and "442 rows x 10 columns" in loud.stderr


def test_a_saved_result_is_loaded_without_pickle(family_name: str, mixed: Frame, tmp_path: Any) -> None:
    X, y = mixed
    result = gbtune.tune(X, y, family=family_name, space=quick_space(family_name), n_trials=3, **QUIET)
    folder = result.save(tmp_path / "kept")
    assert not any(path.suffix in (".pkl", ".pickle", ".joblib") for path in folder.iterdir())
    loaded = gbtune.TuningResult.load(folder)
    np.testing.assert_array_equal(loaded.predict_proba(X), result.predict_proba(X))
    assert repr(loaded) == repr(result) and loaded.best_params == result.best_params
    with pytest.raises(gbtune.GbtuneError, match="empty folder"):
        result.save(folder)
    with pytest.raises(gbtune.GbtuneError, match=r"result\.json"):
        gbtune.TuningResult.load(tmp_path)


def test_probabilities_of_a_regression_are_refused(diabetes: Frame) -> None:
    result = gbtune.tune_xgb(*diabetes, n_trials=1, **QUIET)
    with pytest.raises(gbtune.GbtuneError, match="classification"):
        result.predict_proba(diabetes[0])


def test_more_cores_than_there_are_is_said_and_not_done(
    diabetes: Frame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gbtune.api.usable_cores", lambda: 2)
    result = gbtune.tune_lgbm(*diabetes, n_trials=2, n_jobs=16, tracking=False)
    assert result.record.n_jobs == 2
    assert "n_jobs=16, but 2 cores can be used" in capsys.readouterr().err
