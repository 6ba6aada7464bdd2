"""A fake family that needs no booster: the one beside every real thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gbtune.data import Dataset
from gbtune.families.base import (
    Capabilities,
    Enough,
    FoldFit,
    ModelFamily,
    OnRound,
    Params,
    Prepared,
    check_params,
    frozen,
)
from gbtune.records import FloatArray, Folds


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
        stoppable=True,
        sparse=False,
        categories=False,
        native_metrics=frozen({"rmse": "rmse"}),
    )
    default_params: ClassVar[Params] = frozen({"learning_rate": 0.1, "split": 0.5})

    def __init__(self, on_train: Callable[[Params, int], None] = lambda params, fold: None) -> None:
        self.on_train = on_train

    def prepare(self, data: Dataset, folds: Folds, loss: str, *, threads: int = 1) -> Prepared:
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
        enough: Enough | None = None,
    ) -> StubModel:
        """See `ModelFamily.fit`."""
        if enough is not None:
            rounds = next((grown for grown in range(1, rounds) if enough(grown)), rounds)
        return StubModel.fit(np.asarray(data.X, dtype=float)[:, 0], data.y, params, rounds, data.sample_weight)

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
    def fit(
        cls, x: FloatArray, y: FloatArray, params: Params, rounds: int, weight: FloatArray | None = None
    ) -> StubModel:
        """Split at a quantile of x."""
        check_params(StubFamily, params)
        threshold = float(np.quantile(x, params.get("split", 0.5)))
        weight = np.ones(len(y)) if weight is None else weight
        mean, below = float(np.average(y, weights=weight)), x <= threshold
        low = float(np.average(y[below], weights=weight[below])) if below.any() else mean
        high = float(np.average(y[~below], weights=weight[~below])) if (~below).any() else mean
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
        weight = np.ones(self.data.n_rows) if self.data.sample_weight is None else self.data.sample_weight
        model = StubModel.fit(self.x[train], self.data.y[train], params, 0, weight[train])
        fit = _StubFoldFit(model, self.x[valid], self.data.y[valid], weight[valid])
        fit.grow(rounds, on_round)
        return fit


class _StubFoldFit(FoldFit):
    def __init__(self, model: StubModel, x: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        self.model, self.x, self.y, self.weight = model, x, y, weight
        self._curve: list[float] = []

    @property
    def curve(self) -> FloatArray:
        return np.asarray(self._curve)

    def grow(self, rounds: int, on_round: OnRound | None = None) -> None:
        while len(self._curve) < rounds:
            error = self.y - self.predict(len(self._curve) + 1)
            self._curve.append(float(np.sqrt(np.average(error**2, weights=self.weight))))
            if on_round is not None and on_round(self):
                return

    def predict(self, rounds: int | None = None) -> FloatArray:
        self.model.rounds = len(self._curve) if rounds is None else rounds
        return self.model.predict(self.x)
