"""The family: four doors between gbtune and HistGradientBoosting."""

from __future__ import annotations

import functools
from itertools import islice
from typing import Any

import numpy as np

from gbtune.families.base import Capabilities, FoldFit, ModelFamily, Prepared, check_params, frozen

AHEAD = 10
"""Rounds trained in one call: the library bins the rows anew in each call, so they are not single."""


class HistGBFamily(ModelFamily):
    """scikit-learn's HistGradientBoostingClassifier and HistGradientBoostingRegressor."""

    name = "histgb"
    extra = "scikit-learn"
    default_space = "core"
    model_file = "model.joblib"
    capabilities = Capabilities(
        parameters=frozenset(
            "learning_rate max_leaf_nodes max_depth min_samples_leaf l2_regularization max_features max_bins".split()
        ),
        losses=frozenset({"log_loss_binary", "log_loss_multiclass", "squared_error", "poisson"}),
        resumable=True,
        sparse=False,
        categories=True,
        native_metrics=frozen({}),
    )
    default_params = frozen(
        {
            "learning_rate": 0.1,
            "max_leaf_nodes": 31,
            "min_samples_leaf": 20,
            "l2_regularization": 0.0,
            "max_features": 1.0,
            "max_bins": 255,
        }
    )
    default_rounds = 100

    def prepare(self, data, folds, loss, *, threads=1):
        """Return data and folds; the library bins for itself."""
        return HistGBPrepared(data, folds, loss, threads)

    def fit(self, data, params, rounds, seed, *, loss, threads=1, prepared=None):
        """Return the library's estimator, fitted on all rows."""
        with one_pool().limit(limits=threads, user_api="openmp"):
            return estimator(params, loss, seed, max_iter=rounds).fit(data.X, data.y, data.sample_weight)

    def save(self, estimator, path):
        """Write what joblib writes."""
        import joblib

        joblib.dump(estimator, path)

    def load(self, path, task):
        """Read what `save` wrote."""
        import joblib

        return joblib.load(path)


class HistGBPrepared(Prepared):
    """Data and folds. Nothing here changes, so threads can share it."""

    def __init__(self, data, folds, loss, threads):
        self.data, self.folds, self.loss, self.threads = data, folds, loss, threads

    def train_fold(self, params, fold, rounds, seed, on_round=None):
        """Grow a booster on one fold."""
        fit = HistGBFoldFit(self, fold, estimator(params, self.loss, seed, warm_start=True))
        fit.grow(rounds, on_round)
        return fit


class HistGBFoldFit(FoldFit):
    """An estimator that is fitted further and further."""

    def __init__(self, prepared, fold, model):
        data, (train, valid) = prepared.data, prepared.folds.splits[fold]
        weight = data.sample_weight
        self.model, self.loss, self.threads = model, prepared.loss, prepared.threads
        self.train = data.X.iloc[train], data.y[train], None if weight is None else weight[train]
        self.X, self.y, self.weight = data.X.iloc[valid], data.y[valid], None if weight is None else weight[valid]
        self.losses: list[float] = []
        self.ahead: list[Any] = []  # predictions of rounds that are trained and not asked for yet
        self.latest: Any = None

    @property
    def curve(self):
        """Validation loss after each round."""
        return np.asarray(self.losses)

    def grow(self, rounds, on_round=None):
        """Grow to `rounds` rounds in all, or until `on_round` says so."""
        while len(self.losses) < rounds:
            if not self.ahead:
                self.train_ahead()
            self.latest = self.ahead.pop(0)
            self.losses.append(validation_loss(self.loss, self.y, self.latest, self.weight))
            if on_round is not None and on_round(self):
                return

    def train_ahead(self):
        """Train the next rounds and keep what each of them predicts."""
        done = len(self.losses)
        with one_pool().limit(limits=self.threads, user_api="openmp"):
            self.model.set_params(max_iter=done + AHEAD).fit(*self.train)
            self.ahead = list(islice(stages(self.model, self.loss, self.X), done, None))

    def predict(self, rounds=None):
        """Predict the validation rows with the first rounds."""
        if rounds is None or rounds == len(self.losses):
            return self.latest
        with one_pool().limit(limits=self.threads, user_api="openmp"):
            return next(islice(stages(self.model, self.loss, self.X), rounds - 1, None))


@functools.cache
def one_pool():
    """Return the handle on the library's threads; finding them takes a while."""
    import sklearn.ensemble  # noqa: F401  - loads what is to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def estimator(params, loss, seed, **more):
    """Return an unfitted estimator; raise UnknownName for a parameter that the family does not declare."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    check_params(HistGBFamily, params)
    settings = {**params, "early_stopping": False, "random_state": seed, **more}
    if loss.startswith("log_loss"):
        return HistGradientBoostingClassifier(**settings)
    return HistGradientBoostingRegressor(loss=loss, **settings)


def stages(model, loss, X):
    """Yield predictions on the response scale after each round."""
    if not loss.startswith("log_loss"):
        return model.staged_predict(X)
    probabilities = model.staged_predict_proba(X)
    return (each[:, 1] for each in probabilities) if loss == "log_loss_binary" else probabilities


def validation_loss(loss, y, predicted, weight):
    """Return log loss, root mean squared error, or the Poisson loss without its constant."""
    if loss == "squared_error":
        return float(np.sqrt(np.average((y - predicted) ** 2, weights=weight)))
    if loss == "poisson":
        return float(np.average(predicted - y * np.log(predicted), weights=weight))
    if loss == "log_loss_binary":
        predicted = np.column_stack([1 - predicted, predicted])
    likelihood = predicted[np.arange(len(y)), y]
    return float(-np.average(np.log(np.maximum(likelihood, np.finfo(float).eps)), weights=weight))
