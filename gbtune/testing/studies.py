"""Small studies for the contracts of samplers and pruners: a fake family with every kind of parameter.

No booster is needed: `KitFamily` shrinks towards two means, so a trial costs a millisecond or two.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import optuna

from gbtune.api import tune
from gbtune.data import Dataset
from gbtune.facts import read_records
from gbtune.families.base import FoldFit, OnRound, Params, Prepared, check_params, frozen
from gbtune.records import Folds, TrialRecord
from gbtune.slots import is_cut
from gbtune.spaces import SearchSpace
from gbtune.study import quiet_optuna
from gbtune.testing.contract import must
from gbtune.testing.stub import StubFamily, StubModel

SPACE: dict[str, Any] = {
    "schema": 1,
    "family": "kit",
    "name": "every-kind",
    "summary": "each kind of parameter, one of them conditional",
    "parameters": {
        "learning_rate": {
            "kind": "float",
            "low": 0.001,
            "high": 0.5,
            "log": True,
            "default": 0.1,
            "grid": [0.01, 0.05, 0.2],
        },
        "split": {"kind": "float", "low": 0.2, "high": 0.8, "step": 0.05, "default": 0.5},
        "depth": {"kind": "int", "low": 1, "high": 8, "default": 3, "grid": [2, 6]},
        "side": {"kind": "categorical", "choices": ["left", "right"], "default": "left"},
        "shift": {
            "kind": "float",
            "low": 0.0,
            "high": 0.1,
            "default": 0.05,
            "grid": [0.0, 0.1],
            "when": {"side": "right"},
        },
        "n_estimators": {"kind": "rounds", "low": 10, "high": 60, "default": 30},
    },
}
"""What the kits' studies search."""

Outcome = tuple[Any, ...]
"""What must repeat of a trial: state, reason, kind, parameters, score, fold scores, rounds."""


class KitFamily(StubFamily):
    """`StubFamily` with every kind of parameter; each of them moves the split.

    Parameters
    ----------
    on_train : callable, optional
        As in `StubFamily`.
    default_params : mapping, optional
        The baseline.
    """

    name = "kit"
    extra = "kit"
    capabilities = dataclasses.replace(
        StubFamily.capabilities, parameters=frozenset(SPACE["parameters"]) - {"n_estimators"}
    )
    # Neither good nor bad: some configurations of the space are better.
    default_params: ClassVar[Params] = frozen({"learning_rate": 0.03, "split": 0.5})
    default_rounds = 30

    def prepare(self, data: Dataset, folds: Folds, loss: str, *, threads: int = 1) -> Prepared:
        """See `ModelFamily.prepare`."""
        return _KitPrepared(StubFamily().prepare(data, folds, loss, threads=threads), self.on_train)

    def fit(self, data: Dataset, params: Params, rounds: int, seed: int, **details: Any) -> StubModel:
        """See `ModelFamily.fit`."""
        return super().fit(data, _moved(params), rounds, seed, **details)


class WorstFirst(KitFamily):
    """`KitFamily` with the worst baseline: one that learns next to nothing."""

    default_params: ClassVar[Params] = frozen({"learning_rate": 0.0001, "split": 0.5})


class _KitPrepared(Prepared):
    def __init__(self, inner: Prepared, on_train: Callable[[Params, int], None]) -> None:
        self._inner, self._on_train = inner, on_train

    def train_fold(self, params: Params, fold: int, rounds: int, seed: int, on_round: OnRound | None = None) -> FoldFit:
        self._on_train(params, fold)
        return self._inner.train_fold(_moved(params), fold, rounds, seed, on_round)


def _moved(params: Params) -> dict[str, float]:
    check_params(KitFamily, params)
    sign = 1 if params.get("side") == "right" else -1
    move = sign * (0.02 * int(params.get("depth", 0)) + float(params.get("shift", 0.0)))
    split = float(np.clip(float(params.get("split", 0.5)) + move, 0.05, 0.95))
    return {"learning_rate": float(params.get("learning_rate", 0.1)), "split": split}


class PruneThese(optuna.pruners.ThresholdPruner):
    """Stops the trials with the given sampled parameters after their first fold."""

    def __init__(self, *points: Mapping[str, Any]) -> None:
        super().__init__(upper=np.inf)
        self._points = [dict(point) for point in points]

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Say whether `trial` is one of them."""
        return trial.params in self._points


def failing_at(*points: Mapping[str, Any]) -> Callable[[Params, int], None]:
    """Return an `on_train` that breaks these configurations on the second fold."""
    wanted = [dict(point) for point in points]

    def on_train(params: Params, fold: int) -> None:
        if fold == 1 and dict(params) in wanted:
            raise RuntimeError("a failure planted by the contract")

    return on_train


@functools.cache
def measurements() -> tuple[Any, Any]:
    """Return one column of real measurements, as a frame, and a target."""
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return X[["bmi"]], y


def run_study(family: StubFamily | None = None, **arguments: Any) -> list[TrialRecord]:
    """Run `gbtune.tune` on the kit's problem; return the records of its slots, in order.

    Parameters
    ----------
    family : StubFamily, optional
        Default: a `KitFamily`.
    **arguments
        Of `tune`.
    """
    X, y = measurements()
    chosen = {"space": SPACE, "cv": 3, "seed": 0, "n_jobs": 1, "n_trials": 16, "pruner": None, **arguments}
    with quiet():
        study = tune(X, y, family=family or KitFamily(), tracking=False, progress=False, **chosen).study
    unfinished = [trial.number for trial in study.trials if not trial.state.is_finished()]
    must(not unfinished, f"The study has ended, and its trials {unfinished} are not finished.")
    return sorted((record for record in read_records(study)[1] if not is_cut(record)), key=lambda r: r.slot or 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log and its notes on experimental classes away: they say nothing about the contract."""
    with warnings.catch_warnings(), quiet_optuna():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def outcomes(records: list[TrialRecord]) -> list[Outcome]:
    """Return what must repeat, slot by slot."""
    return [(r.state, r.reason, r.kind, dict(r.params), r.score, r.fold_scores, r.rounds) for r in records]


def must_repeat(again: list[TrialRecord], first: list[TrialRecord], sentence: str) -> None:
    """Raise `AssertionError` at the first slot whose outcome differs."""
    must(len(again) == len(first), f"{sentence} It has {len(again)} trials instead of {len(first)}.")
    for slot, (found, wanted) in enumerate(zip(outcomes(again), outcomes(first), strict=True)):
        must(found == wanted, f"{sentence} Slot {slot} was {wanted} and is {found}.")


def space() -> SearchSpace:
    """Return the kit's space."""
    return SearchSpace.load(SPACE)


def is_point(space: SearchSpace, point: Mapping[str, Any]) -> bool:
    """Return whether `project` leaves a point where it is, but for the last digit of a stepped number."""
    nearest = space.project(point)
    return nearest.keys() == dict(point).keys() and all(
        math.isclose(value, nearest[name], rel_tol=1e-12) if isinstance(value, float) else value == nearest[name]
        for name, value in point.items()
    )
