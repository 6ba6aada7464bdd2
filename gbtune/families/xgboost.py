"""XGBoost as a model family. The only file that imports xgboost, inside functions."""

from __future__ import annotations

import copy
import dataclasses
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gbtune.errors import InvalidArgument
from gbtune.families import schedules
from gbtune.families.base import (
    BinningCosts,
    Capabilities,
    Enough,
    FoldFit,
    ModelFamily,
    OnRound,
    Params,
    Prepared,
    check_params,
    frozen,
    probabilities,
)
from gbtune.optional import require
from gbtune.records import FloatArray, Folds, IntArray

if TYPE_CHECKING:
    from gbtune.data import Dataset

DEFAULT_MAX_BIN = 256

_LOSSES: dict[str, dict[str, Any]] = {
    "log_loss_binary": {"objective": "binary:logistic", "eval_metric": "logloss"},
    "log_loss_multiclass": {"objective": "multi:softprob", "eval_metric": "mlogloss"},
    "squared_error": {"objective": "reg:squarederror", "eval_metric": "rmse"},
    "poisson": {"objective": "count:poisson", "eval_metric": "poisson-nloglik"},
}

# Parameters of XGBClassifier that shape the trees and work with the hist method. Objective, threads, seed
# and early stopping are the evaluator's business.
_TREE_PARAMS = frozenset(
    "max_depth max_leaves max_bin grow_policy learning_rate gamma min_child_weight max_delta_step subsample "
    "sampling_method colsample_bytree colsample_bylevel colsample_bynode reg_alpha reg_lambda "
    "scale_pos_weight base_score num_parallel_tree monotone_constraints interaction_constraints "
    "enable_categorical max_cat_to_onehot max_cat_threshold".split()
)
DEFAULT_RATE = 0.3


class XGBoostFamily(ModelFamily):
    """XGBoost >= 3.1 with the hist tree method.

    The feature matrix is quantised once per ``max_bin`` and ``enable_categorical``; the folds take the cuts of the
    full matrix (``ref=``), so a study builds 1 + 2k quantile matrices of each. The cuts are unweighted. They have
    seen the features, never the target, of the held-out rows.

    ``enable_categorical``, True where it is not given, has XGBoost's own name. False takes categories for numbers, the
    places of their levels in `gbtune.encoding.Encoder`: a split cuts their order in two instead of choosing among sets
    of levels. What that is worth where levels are many is in docs/first-trials.md.
    """

    name = "xgboost"
    extra = "xgboost"
    default_space = "core"
    model_file = "model.ubj"
    capabilities = Capabilities(
        parameters=_TREE_PARAMS | schedules.PARAMETERS,
        losses=frozenset(_LOSSES),
        resumable=True,
        stoppable=True,
        binned_by=frozenset({"max_bin", "enable_categorical"}),
        sparse=True,
        categories=True,
        # One byte per bin and a second matrix by columns; with missing values four bytes and two.
        binning=BinningCosts(dense=2.5, missing=5.0, sparse=5.0, sampled=0, copied=0.8),
        # Native aucpr is left out: it is not scikit-learn's average precision.
        native_metrics=frozen(
            {
                "logloss": "log_loss",
                "mlogloss": "log_loss",
                "rmse": "rmse",
                "mae": "neg_mean_absolute_error",
                "auc": "roc_auc",
            }
        ),
    )
    default_params: ClassVar[Params] = frozen(
        {
            "max_depth": 6,
            "min_child_weight": 1.0,
            "learning_rate": DEFAULT_RATE,
            "subsample": 1.0,
            "colsample_bytree": 1.0,
            "reg_lambda": 1.0,
            "reg_alpha": 0.0,
            "gamma": 0.0,
            "enable_categorical": True,
        }
    )

    def prepare(self, data: Dataset, folds: Folds, loss: str, *, threads: int = 1) -> XGBoostPrepared:
        """Return the prepared data of a study; see `ModelFamily.prepare`."""
        return XGBoostPrepared(data, folds, loss, threads)

    def fit(
        self,
        data: Dataset,
        params: Params,
        rounds: int,
        seed: int,
        *,
        loss: str,
        threads: int = 1,
        prepared: Prepared | None = None,
        enough: Enough | None = None,
    ) -> Any:
        """Return a fitted ``XGBClassifier`` or ``XGBRegressor``; see `ModelFamily.fit`."""
        xgb = _xgboost()
        native = _native_params(params, loss, data.n_classes, seed, threads)
        if not (isinstance(prepared, XGBoostPrepared) and prepared.data is data):
            prepared = XGBoostPrepared(data, Folds((), "none", data.n_rows), loss, threads)
        binning = _Binning.of(params, data)
        matrix = prepared.labelled_matrix(binning)
        init, _ = self.estimator_arguments(params)
        init |= {"enable_categorical": True, "feature_types": binning.feature_types(data.X)}
        # Not xgb.train: the caller's autologging, if it is on, would make a run of it.
        booster, rate = xgb.Booster(native, [matrix]), _Rate(params)
        for done in range(rounds):
            rate.set(booster, done)
            booster.update(matrix, done)
            if enough is not None and enough(done + 1):
                break
        estimator = _estimator_class(loss)(
            **init,
            n_estimators=booster.num_boosted_rounds(),
            objective=native["objective"],
            tree_method="hist",
            random_state=seed,
            seed_per_iteration=True,
            n_jobs=threads,
        )
        # The public door from a booster to an estimator: the file format, in memory.
        return _with_model(estimator, bytearray(booster.save_raw("ubj")))

    def first_rounds(self, estimator: Any, rounds: int) -> Any:
        """Return an estimator of the first rounds; see `ModelFamily.first_rounds`."""
        shorter = type(estimator)(**{**estimator.get_params(), "n_estimators": rounds})
        return _with_model(shorter, bytearray(estimator.get_booster()[:rounds].save_raw("ubj")))

    def estimator_arguments(self, params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the arguments of ``XGBClassifier`` and of its ``fit``; see `ModelFamily.estimator_arguments`.

        A schedule is a ``LearningRateScheduler`` among the ``callbacks``, so clones of the estimator keep it. With
        ``enable_categorical=False`` the class refuses columns of categories: give it their codes.
        """
        check_params(XGBoostFamily, (name for name in params if name != "n_estimators"))
        init, schedule = schedules.split(params, DEFAULT_RATE)
        if schedule is not None:
            init["learning_rate"] = schedule.rate
            # XGBoost sets the rate after a round, for the next one.
            init["callbacks"] = [_xgboost().callback.LearningRateScheduler(schedules.after_each_round(schedule))]
        return init, {}

    def save(self, estimator: Any, path: Path) -> None:
        """Write XGBoost's own binary JSON (.ubj)."""
        estimator.get_booster().save_model(str(path))

    def load(self, path: Path, task: str) -> Any:
        """Return an ``XGBClassifier`` or ``XGBRegressor`` that predicts as the saved one."""
        xgb = _xgboost()
        return _with_model((xgb.XGBRegressor if task == "regression" else xgb.XGBClassifier)(), str(path))


@dataclasses.dataclass(frozen=True)
class _Binning:
    """What decides how X is quantised: there is one matrix for each.

    Parameters
    ----------
    max_bin : int
        Bins of a column of numbers.
    as_numbers : bool
        Columns of categories are taken for numbers.
    """

    max_bin: int
    as_numbers: bool

    @classmethod
    def of(cls, params: Params, data: Dataset) -> _Binning:
        """Return the binning of data for these parameters."""
        as_sets = params.get("enable_categorical", True)
        if not isinstance(as_sets, bool | np.bool_):
            raise InvalidArgument(f"enable_categorical must be True or False, got {as_sets!r}.")
        return cls(params.get("max_bin", DEFAULT_MAX_BIN), bool(data.categorical) and not as_sets)

    def feature_types(self, X: Any) -> list[str] | None:
        """Return XGBoost's types of the columns; None: as they are."""
        return ["q"] * X.shape[1] if self.as_numbers else None


class XGBoostPrepared(Prepared):
    """Quantile matrices of a study, shared by all trials."""

    def __init__(self, data: Dataset, folds: Folds, loss: str, threads: int) -> None:
        _xgboost()  # a missing library is reported before the first trial
        self.data, self.folds, self.loss, self.threads = data, folds, loss, threads
        self._lock = threading.RLock()
        self._full: dict[_Binning, Any] = {}
        self._labelled: set[_Binning] = set()
        self._pairs: dict[tuple[_Binning, int], tuple[Any, Any]] = {}

    def with_folds(self, folds: Folds) -> XGBoostPrepared:
        """Return the same data, binned already, with other folds; see `Prepared.with_folds`."""
        other = copy.copy(self)
        other.folds, other._pairs = folds, {}
        return other

    def train_fold(
        self, params: Params, fold: int, rounds: int, seed: int, on_round: OnRound | None = None
    ) -> XGBoostFoldFit:
        """Grow a booster on one fold; see `Prepared.train_fold`."""
        native = _native_params(params, self.loss, self.data.n_classes, seed, self.threads)
        train, valid = self._matrices(_Binning.of(params, self.data), fold)
        fit = XGBoostFoldFit(_xgboost().Booster(native, [train, valid]), train, valid, _Rate(params))
        fit.grow(rounds, on_round)
        return fit

    def full_matrix(self, binning: _Binning) -> Any:
        """Return the quantile matrix of all rows, without labels and weights."""
        with self._lock:
            if binning not in self._full:
                self._full[binning] = _quantile_matrix(self.data.X, binning, self.threads)
            return self._full[binning]

    def labelled_matrix(self, binning: _Binning) -> Any:
        """Return the quantile matrix of all rows with labels and weights, for training on it."""
        with self._lock:  # several boosters may be fitted on it side by side
            matrix = self.full_matrix(binning)
            if binning not in self._labelled:
                matrix.set_label(self.data.y)
                if self.data.sample_weight is not None:
                    matrix.set_weight(self.data.sample_weight)
                self._labelled.add(binning)
            return matrix

    def _matrices(self, binning: _Binning, fold: int) -> tuple[Any, Any]:
        key = (binning, fold)
        with self._lock:
            if key not in self._pairs:
                full = self.full_matrix(binning)
                train, valid = self.folds.splits[fold]
                self._pairs[key] = self._subset(train, full, binning), self._subset(valid, full, binning)
            return self._pairs[key]

    def _subset(self, rows: IntArray, reference: Any, binning: _Binning) -> Any:
        weight = self.data.sample_weight
        return _quantile_matrix(
            _rows(self.data.X, rows),
            binning,
            self.threads,
            label=self.data.y[rows],
            weight=None if weight is None else weight[rows],
            ref=reference,
        )


class XGBoostFoldFit(FoldFit):
    """One XGBoost booster growing on one fold."""

    def __init__(self, booster: Any, train: Any, valid: Any, rate: _Rate) -> None:
        self._booster, self._train, self._valid, self._rate = booster, train, valid, rate
        self._curve: list[float] = []

    @property
    def curve(self) -> FloatArray:
        """Validation loss after each round."""
        return np.asarray(self._curve)

    @property
    def rounds(self) -> int:
        """Rounds grown so far."""
        return len(self._curve)

    @property
    def last_loss(self) -> float:
        """Validation loss after the latest round."""
        return self._curve[-1]

    def grow(self, rounds: int, on_round: OnRound | None = None) -> None:
        """Grow to `rounds` rounds; see `FoldFit.grow`."""
        for iteration in range(self.rounds, rounds):
            self._rate.set(self._booster, iteration)
            self._booster.update(self._train, iteration)
            # "[7]\tvalid-logloss:0.4918", in full precision
            self._curve.append(float(self._booster.eval_set([(self._valid, "valid")], iteration).rpartition(":")[2]))
            if on_round is not None and on_round(self):
                return

    def predict(self, rounds: int | None = None) -> FloatArray:
        """Predict the validation rows; see `FoldFit.predict`."""
        # Without a range XGBoost answers from the cache that evaluation keeps.
        span = {} if rounds is None or rounds == self.rounds else {"iteration_range": (0, rounds)}
        return probabilities(self._booster.predict(self._valid, **span))


class _Rate:
    """The learning rate of a booster, where it has a schedule."""

    def __init__(self, params: Params) -> None:
        self._schedule = schedules.split(params, DEFAULT_RATE)[1]
        self._now = None if self._schedule is None else self._schedule.rate

    def set(self, booster: Any, done: int) -> None:
        """Set that of the coming round, if it is another."""
        if self._schedule is not None and (rate := self._schedule(done)) != self._now:
            booster.set_param("learning_rate", rate)
            self._now = rate


def _xgboost() -> Any:
    return require("xgboost", pip="xgboost  # or xgboost-cpu, much smaller", needed_for="Tuning XGBoost")


def _estimator_class(loss: str) -> Any:
    xgb = _xgboost()
    return xgb.XGBClassifier if loss.startswith("log_loss") else xgb.XGBRegressor


def _with_model(estimator: Any, model: Any) -> Any:
    """Load a model into an estimator that is given the columns of categories, whatever the trees take them for."""
    estimator.load_model(model)  # sets enable_categorical by the trees
    estimator.enable_categorical = True  # set_params would hand all others to the booster once more
    return estimator


def _native_params(params: Params, loss: str, n_classes: int, seed: int, threads: int) -> dict[str, Any]:
    check_params(XGBoostFamily, params)
    native = {
        "max_bin": DEFAULT_MAX_BIN,
        **schedules.split(params, DEFAULT_RATE)[0],
        **_LOSSES[loss],
        "tree_method": "hist",
        "nthread": threads,
        "seed": seed,
        # Row sampling is tied to the thread that grows, not to the booster: without this, boosters that
        # grow in turns or move between threads draw other rows.
        "seed_per_iteration": True,
        "verbosity": 0,
    }
    native.pop("enable_categorical", None)  # a matter of the matrix: see _Binning
    if loss == "log_loss_multiclass":
        native["num_class"] = n_classes
    return native


def _quantile_matrix(X: Any, binning: _Binning, threads: int, **fields: Any) -> Any:
    return _xgboost().QuantileDMatrix(
        X,
        max_bin=binning.max_bin,
        nthread=threads,
        enable_categorical=True,
        feature_types=binning.feature_types(X),
        **fields,
    )


def _rows(X: Any, rows: IntArray) -> Any:
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]
