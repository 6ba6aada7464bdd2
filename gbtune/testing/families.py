"""Contract tests for model families, and a fake one that needs no booster."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gbtune.data import Dataset
from gbtune.errors import UnknownName
from gbtune.families.base import (
    Capabilities,
    FoldFit,
    ModelFamily,
    OnRound,
    Params,
    Prepared,
    check_params,
    frozen,
)
from gbtune.metrics import metric_named
from gbtune.records import FloatArray, Folds
from gbtune.resampling import make_folds

_TASK_OF = {
    "log_loss_binary": "binary",
    "log_loss_multiclass": "multiclass",
    "squared_error": "regression",
    "poisson": "regression",
}


class StubFamily(ModelFamily):
    """A fake family for regression: shrinks towards the means on both sides of one split. No library needed.

    Parameters
    ----------
    on_train : callable, optional
        Called with the parameters and the fold before a booster is set up; what it raises is a booster's failure.

    Examples
    --------
    >>> from gbtune.testing.families import StubFamily
    >>> StubFamily().name
    'stub'
    """

    name = "stub"
    extra = "stub"
    default_space = "core"
    model_file = "model.json"
    capabilities = Capabilities(
        parameters=frozenset({"learning_rate", "split"}),
        losses=frozenset({"squared_error"}),
        resumable=True,
        sparse=False,
        categories=False,
        native_metrics=frozen({"rmse": "rmse"}),
    )
    default_params: ClassVar[Params] = frozen({"learning_rate": 0.1, "split": 0.5})

    def __init__(self, on_train: Callable[[Params, int], None] = lambda params, fold: None) -> None:
        self.on_train = on_train

    def prepare(self, data: Dataset, folds: Folds, loss: str, *, threads: int = 1) -> _StubPrepared:
        """See `ModelFamily.prepare`."""
        return _StubPrepared(self, data, folds)

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
    ) -> StubModel:
        """See `ModelFamily.fit`."""
        return StubModel.fit(np.asarray(data.X, dtype=float)[:, 0], data.y, params, rounds)

    def save(self, estimator: Any, path: Path) -> None:
        """See `ModelFamily.save`."""
        path.write_text(json.dumps(vars(estimator)), encoding="utf-8")

    def load(self, path: Path, task: str) -> StubModel:
        """See `ModelFamily.load`."""
        return StubModel(**json.loads(path.read_text(encoding="utf-8")))


class StubModel:
    """What `StubFamily` fits: two means, reached at the learning rate."""

    def __init__(self, threshold: float, mean: float, low: float, high: float, rate: float, rounds: int) -> None:
        self.threshold, self.mean, self.low, self.high = threshold, mean, low, high
        self.rate, self.rounds = rate, rounds

    @classmethod
    def fit(cls, x: FloatArray, y: FloatArray, params: Params, rounds: int) -> StubModel:
        """Split at a quantile of x."""
        check_params(StubFamily, params)
        threshold = float(np.quantile(x, params.get("split", 0.5)))
        mean, below = float(y.mean()), x <= threshold
        low = float(y[below].mean()) if below.any() else mean
        high = float(y[~below].mean()) if (~below).any() else mean
        return cls(threshold, mean, low, high, float(params.get("learning_rate", 0.1)), rounds)

    def predict(self, X: Any) -> FloatArray:
        """Predict values."""
        values = np.asarray(X, dtype=float)
        x = values if values.ndim == 1 else values[:, 0]
        reached = 1 - (1 - self.rate) ** self.rounds
        return self.mean + reached * (np.where(x <= self.threshold, self.low, self.high) - self.mean)


class _StubPrepared(Prepared):
    def __init__(self, family: StubFamily, data: Dataset, folds: Folds) -> None:
        self.family, self.data, self.folds = family, data, folds
        self.x = np.asarray(data.X, dtype=float)[:, 0]

    def train_fold(self, params: Params, fold: int, rounds: int, seed: int, on_round: OnRound | None = None) -> FoldFit:
        self.family.on_train(params, fold)
        train, valid = self.folds.splits[fold]
        model = StubModel.fit(self.x[train], self.data.y[train], params, 0)
        fit = _StubFoldFit(model, self.x[valid], self.data.y[valid])
        fit.grow(rounds, on_round)
        return fit


class _StubFoldFit(FoldFit):
    def __init__(self, model: StubModel, x: FloatArray, y: FloatArray) -> None:
        self.model, self.x, self.y = model, x, y
        self._curve: list[float] = []

    @property
    def curve(self) -> FloatArray:
        return np.asarray(self._curve)

    def grow(self, rounds: int, on_round: OnRound | None = None) -> None:
        while len(self._curve) < rounds:
            error = self.y - self.predict(len(self._curve) + 1)
            self._curve.append(float(np.sqrt(np.mean(error**2))))
            if on_round is not None and on_round(self):
                return

    def predict(self, rounds: int | None = None) -> FloatArray:
        self.model.rounds = len(self._curve) if rounds is None else rounds
        return self.model.predict(self.x)


class FamilyContract:
    """What every model family must do. Subclass it, and override the fixture `family`.

    Examples
    --------
    ::

        class TestMyFamily(FamilyContract):
            @pytest.fixture
            def family(self):
                return MyFamily()

    Each test runs all losses the family declares.
    """

    rows: ClassVar[int] = 240
    params: ClassVar[Params] = {}
    """Parameters every test trains with, e.g. a small tree size."""

    def test_the_description_is_complete(self, family: ModelFamily) -> None:
        """Names, defaults and capabilities are declared."""
        assert family.name and family.extra and family.default_space and family.model_file
        assert family.capabilities.losses and family.capabilities.losses <= set(_TASK_OF)
        assert family.default_rounds >= 1
        for ours in family.capabilities.native_metrics.values():
            assert metric_named(ours).name

    def test_an_unknown_parameter_raises(self, family: ModelFamily) -> None:
        """Libraries ignore unknown names, a family does not."""
        for loss in sorted(family.capabilities.losses):
            prepared = family.prepare(self._data(loss), self._folds(loss), loss)
            try:
                prepared.train_fold({"learning_rat": 0.1}, 0, 1, 0)
            except UnknownName as error:
                assert "learning_rat" in str(error)
            else:
                raise AssertionError(f"{family.name} accepted the unknown parameter 'learning_rat'")

    def test_growing_in_steps_equals_growing_at_once(self, family: ModelFamily) -> None:
        """A resumable fit does not depend on where it paused."""
        if not family.capabilities.resumable:
            return
        for loss in sorted(family.capabilities.losses):
            prepared = family.prepare(self._data(loss), self._folds(loss), loss)
            whole = prepared.train_fold(self.params, 0, 12, 3)
            steps = prepared.train_fold(self.params, 0, 0, 3)
            for rounds in (1, 5, 12):
                steps.grow(rounds)
            np.testing.assert_array_equal(whole.curve, steps.curve)
            np.testing.assert_array_equal(whole.predict(), steps.predict())

    def test_the_callback_is_called_after_each_round_and_can_stop(self, family: ModelFamily) -> None:
        """`on_round` sees every round once, in order."""
        for loss in sorted(family.capabilities.losses):
            seen: list[int] = []

            def stop_at_four(fit: FoldFit, seen: list[int] = seen) -> bool:
                seen.append(fit.rounds)
                return fit.rounds == 4

            fit = family.prepare(self._data(loss), self._folds(loss), loss).train_fold(
                self.params, 0, 50, 0, stop_at_four
            )
            assert seen == [1, 2, 3, 4] and fit.rounds == 4 and len(fit.curve) == 4
            assert fit.last_loss == fit.curve[-1]

    def test_the_curve_is_the_loss_of_the_predictions(self, family: ModelFamily) -> None:
        """Where a metric of ours equals the training loss, the curve is that metric, with weights."""
        for loss in sorted(family.capabilities.losses - {"poisson"}):
            data, folds = self._data(loss), self._folds(loss)
            metric = metric_named("rmse" if loss == "squared_error" else "log_loss")
            fit = family.prepare(data, folds, loss).train_fold(self.params, 0, 9, 0)
            valid = folds.splits[0][1]
            weight = None if data.sample_weight is None else data.sample_weight[valid]
            for rounds in (None, 4):
                score = metric.score(data.y[valid], fit.predict(rounds), weight)
                np.testing.assert_allclose(fit.curve[(rounds or 9) - 1], score, rtol=1e-5)

    def test_trials_in_threads_equal_trials_in_turn(self, family: ModelFamily) -> None:
        """Prepared data are shared by threads."""
        for loss in sorted(family.capabilities.losses):
            prepared = family.prepare(self._data(loss), self._folds(loss), loss)

            def curve(i: int, prepared: Prepared = prepared) -> FloatArray:
                return prepared.train_fold(self.params, i % 3, 10, i // 3).curve

            with ThreadPoolExecutor(4) as pool:
                side_by_side = list(pool.map(curve, range(12)))
            for i, found in enumerate(side_by_side):
                np.testing.assert_array_equal(found, curve(i))

    def test_a_saved_model_predicts_the_same(self, family: ModelFamily, tmp_path: Path) -> None:
        """`load` gives back what `save` wrote."""
        for loss in sorted(family.capabilities.losses):
            data = self._data(loss)
            model = family.fit(data, self.params, 8, 0, loss=loss)
            path = tmp_path / f"{loss}-{family.model_file}"
            family.save(model, path)
            again = family.load(path, data.task)
            np.testing.assert_array_equal(model.predict(data.X), again.predict(data.X))
            if data.classes:
                np.testing.assert_array_equal(model.predict_proba(data.X), again.predict_proba(data.X))

    def test_the_refit_is_the_same_with_and_without_the_binned_data(self, family: ModelFamily) -> None:
        """`prepared` only saves time."""
        for loss in sorted(family.capabilities.losses):
            data = self._data(loss)
            prepared = family.prepare(data, self._folds(loss), loss)
            prepared.train_fold(self.params, 0, 1, 0)
            ours = family.fit(data, self.params, 8, 0, loss=loss, prepared=prepared)
            plain = family.fit(data, self.params, 8, 0, loss=loss)
            np.testing.assert_array_equal(ours.predict(data.X), plain.predict(data.X))

    def test_arguments_are_not_changed(self, family: ModelFamily) -> None:
        """Data and parameters belong to the caller."""
        for loss in sorted(family.capabilities.losses):
            data, params = self._data(loss), dict(self.params)
            before = data.X.copy(), data.y.copy()
            family.prepare(data, self._folds(loss), loss).train_fold(params, 0, 3, 0)
            family.fit(data, params, 3, 0, loss=loss)
            assert params == dict(self.params)
            np.testing.assert_array_equal(np.asarray(data.X), np.asarray(before[0]))
            np.testing.assert_array_equal(data.y, before[1])

    def _data(self, loss: str) -> Dataset:
        from sklearn.datasets import load_diabetes

        X, y = load_diabetes(return_X_y=True, as_frame=True)
        X, y = X.iloc[: self.rows], y.iloc[: self.rows]
        task = _TASK_OF[loss]
        if task == "binary":
            y = y > 120
        elif task == "multiclass":
            y = np.digitize(y, [90, 160])
        weight = np.random.default_rng(0).uniform(0.5, 2, len(X)) if task != "regression" else None
        return Dataset.from_arrays(X, y, task=task, sample_weight=weight)

    def _folds(self, loss: str) -> Folds:
        return make_folds(3, self._data(loss), seed=0)
