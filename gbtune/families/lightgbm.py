"""LightGBM as a model family. The only file that imports lightgbm, inside functions."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

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
from gbtune.records import FloatArray, Folds

if TYPE_CHECKING:
    from gbtune.data import Dataset

_LOSSES: dict[str, dict[str, Any]] = {
    "log_loss_binary": {"objective": "binary", "metric": "binary_logloss"},
    "log_loss_multiclass": {"objective": "multiclass", "metric": "multi_logloss"},
    "squared_error": {"objective": "regression", "metric": "rmse"},
    "poisson": {"objective": "poisson", "metric": "poisson"},
}

# A constructed Dataset cannot change these: one Dataset per distinct set of them.
_DATA_PARAMS = ("max_bin", "min_data_in_bin")

# Parameters of LGBMClassifier (and further native ones it passes on) that shape the trees.
_TREE_PARAMS = frozenset(
    "num_leaves max_depth learning_rate min_child_samples min_child_weight min_split_gain subsample "
    "subsample_freq colsample_bytree feature_fraction_bynode reg_alpha reg_lambda extra_trees path_smooth "
    "max_bin min_data_in_bin cat_smooth cat_l2 min_data_per_group max_cat_to_onehot max_cat_threshold "
    "max_delta_step scale_pos_weight is_unbalance monotone_constraints interaction_constraints "
    "data_sample_strategy top_rate other_rate boost_from_average".split()
)
DEFAULT_RATE = 0.1
_QUIET = threading.local()


_ITERATIONS: weakref.WeakKeyDictionary[Any, list[int]] = weakref.WeakKeyDictionary()
"""Of fitted estimators with rounds that found no split, which LightGBM does not count: its iterations by rounds."""


class LightGBMFamily(ModelFamily):
    """LightGBM >= 4.7.

    One Dataset is binned per distinct (``max_bin``, ``min_data_in_bin``); folds are subsets of it, which copy
    bins. The cuts have seen the features, never the target, of the held-out rows.
    """

    name = "lightgbm"
    extra = "lightgbm"
    default_space = "diverse"
    model_file = "model.txt"
    capabilities = Capabilities(
        parameters=_TREE_PARAMS | schedules.PARAMETERS,
        losses=frozenset(_LOSSES),
        resumable=True,
        stoppable=True,
        binned_by=frozenset(_DATA_PARAMS),
        sparse=True,
        categories=True,
        # One byte; a sample of every column is collected to find the bins, 12 bytes each, partly used again.
        binning=BinningCosts(dense=1.1, missing=1.1, sparse=4.0, sampled=10, copied=0),
        native_metrics=frozen(
            {
                "binary_logloss": "log_loss",
                "multi_logloss": "log_loss",
                "rmse": "rmse",
                "l2": "neg_mean_squared_error",
                "l1": "neg_mean_absolute_error",
                "mae": "neg_mean_absolute_error",
                "auc": "roc_auc",
            }
        ),
    )
    default_params: ClassVar[Params] = frozen(
        {
            "num_leaves": 31,
            "max_depth": -1,
            "learning_rate": DEFAULT_RATE,
            "min_child_samples": 20,
            "min_child_weight": 1e-3,
            "subsample": 1.0,
            "subsample_freq": 0,
            "colsample_bytree": 1.0,
            "reg_alpha": 0.0,
            "reg_lambda": 0.0,
        }
    )

    def prepare(self, data: Dataset, folds: Folds, loss: str, *, threads: int = 1) -> LightGBMPrepared:
        """Return the prepared data of a study; see `ModelFamily.prepare`."""
        return LightGBMPrepared(data, folds, loss, threads)

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
        """Return a fitted ``LGBMClassifier`` or ``LGBMRegressor``; see `ModelFamily.fit`."""
        lgb = _lightgbm()
        native = _native_params(params, loss, data.n_classes, seed, threads)
        if not (isinstance(prepared, LightGBMPrepared) and prepared.data is data):
            prepared = LightGBMPrepared(data, Folds((), "none", data.n_rows), loss, threads)
        # Not lgb.train: the caller's autologging, if it is on, would make a run of it.
        booster, resets = lgb.Booster(native, prepared.full_dataset(native)), _resets(params)
        iterations = []
        for done in range(rounds):
            _reset_parameters(booster, resets, done)
            booster.update()
            iterations.append(booster.current_iteration())
            if enough is not None and enough(done + 1):
                rounds = done + 1
                break
        booster.model_from_string(booster.model_to_string())  # without what only training needs
        init, _ = self.estimator_arguments(params)
        estimator = (lgb.LGBMClassifier if data.n_classes else lgb.LGBMRegressor)(
            **init,
            n_estimators=rounds,
            objective=native["objective"],
            random_state=seed,
            n_jobs=threads,
            verbosity=-1,
        )
        if iterations and iterations[-1] != rounds:
            _ITERATIONS[estimator] = iterations
        return _fitted(estimator, booster, data.n_classes)

    def first_rounds(self, estimator: Any, rounds: int) -> Any:
        """Return an estimator of the first rounds; see `ModelFamily.first_rounds`."""
        known, whole = _ITERATIONS.get(estimator), estimator.booster_.current_iteration()
        iterations = known[rounds - 1] if known else rounds
        if not iterations or (known is None and whole != estimator.n_estimators):
            return None
        booster = _lightgbm().Booster(model_str=estimator.booster_.model_to_string(num_iteration=iterations))
        shorter = type(estimator)(**{**estimator.get_params(), "n_estimators": rounds})
        return _fitted(shorter, booster, getattr(estimator, "_n_classes", None) or 0)

    def estimator_arguments(self, params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the arguments of ``LGBMClassifier`` and of its ``fit``; see `ModelFamily.estimator_arguments`.

        A schedule is a ``reset_parameter`` among the ``callbacks`` of ``fit``: the class has no place for one.
        """
        check_params(LightGBMFamily, (name for name in params if name != "n_estimators"))
        init, schedule = schedules.split(params, DEFAULT_RATE)
        if schedule is None:
            return init, {}
        init["learning_rate"] = schedule.rate
        return init, {"callbacks": [_lightgbm().reset_parameter(**_resets(params))]}

    def save(self, estimator: Any, path: Path) -> None:
        """Write LightGBM's own text format."""
        estimator.booster_.save_model(str(path))

    def load(self, path: Path, task: str) -> Any:
        """Return an ``LGBMClassifier`` or ``LGBMRegressor`` that predicts as the saved one."""
        lgb = _lightgbm()
        booster = lgb.Booster(model_file=str(path))
        about = {"objective": booster.params["objective"], "n_estimators": booster.current_iteration(), "verbosity": -1}
        if task == "regression":
            return _fitted(lgb.LGBMRegressor(**about), booster, 0)
        return _fitted(lgb.LGBMClassifier(**about), booster, max(2, booster.num_model_per_iteration()))


class LightGBMPrepared(Prepared):
    """The binned Dataset of a study and its folds, shared by all trials."""

    def __init__(self, data: Dataset, folds: Folds, loss: str, threads: int) -> None:
        _lightgbm()  # a missing library is reported before the first trial
        self.data, self.folds, self.loss, self.threads = data, folds, loss, threads
        self._lock = threading.RLock()
        self._full: dict[tuple[Any, ...], Any] = {}
        self._pairs: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def with_folds(self, folds: Folds) -> LightGBMPrepared:
        """Return the same data, binned already, with other folds; see `Prepared.with_folds`."""
        other = copy.copy(self)
        other.folds, other._pairs = folds, {}
        return other

    def train_fold(
        self, params: Params, fold: int, rounds: int, seed: int, on_round: OnRound | None = None
    ) -> LightGBMFoldFit:
        """Grow a booster on one fold; see `Prepared.train_fold`."""
        native = _native_params(params, self.loss, self.data.n_classes, seed, self.threads)
        train, valid = self._datasets(native, fold)
        booster = _lightgbm().Booster(native, train)
        booster.add_valid(valid, "valid")
        fit = LightGBMFoldFit(booster, self, fold, _resets(params))
        fit.grow(rounds, on_round)
        return fit

    def full_dataset(self, native: dict[str, Any]) -> Any:
        """Return the constructed Dataset of all rows."""
        key = _data_key(native)
        with self._lock:
            if key not in self._full:
                construction = {
                    **{name: native[name] for name in _DATA_PARAMS if name in native},
                    # Otherwise a trial with a smaller min_child_samples than the first one is refused.
                    "feature_pre_filter": False,
                    "num_threads": self.threads,
                    "verbosity": -1,
                }
                self._full[key] = (
                    _lightgbm()
                    .Dataset(self.data.X, self.data.y, weight=self.data.sample_weight, params=construction)
                    .construct()
                )
            return self._full[key]

    def _datasets(self, native: dict[str, Any], fold: int) -> tuple[Any, Any]:
        key = (*_data_key(native), fold)
        with self._lock:
            if key not in self._pairs:
                full = self.full_dataset(native)
                train, valid = self.folds.splits[fold]
                self._pairs[key] = full.subset(train).construct(), full.subset(valid).construct()
            return self._pairs[key]


class LightGBMFoldFit(FoldFit):
    """One LightGBM booster growing on one fold.

    A round in which nothing can be split adds no tree; with row or column sampling the next round may well add one, and
    LightGBM's own training goes on too. So rounds are counted here, and the trees after each of them.
    """

    def __init__(
        self, booster: Any, prepared: LightGBMPrepared, fold: int, resets: Mapping[str, Callable[[int], Any]]
    ) -> None:
        self._booster, self._prepared, self._fold, self._resets = booster, prepared, fold, resets
        self._curve: list[float] = []
        self._trees: list[int] = []

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
        _be_quiet(self._prepared.threads)
        while self.rounds < rounds:
            _reset_parameters(self._booster, self._resets, self.rounds)
            nothing_to_split = self._booster.update()
            if nothing_to_split and self._curve:
                self._curve.append(self._curve[-1])
            else:
                self._curve.append(float(self._booster.eval_valid()[0].metric_value))
            self._trees.append(self._booster.current_iteration())
            if on_round is not None and on_round(self):
                return

    def predict(self, rounds: int | None = None) -> FloatArray:
        """Predict the validation rows; see `FoldFit.predict`."""
        if rounds is None or rounds == self.rounds:
            return self._current_prediction()
        X, rows = self._prepared.data.X, self._prepared.folds.splits[self._fold][1]
        held_out = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
        return probabilities(
            self._booster.predict(held_out, num_iteration=self._trees[rounds - 1], num_threads=self._prepared.threads)
        )

    def _current_prediction(self) -> FloatArray:
        # The booster keeps the validation rows' scores; a custom metric is the public way to see them.
        seen: list[FloatArray] = []

        def keep(prediction: FloatArray, _: Any) -> tuple[str, float, bool]:
            seen.append(np.array(prediction))
            return "seen", 0.0, False

        self._booster.eval_valid(keep)
        return probabilities(seen[0])


def _lightgbm() -> Any:
    return require("lightgbm", needed_for="Tuning LightGBM")


def _reset_parameters(booster: Any, resets: Mapping[str, Callable[[int], Any]], done: int) -> None:
    """Set what is another in the coming round: no more than LightGBM's own callback, for a reset draws columns."""
    values = {name: value(done) for name, value in resets.items()}
    changed = {name: value for name, value in values.items() if value != booster.params.get(name)}
    if changed:
        booster.reset_parameter(changed)


def _be_quiet(threads: int) -> None:
    """Set LightGBM's verbosity in this thread.

    It is kept by thread, and a booster sets it only where it is made: grown elsewhere, it would print a line for every
    tree that has nothing left to split. Whatever sets it sets the number of threads as well, for all boosters.
    """
    if not getattr(_QUIET, "done", False):
        _lightgbm().Dataset(np.zeros((2, 1)), params={"verbosity": -1, "num_threads": threads}).construct()
        _QUIET.done = True


def _native_params(params: Params, loss: str, n_classes: int, seed: int, threads: int) -> dict[str, Any]:
    check_params(LightGBMFamily, params)
    plain, schedule = schedules.split(params, DEFAULT_RATE)
    native = {
        **plain,
        **({} if schedule is None else {"learning_rate": schedule.rate}),
        **_LOSSES[loss],
        "num_threads": threads,
        "seed": seed,
        "deterministic": True,
        # LightGBM otherwise times both histogram layouts at the start and takes the faster one.
        "force_col_wise": True,
        "verbosity": -1,
    }
    if loss == "log_loss_multiclass":
        native["num_class"] = n_classes
    return native


def _resets(params: Params) -> dict[str, Callable[[int], Any]]:
    """Return the parameters that change from round to round, each as a function of the round."""
    schedule = schedules.split(params, DEFAULT_RATE)[1]
    if schedule is None:
        return {}
    # A reset begins the random thresholds of extra trees anew: with one seed all rounds would try the same ones.
    return {"learning_rate": schedule, **({"extra_seed": _extra_seed} if params.get("extra_trees") else {})}


def _extra_seed(round: int) -> int:
    """Return a seed far from those of the rounds before and after."""
    return (round + 1) * 2654435761 % 2**31


def _data_key(native: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(native.get(name) for name in _DATA_PARAMS)


def _fitted(estimator: Any, booster: Any, n_classes: int) -> Any:
    """Make `estimator` predict with `booster`.

    LightGBM has no public door from a booster to an estimator, so this sets what ``fit`` sets; a contract test
    compares the two, and would tell when a new LightGBM wants more.
    """
    estimator._Booster = booster
    estimator._n_features = estimator._n_features_in = booster.num_feature()
    estimator._evals_result, estimator._best_iteration, estimator._best_score = {}, None, {}
    # Without names of its own (sparse X), scikit-learn must not ask for them at predict time.
    estimator._fitted_with_feature_names = booster.feature_name()[0] != "Column_0"
    estimator.fitted_ = True
    booster.free_dataset()
    if n_classes:
        from sklearn.preprocessing import LabelEncoder

        estimator._le = LabelEncoder().fit(np.arange(n_classes))
        estimator._classes, estimator._n_classes = estimator._le.classes_, n_classes
        estimator._class_map = {code: code for code in range(n_classes)}
    return estimator
