"""What the held-out predictions of the best trial show, and that they are really those."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import optuna
import pandas as pd
import pytest
from quick import quick_space
from sklearn.metrics import confusion_matrix, log_loss
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from test_cautions import facts

import gbtune
from gbtune.data import Dataset
from gbtune.diagnostics import (
    DIAGNOSTICS_KEY,
    MAX_CLASSES,
    MAX_RESIDUALS,
    MIN_SLICE,
    OTHER,
    Diagnostics,
    _confusion,
    diagnose,
    stored_diagnostics,
)
from gbtune.evaluation import Evaluator
from gbtune.held_out import BestHeldOut, HeldOut
from gbtune.metrics import METRICS, Metric, metric_named
from gbtune.records import Folds, TrialRecord
from gbtune.report_sections import slices
from gbtune.resampling import make_folds
from gbtune.review import Review
from gbtune.rounds import Rounds
from gbtune.seeds import seed as derive_seed
from gbtune.study import Clock
from gbtune.study_metrics import resolve_metrics

BEST = TrialRecord(3, "complete", {})
Data = tuple[pd.DataFrame, pd.Series]


def told(
    data: Dataset,
    predictions: np.ndarray,
    metric: str | Metric,
    importances: np.ndarray | None = None,
    cv: object = 4,
    seconds: float = 1000,
) -> Diagnostics:
    folds = cv if isinstance(cv, Folds) else make_folds(cv, data, seed=0)
    parts = tuple(predictions[valid] for _, valid in folds.splits)
    metric = metric_named(metric) if isinstance(metric, str) else metric
    return diagnose(BEST, HeldOut({}, 10, 0.1, parts), data, folds, metric, importances, seconds=seconds)


def evaluator_that_keeps(family: str, X: pd.DataFrame, y: pd.Series, metric: object = None) -> Evaluator:
    data = Dataset.from_arrays(X, y)
    folds = make_folds(3, data, seed=0)
    found = Evaluator(gbtune.families.get(family), data, folds, resolve_metrics(metric, data.task, {}), Rounds(60))
    found.held_out = BestHeldOut()
    return found


# -- the predictions that are kept ------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["folds", "rounds"])
def test_the_kept_predictions_are_those_of_boosters_of_the_common_round(family_name, schedule, wine: Data):
    tool = evaluator_that_keeps(family_name, *wine)
    params = {"learning_rate": 0.3, "max_depth": 3}
    result = tool.evaluate(params, seed=0, schedule=schedule)
    assert tool.held_out is not None
    kept = tool.held_out.of(params, result.rounds)
    assert kept is not None and kept.loss == result.score
    for fold, prediction in enumerate(kept.predictions):
        fit = tool.prepared.train_fold(params, fold, result.rounds, derive_seed(0, "booster", fold=fold))
        np.testing.assert_allclose(prediction, fit.predict(), rtol=1e-6, atol=1e-7)


def test_the_predictions_of_the_best_are_kept_and_results_do_not_change(breast_cancer: Data):
    keeping, plain = evaluator_that_keeps("xgboost", *breast_cancer), evaluator_that_keeps("xgboost", *breast_cancer)
    plain.held_out = None
    good, bad = {"learning_rate": 0.3, "max_depth": 3}, {"learning_rate": 0.01, "max_depth": 1}
    for params in (bad, good, bad):
        one, two = keeping.evaluate(params, seed=0), plain.evaluate(params, seed=0)
        assert (one.score, one.rounds, one.fold_scores, one.curve) == (
            two.score,
            two.rounds,
            two.fold_scores,
            two.curve,
        )
    assert keeping.held_out is not None and keeping.held_out.found is not None
    assert keeping.held_out.found.params == good


def test_a_pruned_evaluation_keeps_nothing(breast_cancer: Data):
    tool = evaluator_that_keeps("xgboost", *breast_cancer)
    assert tool.evaluate({"max_depth": 3}, seed=0, report=lambda *_: True).state == "pruned"
    assert tool.held_out is not None and tool.held_out.found is None


def test_predictions_that_cannot_be_made_cost_no_trial():
    def broken() -> list[np.ndarray]:
        raise MemoryError

    best = BestHeldOut()
    best.offer({}, 10, 0.5, broken)
    assert best.found is None


def test_predictions_keep_the_precision_of_their_family():
    """Of values near 1.7e9, such as seconds since 1970, float32 would keep multiples of 128."""
    best, seconds = BestHeldOut(), np.array([1.7e9 + 0.25])
    best.offer({}, 10, 0.5, lambda: [seconds])
    assert best.found is not None
    np.testing.assert_array_equal(best.found.predictions, [seconds])
    best.offer({}, 10, 0.4, lambda: [seconds.astype(np.float32)])
    assert best.found.predictions[0].dtype == np.float32, "no more memory than needed"


# -- what they show -----------------------------------------------------------------------------------------------


def test_the_confusion_matrix_is_that_of_scikit_learn(mixed: Data):
    data = Dataset.from_arrays(*mixed)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), data.n_rows)
    found = told(data, probabilities, "log_loss")
    assert found.classes == ("high", "low", "middle")
    np.testing.assert_array_equal(found.confusion, confusion_matrix(data.y, probabilities.argmax(axis=1)))
    assert found.score == pytest.approx(log_loss(data.y, probabilities), rel=1e-5)
    assert found.n_rows == data.n_rows and not found.residuals and not found.calibration


def test_of_many_classes_the_largest_are_shown_and_none_is_lost():
    random = np.random.default_rng(0)
    y = np.r_[np.arange(30).repeat(4), np.full(40, 29)]
    data = Dataset.from_arrays(random.normal(size=(len(y), 2)), y, task="multiclass")
    found = told(data, random.dirichlet(np.ones(30), len(y)), "log_loss")
    assert len(found.classes) == len(found.confusion) == MAX_CLASSES
    assert found.classes[-1] == OTHER and "29" in found.classes
    assert np.sum(found.confusion) == len(y)


def test_calibration_compares_predictions_with_what_came_true(breast_cancer: Data):
    data = Dataset.from_arrays(*breast_cancer)
    random = np.random.default_rng(0)
    found = told(data, np.clip(0.1 + 0.8 * data.y + random.normal(0, 0.05, data.n_rows), 0, 1), "log_loss")
    predicted, observed, rows = map(np.asarray, zip(*found.calibration, strict=True))
    assert rows.sum() == data.n_rows and (np.diff(predicted) >= 0).all()
    assert observed[0] == 0 and observed[-1] == 1
    assert found.score == pytest.approx(log_loss(data.y, np.clip(0.1 + 0.8 * data.y, 0, 1)), abs=0.03)


def test_residuals_are_values_less_predictions_and_only_a_few_are_stored():
    random = np.random.default_rng(0)
    X = random.normal(size=(3000, 2))
    y = 10 * X[:, 0] + random.normal(size=3000)
    found = told(Dataset.from_arrays(X, y), 10 * X[:, 0], "rmse")
    residuals = np.asarray(found.residuals)[:, 1]
    assert len(residuals) <= MAX_RESIDUALS and abs(residuals.std() - 1) < 0.1
    np.testing.assert_allclose(found.quantiles, np.quantile(y - 10 * X[:, 0], [0.05, 0.25, 0.5, 0.75, 0.95]), rtol=1e-4)
    assert found.explained == pytest.approx(0.99, abs=0.003)
    assert len(found.to_json()) < 20_000


def test_the_slice_where_the_predictions_are_wrong_comes_first():
    random = np.random.default_rng(0)
    town = random.choice(["York", "Bath", "Hull"], 600)
    y = random.normal(size=600)
    noise = np.where(town == "Hull", 3.0, 1.0) * random.normal(size=600)
    data = Dataset.from_arrays(pd.DataFrame({"town": town, "size": random.normal(size=600)}), y)
    found = told(data, y + noise, "rmse")
    worst, *others = found.worst_slices
    assert (worst.column, worst.where, worst.rows) == ("town", "Hull", int((town == "Hull").sum()))
    assert worst.score == pytest.approx(3, rel=0.1)
    assert all(each.score < 1.2 and 0.02 < each.error < 0.15 for each in others)
    assert worst.score - found.score > 2 * worst.error


def test_the_worst_slice_has_the_smallest_score_where_more_is_better():
    town = np.array(["York", "Hull", "Bath"]).repeat(40)
    y = np.tile([0, 1], 60)
    right = np.where(town == "Hull", 1 - y, y)
    found = told(Dataset.from_arrays(pd.DataFrame({"town": town}), y), 0.1 + 0.8 * right, "accuracy")
    worst = found.worst_slices[0]
    assert (worst.where, worst.score, worst.error) == ("Hull", 0, 0), "that no row is right is not left out"
    assert (found.slice_metric, found.slice_score) == ("accuracy", pytest.approx(2 / 3, rel=1e-5))


def test_the_error_of_a_slice_is_that_of_a_mean():
    random = np.random.default_rng(1)
    y = random.normal(size=2000)
    data = Dataset.from_arrays(pd.DataFrame({"half": ["a", "b"] * 1000}), y)
    found = told(data, y + random.normal(size=2000), "mse")
    expected = np.sqrt(2 / 1000)  # the standard deviation of a squared normal variable is sqrt(2)
    assert np.mean([each.error for each in found.worst_slices]) == pytest.approx(expected, rel=0.5)


def test_slices_too_small_to_say_anything_are_left_out():
    random = np.random.default_rng(0)
    rare = np.array(["common"] * 150 + ["other"] * 150 + ["rare"] * (MIN_SLICE - 1))
    y = random.normal(size=len(rare))
    found = told(Dataset.from_arrays(pd.DataFrame({"c": rare}), y), y + 1 + (rare == "rare") * 50, "rmse")
    assert {each.where for each in found.worst_slices} == {"common", "other"}
    assert found.n_slices == 2


PROFIT = Metric("profit", lambda y, prediction: float((y == prediction).sum()), "maximize", "labels")


@pytest.mark.parametrize(
    "metric", ["f1", "precision", "recall", "matthews_corrcoef", "average_precision", "roc_auc", PROFIT]
)
def test_a_metric_that_depends_on_the_share_of_classes_does_not_blame_slices_for_theirs(metric):
    random = np.random.default_rng(0)
    where = np.array(["never", "even"]).repeat([200, 400])
    y = np.where(where == "never", 0, np.arange(600) % 2)
    chances = np.where(where == "never", 0.05, np.clip(0.3 + 0.4 * y + random.normal(0, 0.15, 600), 0.01, 0.99))
    found = told(Dataset.from_arrays(pd.DataFrame({"where": where}), y), chances, metric)
    assert found.slice_metric == "log_loss"
    assert found.slice_score == pytest.approx(log_loss(y, chances), rel=1e-5)
    assert [each.where for each in found.worst_slices] == ["even", "never"]
    assert found.worst_slices[1].score == pytest.approx(-np.log(0.95), rel=1e-5)


def test_r2_does_not_blame_slices_for_their_small_spread():
    random = np.random.default_rng(0)
    size = np.array(["equal", "spread"]).repeat(300)
    y = 100 + np.where(size == "equal", 0.1, 10) * random.normal(size=600)
    error = np.where(size == "equal", 1, 3) * random.normal(size=600)
    found = told(Dataset.from_arrays(pd.DataFrame({"size": size}), y), y + error, "r2")
    assert found.slice_metric == "rmse"
    assert [each.where for each in found.worst_slices] == ["spread", "equal"]


def test_metrics_that_compare_slices_are_means_over_rows():
    """Of two halves with equally many rows, the score of all lies between theirs, and a mean is their mean."""
    random = np.random.default_rng(0)
    y, counts = random.integers(0, 2, 200), random.poisson(3, 200) + 1
    for metric in METRICS.values():
        if not metric.is_mean_over_rows:
            continue
        known = counts if metric.tasks == ("regression",) else y
        guess = random.random(200) * (6 if metric.tasks == ("regression",) else 1)
        halves = [metric.score(known[half::2], guess[half::2]) for half in (0, 1)]
        power = 2 if metric.name.startswith("rm") else 1
        assert metric.score(known, guess) ** power == pytest.approx(np.mean(np.power(halves, power))), metric.name
    assert METRICS["rmse"].is_mean_over_rows and not METRICS["median_absolute_error"].is_mean_over_rows
    assert not Metric("rmse", max, "minimize", "raw").is_mean_over_rows, "only the name is ours"


def test_important_numeric_columns_are_cut_into_bins_with_missing_values_apart(mixed: Data):
    data = Dataset.from_arrays(mixed[0][["age", "high"]], mixed[1])
    predictions = np.random.default_rng(0).dirichlet(np.ones(3), data.n_rows)
    found = told(data, predictions, "log_loss", np.array([0.3, 0.1])).worst_slices
    for column in ("age", "high"):
        assert sum(each.rows for each in found if each.column == column) == data.n_rows
    assert {each.where for each in found if each.column == "high"} == {"0", "1"}
    assert any(each.where == "missing" for each in found)
    assert not told(data, predictions, "log_loss").slices, "which are important is not known"


def test_weights_count(breast_cancer: Data):
    X, y = breast_cancer
    weight = np.random.default_rng(0).random(len(y))
    data = Dataset.from_arrays(X, y, sample_weight=weight)
    predictions = np.random.default_rng(1).random(len(y))
    found = told(data, predictions, "log_loss")
    assert found.score == pytest.approx(log_loss(y, predictions.astype(np.float32), sample_weight=weight), rel=1e-4)


def test_a_column_that_tells_the_answer_is_named(wine: Data):
    X, y = wine
    X = X.assign(leak=y.map({0: "red", 1: "green", 2: "blue"}))
    data = Dataset.from_arrays(X, y)
    perfect = np.full((len(y), 3), 0.001) + 0.997 * np.eye(3)[data.y]
    importances = (np.asarray(data.encoder.names) == "leak").astype(float)
    assert told(data, perfect, "log_loss", importances).telling == ("leak",)
    assert told(Dataset.from_arrays(*wine), perfect, "log_loss", importances[:-1]).telling == ()


def test_rows_of_no_fold_and_of_several_are_counted_as_predicted():
    y = np.arange(40.0)
    data = Dataset.from_arrays(np.c_[y], y)
    rows = np.arange(40)
    folds = Folds(((rows[10:], rows[:10]), (rows[10:], rows[5:15])), "two", 40)
    kept = HeldOut({}, 5, 1.0, (np.zeros(10, np.float32), np.zeros(10, np.float32)))
    assert diagnose(BEST, kept, data, folds, metric_named("mae")).n_rows == 20


def test_copies_of_rows_by_repeated_folds_are_no_evidence():
    """An honest column of different values: a tree could only know a row again that it was trained on."""
    random = np.random.default_rng(0)
    X, y = pd.DataFrame({"noise": random.normal(size=200)}), random.integers(0, 2, 200)
    data = Dataset.from_arrays(X, y)
    once = told(data, np.where(y, 0.99, 0.01), "log_loss", np.ones(1), cv=5)
    repeated = told(data, np.where(y, 0.99, 0.01), "log_loss", np.ones(1), cv=RepeatedKFold(n_splits=5, n_repeats=10))
    assert once.telling == repeated.telling == ()
    assert repeated.n_rows == 10 * once.n_rows
    assert sum(each.rows for each in repeated.worst_slices) == 200


def test_looking_for_telling_columns_is_silent_where_classes_are_rare_or_y_is_constant():
    """Warnings are errors here. These rows are held out, others were trained on."""
    X = pd.DataFrame({"a": np.arange(80.0)})
    cv, one = Folds(((np.arange(41, 80), np.arange(41)),), "one", 80), np.ones(1)
    rare = np.r_[np.arange(40) % 2, 2, np.arange(39) % 3]
    assert told(Dataset.from_arrays(X, rare), 0.001 + 0.997 * np.eye(3)[rare], "log_loss", one, cv).telling == ()
    each = np.r_[np.arange(41), np.arange(39)]
    many = Dataset.from_arrays(X, each, task="multiclass")
    assert told(many, 0.0001 + 0.9959 * np.eye(41)[each], "log_loss", one, cv).telling == ()
    equal = np.r_[np.ones(41, dtype=int), np.arange(39) % 2]
    assert told(Dataset.from_arrays(X, equal), equal.astype(float), "accuracy", one, cv).telling == ()


def test_of_thousands_of_classes_no_large_matrix_is_made():
    n_classes = 3000
    y = np.r_[np.arange(n_classes), np.zeros(50, dtype=int), np.ones(40, dtype=int)]
    predictions = np.zeros((len(y), n_classes), dtype=np.float32)
    predictions[np.arange(len(y)), np.where(y == 1, 0, y)] = 1
    tracemalloc.start()
    found = _confusion(y, predictions, list(range(n_classes)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * n_classes**2 / 10
    assert found["classes"][:2] == ("0", "1") and np.sum(found["confusion"]) == len(y)
    assert found["confusion"][0][0] == 51 and found["confusion"][1][0] == 41


def test_without_time_the_metric_is_computed_once_and_the_record_says_what_is_missing(breast_cancer: Data):
    calls = []

    def slow(y: np.ndarray, prediction: np.ndarray) -> float:
        calls.append(len(y))
        return float(np.mean((y - prediction) ** 2))

    data = Dataset.from_arrays(*breast_cancer)
    metric, chances = Metric("slow", slow, "minimize", "proba"), np.where(data.y, 0.999, 0.001)
    importances = np.ones(data.n_columns)
    late = told(data, chances, metric, importances, seconds=0)
    assert late.confusion and late.calibration and late.score is not None
    assert not late.slices and "No time was left" in late.unfinished
    assert calls == [data.n_rows]
    full = told(data, chances, metric, importances)
    assert full.slices and not full.unfinished
    assert calls == [data.n_rows] * 2, "slices are scored by log loss"


def test_the_report_says_by_what_slices_are_compared_and_what_was_left_out():
    known = Diagnostics(7, "binary", slices=(("town", "Hull", 80, 0.45, 0.02),), n_slices=9, slice_metric="log_loss",
                        slice_score=0.3, unfinished="No time was left.")  # fmt: skip
    found = slices(facts(metric="f1", direction="maximize", known=known))
    for words in ("log_loss by slice", "beyond noise", "+0.15", "f1 may differ between them", "No time was left."):
        assert words in found
    bare = slices(facts(known=dataclasses.replace(known, slices=())))
    assert "No time was left." in bare and "<table" not in bare


# -- in a study ---------------------------------------------------------------------------------------------------


def stored(result: gbtune.TuningResult) -> Diagnostics:
    found = stored_diagnostics(result.study)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def tuned(mixed: Data) -> gbtune.TuningResult:
    return gbtune.tune_lgbm(*mixed, n_trials=4, cv=3, tracking=False, progress=False)


def test_a_tuned_study_holds_the_diagnostics_of_its_best_trial(tuned, mixed: Data):
    found = stored(tuned)
    assert found.trial == tuned.best_trial.number and not found.missing
    assert found.score == pytest.approx(tuned.best_score, rel=0.02)
    assert np.sum(found.confusion) == found.n_rows == len(mixed[1])
    assert found.refit_seconds is not None and found.refit_seconds >= 0
    assert {each.column for each in found.worst_slices} & {"sex", "s5"}


def test_diagnostics_are_equal_for_every_number_of_cores_and_from_processes(tuned, mixed: Data):
    X, y = mixed
    side_by_side = gbtune.tune_lgbm(
        X, y, n_trials=4, cv=3, n_jobs=2, isolation="process", tracking=False, progress=False
    )
    assert stored(side_by_side).to_json().partition("refit")[0] == stored(tuned).to_json().partition("refit")[0]


def test_a_study_that_goes_on_without_a_better_trial_keeps_them(mixed: Data):
    study = optuna.create_study()
    settings = {"cv": 3, "study": study, "tracking": False, "progress": False}
    first = stored(gbtune.tune_lgbm(*mixed, n_trials=2, **settings))
    again = gbtune.tune_lgbm(*mixed, n_trials=2, **settings)
    assert stored(again).confusion == first.confusion


def test_predictions_of_an_earlier_run_are_made_again(mixed: Data):
    study = optuna.create_study()
    settings = {"cv": 3, "study": study, "tracking": False, "progress": False}
    first = stored(gbtune.tune_lgbm(*mixed, n_trials=2, **settings))
    study.set_user_attr("gbtune:diagnostics", Diagnostics(99, "multiclass").to_json())
    again = stored(gbtune.tune_lgbm(*mixed, n_trials=2, **settings))
    assert (again.trial, again.confusion, again.slices) == (first.trial, first.confusion, first.slices)


def test_where_no_time_is_left_the_study_says_why_there_are_none(mixed: Data, monkeypatch):
    study = optuna.create_study()
    settings = {"cv": 3, "study": study, "tracking": False, "progress": False}
    gbtune.tune_lgbm(*mixed, n_trials=2, **settings)
    study.set_user_attr("gbtune:diagnostics", Diagnostics(99, "multiclass").to_json())
    monkeypatch.setattr("gbtune.study.Clock.left", 0.0)
    found = stored(gbtune.tune_lgbm(*mixed, n_trials=2, **settings))
    assert "no time was left to evaluate it again" in found.missing and not found.confusion


def test_an_objective_in_someones_own_study_keeps_no_predictions(wine: Data):
    objective = gbtune.Objective("xgboost", *wine, cv=3)
    assert objective.evaluator.held_out is None


def test_the_memory_of_predictions_is_bounded_by_the_rows_held_out(wine: Data, monkeypatch):
    def keeps(cv: object) -> bool:
        objective = gbtune.Objective("lightgbm", *wine, cv=cv)
        Review(objective, optuna.create_study(), Clock(None)).keep_predictions()
        return objective.evaluator.held_out is not None

    monkeypatch.setattr("gbtune.review.MAX_MEGABYTES", 178 * 3 * 8 / 1e6)
    assert keeps(3)
    assert not keeps(RepeatedStratifiedKFold(n_splits=3, n_repeats=2))


def test_a_storage_that_fails_at_the_end_costs_no_model(wine: Data, monkeypatch):
    original = optuna.Study.set_user_attr

    def locked(self: optuna.Study, key: str, value: object) -> None:
        if key == DIAGNOSTICS_KEY:
            raise optuna.exceptions.StorageInternalError("database is locked")
        original(self, key, value)

    monkeypatch.setattr(optuna.Study, "set_user_attr", locked)
    with pytest.warns(gbtune.GbtuneWarning, match="database is locked"):
        result = gbtune.tune_lgbm(
            *wine, space=quick_space("lightgbm"), n_trials=1, cv=3, tracking=False, progress=False
        )
    assert len(result.predict(wine[0])) == len(wine[1])


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 5), (1000.0, 5), (6.0, 3), (1.0, 0.005)])
def test_diagnostics_take_what_is_left_before_the_writing(timeout, seconds, wine: Data, monkeypatch):
    monkeypatch.setattr(Clock, "elapsed", 2.0)
    clock = Clock(timeout)
    clock.writing = 1.0
    review = Review(gbtune.Objective("lightgbm", *wine, cv=3), optuna.create_study(), clock)
    assert review.seconds_to_look == seconds
