"""Names, directions and values of the metrics."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from scipy.special import expit, softmax

from gbtune.data import Dataset
from gbtune.errors import GbtuneWarning, InvalidArgument, InvalidData, UnknownName
from gbtune.metrics import ALIASES, METRICS, Metric, metric_named
from gbtune.records import Folds
from gbtune.study_metrics import check_metric_fits_data, resolve_metrics, training_loss

RNG = np.random.default_rng(0)
N = 300
BINARY = RNG.integers(0, 2, N)
MULTI = RNG.integers(0, 4, N)
VALUES = RNG.gamma(2.0, 3.0, N)
PROBA = expit(RNG.normal(BINARY - 0.5))
PROBAS = softmax(RNG.normal(size=(N, 4)) + 2 * np.eye(4)[MULTI], axis=1)
PREDICTED = VALUES * RNG.uniform(0.5, 1.5, N)
WEIGHT = RNG.uniform(0.1, 3.0, N)
CASES = {
    "binary": (BINARY, PROBA),
    "multiclass": (MULTI, PROBAS),
    "regression": (VALUES, PREDICTED),
}


class Oracle:
    """A fitted model whose predictions are given, for scikit-learn's own scorers."""

    def __init__(self, task):
        self.task = task
        self._estimator_type = "regressor" if task == "regression" else "classifier"
        self.classes_ = np.arange(2 if task == "binary" else 4)

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        from sklearn.base import ClassifierMixin, RegressorMixin

        mixin = RegressorMixin if self.task == "regression" else ClassifierMixin

        class Tagged(mixin, sklearn.base.BaseEstimator):
            pass

        return Tagged().__sklearn_tags__()

    def predict(self, X):
        given = CASES[self.task][1]
        if self.task == "regression":
            return given
        return (given > 0.5).astype(int) if given.ndim == 1 else given.argmax(axis=1)

    def predict_proba(self, X):
        given = CASES[self.task][1]
        return given if given.ndim == 2 else np.column_stack([1 - given, given])


SCORERS = {ours: scorer for scorer, ours in ALIASES.items() if scorer.startswith("neg_")}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name, task", [(name, task) for name, metric in METRICS.items() for task in metric.tasks])
def test_every_metric_equals_the_scorer_of_scikit_learn(name, task, weighted):
    y, prediction = CASES[task]
    weight = WEIGHT if weighted else None
    scorer = sklearn.metrics.get_scorer(SCORERS.get(name, name))
    expected = scorer(Oracle(task), np.zeros((N, 1)), y, sample_weight=weight)
    score = METRICS[name].score(y, prediction, weight)
    assert score == pytest.approx(-expected if name in SCORERS else expected, rel=1e-12)
    assert (METRICS[name].direction == "minimize") == (name in SCORERS)


def test_loss_of_turns_the_sign_of_what_is_maximised():
    assert METRICS["r2"].loss_of(0.5) == -0.5
    assert METRICS["mae"].loss_of(0.5) == 0.5


# ---- equality with the boosters' own curves ----


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.loss])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_metric_with_a_loss_equals_the_native_metric_of_both_boosters(name, weighted):
    import lightgbm
    import xgboost

    native = {
        ("log_loss", "binary"): ("binary:logistic", "logloss", "binary", "binary_logloss"),
        ("log_loss", "multiclass"): ("multi:softprob", "mlogloss", "multiclass", "multi_logloss"),
        ("rmse", "regression"): ("reg:squarederror", "rmse", "regression", "rmse"),
    }
    X = np.random.default_rng(1).normal(size=(N, 3))
    weight = WEIGHT if weighted else None
    for task in METRICS[name].tasks:
        y = CASES[task][0]
        objective, native_name, lgb_objective, lgb_name = native[name, task]
        classes = {"num_class": 4} if task == "multiclass" else {}
        curve: dict = {}
        matrix = xgboost.QuantileDMatrix(X, y, weight=weight, nthread=1)
        params = {"objective": objective, "eval_metric": native_name, "nthread": 1, **classes}
        booster = xgboost.train(params, matrix, 20, evals=[(matrix, "v")], evals_result=curve, verbose_eval=False)
        assert METRICS[name].score(y, booster.predict(matrix), weight) == pytest.approx(
            curve["v"][native_name][-1], rel=1e-6
        )
        params = {"objective": lgb_objective, "metric": lgb_name, "verbosity": -1, "num_threads": 1, **classes}
        train_set = lightgbm.Dataset(X, y, weight=weight, params=params)
        model = lightgbm.train(params, train_set, 20, [train_set], ["v"], callbacks=[lightgbm.record_evaluation(curve)])
        assert METRICS[name].score(y, model.predict(X), weight) == pytest.approx(curve["v"][lgb_name][-1], rel=1e-6)


def test_only_log_loss_and_rmse_claim_to_be_a_training_loss():
    assert {name for name, metric in METRICS.items() if metric.loss} == {"log_loss", "rmse"}


# ---- folds that lack a class ----


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if "multiclass" in metric.tasks])
def test_a_fold_without_a_class_neither_fails_nor_warns(name):
    y = np.array([0, 1, 1, 3, 0, 3])
    proba = softmax(np.random.default_rng(2).normal(size=(6, 5)), axis=1)
    proba[0] = [0.05, 0.05, 0.8, 0.05, 0.05]  # predicts a class that no row has
    assert np.isfinite(METRICS[name].score(y, proba, np.arange(1.0, 7.0)))
    assert np.isfinite(METRICS[name].score(y[1:3] * np.array([1, 3]), proba[1:3]))


def test_one_against_rest_leaves_out_classes_without_rows():
    y = np.array([0, 1, 0, 3, 1, 3])
    proba = softmax(np.random.default_rng(3).normal(size=(6, 4)), axis=1)
    each = [sklearn.metrics.roc_auc_score(y == k, proba[:, k]) for k in (0, 1, 3)]
    assert METRICS["roc_auc_ovr"].score(y, proba) == pytest.approx(np.mean(each))
    two = y[y != 3]
    each = [sklearn.metrics.roc_auc_score(two == k, proba[y != 3][:, k]) for k in (0, 1)]
    assert METRICS["roc_auc_ovr"].score(two, proba[y != 3]) == pytest.approx(np.mean(each))


def test_binary_metrics_do_not_warn_without_a_positive():
    for name in ("log_loss", "accuracy", "f1", "precision", "recall", "brier_score", "balanced_accuracy"):
        assert np.isfinite(METRICS[name].score(np.zeros(4, dtype=int), np.array([0.1, 0.2, 0.3, 0.4])))


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_a_score_that_is_not_defined_is_an_error(name):
    with pytest.raises(InvalidArgument, match=f"'{name}' must be finite"):
        METRICS[name].score(np.zeros(3, dtype=int), np.array([0.1, 0.2, 0.3]))


def test_float32_probabilities_raise_no_warning():
    assert METRICS["log_loss"].score(MULTI, PROBAS.astype(np.float32)) == pytest.approx(
        METRICS["log_loss"].score(MULTI, PROBAS), rel=1e-5
    )


def test_predictions_outside_the_domain_count_as_its_edge():
    y = np.array([0.0, 1.0, 2.0])
    assert METRICS["rmsle"].score(y, np.array([-1.0, 1.0, 2.0])) == 0.0
    assert np.isfinite(METRICS["mean_poisson_deviance"].score(y, np.array([-1.0, 1.0, 0.0])))


# ---- names ----


@pytest.mark.parametrize(
    "given, task, expected",
    [
        (None, "binary", ["log_loss"]),
        (None, "multiclass", ["log_loss"]),
        (None, "regression", ["rmse"]),
        ("neg_log_loss", "binary", ["log_loss"]),
        ("neg_root_mean_squared_error", "regression", ["rmse"]),
        ("auc", "binary", ["roc_auc"]),
        (["f1", "accuracy"], "binary", ["f1", "accuracy"]),
        (("r2", METRICS["mae"]), "regression", ["r2", "mae"]),
    ],
)
def test_names_resolve(given, task, expected):
    assert [metric.name for metric in resolve_metrics(given, task, {"auc": "roc_auc"})] == expected


def test_every_alias_is_a_name_of_scikit_learn():
    for alias in ALIASES:
        assert alias in sklearn.metrics.get_scorer_names() or hasattr(sklearn.metrics, alias)


def test_an_unknown_name_says_the_nearest_and_the_way_out():
    with pytest.raises(UnknownName, match=r"Did you mean 'roc_auc'\?.*gbtune\.Metric"):
        resolve_metrics("roc_auk", "binary", {})


@pytest.mark.parametrize(
    "given, task, message",
    [
        ("f1", "multiclass", "Did you mean 'f1_macro'"),
        ("roc_auc", "multiclass", "Did you mean 'roc_auc_ovr'"),
        ("rmse", "binary", "is for regression; the task is binary.*log_loss"),
        ("log_loss", "regression", "Fitting: mae"),
        ([], "binary", "at least one"),
        (["rmse", "neg_root_mean_squared_error"], "regression", "given twice"),
        (3, "binary", "got int: 3"),
        (sklearn.metrics.f1_score, "binary", r"got a function, f1_score.*gbtune\.Metric\(name='f1_score'"),
        (sklearn.metrics.make_scorer(sklearn.metrics.fbeta_score, beta=2), "binary", "scorer, fbeta_score"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(given, task, message):
    with pytest.raises(InvalidArgument, match=message):
        resolve_metrics(given, task, {})


# ---- a user's metric ----


def cost(y_true, y_pred):
    return float((y_true != y_pred).sum())


def test_a_users_metric_gets_what_it_needs():
    assert Metric("cost", cost, "minimize", "labels").tasks == ("binary", "multiclass")
    seen = {}

    def remember(y_true, y_pred, sample_weight=None):
        seen["prediction"], seen["weight"] = y_pred, sample_weight
        return 0.0

    y, proba = np.array([0, 1]), np.array([0.5, 0.500001])
    Metric("m", remember, direction="minimize", needs="labels").score(y, proba, np.ones(2))
    assert seen["prediction"].tolist() == [0, 1]
    assert seen["weight"].tolist() == [1, 1]
    Metric("m", remember, direction="minimize", needs="labels").score(y, PROBAS[:2])
    assert seen["prediction"].tolist() == PROBAS[:2].argmax(axis=1).tolist()
    assert seen["weight"] is None
    Metric("m", remember, direction="minimize", needs="raw").score(y, proba)
    assert (seen["prediction"] == proba).all()


def test_a_function_without_weights_is_called_without_and_a_warning_says_so():
    metric = Metric("cost", cost, direction="minimize", needs="labels")
    assert metric.score(np.array([0, 1]), np.array([0.9, 0.9]), np.ones(2)) == 1.0
    weighted = Dataset.from_arrays([[1], [2]], [0, 1], sample_weight=[1, 2])
    with pytest.warns(GbtuneWarning, match="without the weights"):
        check_metric_fits_data(metric, weighted)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": ""}, "name must be"),
        ({"function": 3}, "function must be callable"),
        ({"direction": "up"}, "direction must be"),
        ({"needs": "probabilities"}, "needs must be"),
        ({"tasks": ("regression",)}, "tasks must be among"),
        ({"tasks": ("ranking",)}, "tasks must be among"),
    ],
)
def test_a_malformed_metric_is_refused(change, message):
    with pytest.raises(InvalidArgument, match=message):
        Metric(**{"name": "cost", "function": cost, "direction": "minimize", "needs": "labels", **change})


def test_a_score_that_is_no_number_or_of_other_length_is_an_error():
    nan = Metric("nan", lambda y_true, y_pred: float("nan"), direction="minimize", needs="raw")
    with pytest.raises(InvalidArgument, match="must be finite; it is nan on 2 rows"):
        nan.score(np.zeros(2), np.zeros(2))
    with pytest.raises(InvalidArgument, match="2 rows of y, 3 of prediction"):
        nan.score(np.zeros(2), np.zeros(3))


# ---- losses ----


def test_the_training_loss_follows_task_and_metric():
    assert training_loss("binary", METRICS["roc_auc"]) == "log_loss_binary"
    assert training_loss("multiclass", METRICS["accuracy"]) == "log_loss_multiclass"
    assert training_loss("regression", METRICS["mae"]) == "squared_error"
    assert training_loss("regression", metric_named("neg_mean_poisson_deviance")) == "poisson"


# ---- metrics that y does not allow ----


def values(y):
    return Dataset.from_arrays(np.arange(len(y)).reshape(-1, 1), y, task="regression")


@pytest.mark.parametrize(
    "name, y, message",
    [
        ("mean_poisson_deviance", [-1.0, 2.0, -3.0], "needs y >= 0; 2 of 3 values are below"),
        ("rmsle", [-1.0, 2.0, 3.0], "needs y >= 0; 1 of 3 values is below"),
        ("mape", [0.0, 2.0, 3.0], "divides by y"),
    ],
)
def test_a_metric_that_is_not_defined_on_y_is_refused(name, y, message):
    with pytest.raises(InvalidData, match=message):
        check_metric_fits_data(METRICS[name], values(y))
    check_metric_fits_data(METRICS[name], values([1.0, 2.0, 3.0]))
    check_metric_fits_data(METRICS["rmse"], values(y))


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_a_fold_on_which_the_metric_is_not_defined_is_refused_beforehand(name):
    data = Dataset.from_arrays(np.arange(6).reshape(-1, 1), ["n", "n", "n", "y", "n", "y"])
    positions = np.arange(6)
    bad = Folds(((positions[3:], positions[:3]),), "1 fold", 6)
    with pytest.raises(InvalidData, match=r"validation part of fold 0 \(3 rows\)"):
        check_metric_fits_data(METRICS[name], data, bad)
    check_metric_fits_data(METRICS[name], data, Folds(((positions[:2], positions[2:]),), "1 fold", 6))


def test_r2_needs_different_values_in_every_fold():
    single = Folds(((np.array([1, 2]), np.array([0])),), "1 fold", 3)
    with pytest.raises(InvalidData, match="'r2' needs different values"):
        check_metric_fits_data(METRICS["r2"], values([1.0, 2.0, 3.0]), single)


def test_poisson_needs_a_count_above_zero_in_every_training_part():
    empty = Folds(((np.array([0, 1]), np.array([2])),), "1 fold", 3)
    with pytest.raises(InvalidData, match="training part of fold 0; all are 0"):
        check_metric_fits_data(METRICS["mean_poisson_deviance"], values([0.0, 0.0, 3.0]), empty)
