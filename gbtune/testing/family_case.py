"""A family under examination: real data for each of its losses, and settings for each of its parameters."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from gbtune.data import Dataset
from gbtune.families.base import FoldFit, ModelFamily, Params
from gbtune.records import FloatArray, Folds
from gbtune.resampling import make_folds
from gbtune.spaces import (
    CategoricalParameter,
    FixedParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    SampledParameter,
    SearchSpace,
    available,
)
from gbtune.spaces.base import alternatives
from gbtune.testing.contract import Contract

TASK_OF = {
    "log_loss_binary": "binary",
    "log_loss_multiclass": "multiclass",
    "squared_error": "regression",
    "poisson": "regression",
}
CLOSE = 1e-5
"""Boosters predict in single precision."""


@dataclasses.dataclass(frozen=True)
class FamilyCase:
    """A family under examination, with data for it.

    Parameters
    ----------
    family : ModelFamily
        Whose contract it is.
    params : mapping, default {}
        Trained with in every check, e.g. a small tree size.
    examples : mapping of str to mapping, default {}
        For declared parameters that no space of the family has, or that need others beside them: settings in which
        the parameter makes a difference, e.g. ``{"max_leaves": {"grow_policy": "lossguide", "max_leaves": 3}}``.
    rows : int, default 240
        Of the data.
    """

    family: ModelFamily
    params: Params = dataclasses.field(default_factory=dict)
    examples: Mapping[str, Params] = dataclasses.field(default_factory=dict)
    rows: int = 240

    @functools.cached_property
    def losses(self) -> tuple[str, ...]:
        """Training losses that the family declares."""
        return tuple(sorted(self.family.capabilities.losses))

    def data(self, loss: str, kind: str = "numbers", *, weighted: bool | None = None) -> Dataset:
        """Return real measurements with a target for `loss`.

        Parameters
        ----------
        loss : str
            A training loss.
        kind : {"numbers", "missing", "sparse", "categories"}
            What X holds.
        weighted : bool, optional
            Default: for labels, not for values.
        """
        from sklearn.datasets import load_diabetes

        X, y = load_diabetes(return_X_y=True, as_frame=True)
        X, y = X.iloc[: self.rows], y.iloc[: self.rows]
        task = TASK_OF[loss]
        if task == "binary":
            y = y > 120
        elif task == "multiclass":
            y = np.digitize(y, [90, 160])
        weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
        weighted = task != "regression" if weighted is None else weighted
        return Dataset.from_arrays(_shaped(X, kind), y, task=task, sample_weight=weight if weighted else None)

    def folds(self, data: Dataset) -> Folds:
        """Return three folds."""
        return make_folds(3, data, seed=0)

    def fold_fit(
        self, data: Dataset, loss: str, rounds: int, *, seed: int = 0, fold: int = 0, **params: Any
    ) -> FoldFit:
        """Return one booster on one fold, of newly prepared data."""
        prepared = self.family.prepare(data, self.folds(data), loss)
        return prepared.train_fold({**self.params, **params}, fold, rounds, seed)


def _shaped(X: pd.DataFrame, kind: str) -> Any:
    if kind == "numbers":
        return X
    if kind == "sparse":
        import scipy.sparse

        return scipy.sparse.csr_matrix(np.where(X > 0, X, 0))
    random = np.random.default_rng(1)
    changed = X.copy()
    # Missing where it is large: what is missing tells about the target.
    changed["bmi"] = changed["bmi"].where((changed["bmi"] < 0.02) | (random.random(len(X)) < 0.3))
    if kind == "categories":
        for name, letters in (("s5", "abc"), ("s6", "abcdefghijkl")):
            levels = random.permutation(list(letters))  # so that codes are not in the order of the values
            codes = pd.qcut(changed[name], len(letters), labels=False)
            changed[name] = pd.Categorical(levels[codes], categories=list(letters))
    return changed


def every_loss(case: FamilyCase) -> Collection[str]:
    """Imply one case per declared loss."""
    return case.losses


def if_resumable(case: FamilyCase) -> Collection[str]:
    """Imply one case per declared loss if fits can grow further."""
    return case.losses if case.family.capabilities.resumable else ()


FAMILY: Contract[FamilyCase] = Contract("family", lambda case: case.family.name)


def response(model: Any, data: Dataset) -> FloatArray:
    """Return what an estimator predicts, on the scale and in the shape of `FoldFit.predict`."""
    if not data.classes:
        return np.asarray(model.predict(data.X), dtype=np.float64)
    found = np.asarray(model.predict_proba(data.X), dtype=np.float64)
    return found[:, 1] if data.n_classes == 2 else found


def settings_of(case: FamilyCase, name: str) -> list[dict[str, Any]]:
    """Return settings in which the parameter `name` ought to make a difference.

    The given example; else, from each space and fragment of the family, the defaults with `name` at either end.
    """
    if name in case.examples:
        return [dict(case.examples[name])]
    found = []
    for key in (*available(case.family.name), *available(case.family.name, fragments=True)):
        space = SearchSpace.load(key)
        defaults = {p.name: p.default for p in space.parameters if isinstance(p, SampledParameter)}
        for parameter in space.parameters:
            if parameter.name == name:
                context = {**defaults, **context_of(space, parameter)}
                found += [space.complete({**context, **values}) for values in values_of(parameter)]
    for setting in found:
        setting.pop("n_estimators", None)
    return [setting for setting in found if name in setting]


def values_of(parameter: Parameter) -> list[dict[str, Any]]:
    """Return the ends of a parameter's range, or its choices, each as a setting."""
    if isinstance(parameter, FloatParameter | IntParameter):
        return [{parameter.name: parameter.low}, {parameter.name: parameter.high}]
    if isinstance(parameter, CategoricalParameter):
        return [{parameter.name: choice} for choice in parameter.choices]
    return [{}] if isinstance(parameter, FixedParameter) else []


def context_of(space: SearchSpace, parameter: Parameter) -> dict[str, Any]:
    """Return values under which a conditional parameter counts."""
    by_name = {each.name: each for each in space.parameters}
    context: dict[str, Any] = {}
    for other, wanted in parameter.when:
        context |= {**context_of(space, by_name[other]), other: alternatives(wanted)[0]}
    return context
