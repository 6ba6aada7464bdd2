"""A model family that answers from a recording, so that the real objective, evaluator and pruners can be replayed."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, IntDistribution

from benchmarks.replay.recording import Recording
from gbtune import Objective, families
from gbtune.data import Dataset
from gbtune.errors import GbtuneError
from gbtune.evaluation import Schedule
from gbtune.families.base import FoldFit, ModelFamily, OnRound, Params, Prepared
from gbtune.records import FloatArray, Folds
from gbtune.spaces import SearchSpace

N_FOLDS = 5


def share(distribution: BaseDistribution, value: float) -> float:
    """Return where in a parameter's range a value lies, from 0 to 1 on its own scale."""
    numeric: Any = distribution
    low, high = float(numeric.low), float(numeric.high)
    if numeric.log:
        return float(np.log(value / low) / np.log(high / low))
    half = 0.5 if isinstance(distribution, IntDistribution) else 0.0  # each whole number has an equal part
    return (value - low + half) / (high - low + 2 * half)


def at_share(distribution: BaseDistribution, position: float) -> int | float:
    """Return the value at a position from 0 to 1: the inverse of `share`."""
    numeric: Any = distribution
    low, high = float(numeric.low), float(numeric.high)
    if numeric.log:
        value = low * (high / low) ** position
    else:
        half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
        value = low - half + (high - low + 2 * half) * position
    return round(value) if isinstance(distribution, IntDistribution) else float(f"{value:.4g}")


def levels(space: SearchSpace, name: str, count: int) -> list[Any]:
    """Return the centres of `count` equal parts of a parameter's range, on its own scale.

    A sampler that draws evenly then draws each level equally often.

    Examples
    --------
    >>> levels(SearchSpace.load("xgboost/core"), "max_depth", 4)
    [4, 6, 9, 11]
    """
    distribution = space.distributions(rounds=False)[name]
    return [at_share(distribution, (position + 0.5) / count) for position in range(count)]


class ReplayFamily(ModelFamily):
    """One family on one data set, as it was recorded.

    Called like any family by `gbtune.Objective`. A configuration that was recorded (the default, a portfolio entry, a
    cell's own levels) gets its own curves, any other the curves of the cell of the lattice it falls in.

    Parameters
    ----------
    recording : Recording
        What answers.
    order : tuple of int, default in the order of the recording
        Which recorded fold comes first, second, ...
    """

    extra = "replay"
    model_file = "none"

    def __init__(self, recording: Recording, order: tuple[int, ...] = tuple(range(N_FOLDS))) -> None:
        real = families.get(str(recording.about["family"]))
        # Class variables of a family; a replay takes them from the one that was recorded.
        self.name, self.default_space = real.name, real.default_space  # type: ignore[misc]
        self.capabilities, self.default_params = real.capabilities, recording.configs[0]["params"]  # type: ignore[misc]
        self.recording, self.order = recording, order
        self.known = {_key(config["params"]): index for index, config in reversed(list(enumerate(recording.configs)))}
        self.distributions = self.space.distributions(rounds=False)

    @functools.cached_property
    def space(self) -> SearchSpace:
        """The space of the lattice, with the recording's cap on rounds."""
        about = self.recording.about
        return SearchSpace.load(str(about["space"])).for_levels(0).override(n_estimators=(50, int(about["cap"])))

    def index(self, params: Params) -> int:
        """Return the position in the recording of what answers for `params`."""
        found = self.known.get(_key(params))
        return self.known[_key(self.cell(params))] if found is None else found

    def cell(self, params: Params) -> dict[str, Any]:
        """Return the parameters of the cell that `params` fall in."""
        middle = {}
        for name, count in self.recording.about["levels"].items():
            position = share(self.distributions[name], params[name])
            part = min(count - 1, max(0, int(position * count)))
            middle[name] = at_share(self.distributions[name], (part + 0.5) / count)
        return self.space.complete(middle)

    def prepare(self, data: Dataset, folds: Folds, loss: str, *, threads: int = 1) -> Prepared:
        """See `ModelFamily.prepare`."""
        return _ReplayPrepared(self)

    def fit(self, *_: Any, **__: Any) -> Any:
        """See `ModelFamily.fit`: no model was kept."""
        raise GbtuneError("A replay has curves only: there is no model to fit.")

    def save(self, estimator: Any, path: Path) -> None:
        """See `ModelFamily.save`: no model was kept."""
        raise GbtuneError("A replay has curves only: there is no model to save.")

    def load(self, path: Path, task: str) -> Any:
        """See `ModelFamily.load`: no model was kept."""
        raise GbtuneError("A replay has curves only: there is no model to load.")

    def objective(self, schedule: Schedule | None = None) -> Objective:
        """Return the real objective of this family, on rows that only say how many folds and classes there are."""
        task, n_rows = str(self.recording.about["task"]), 10 * N_FOLDS
        y = np.arange(n_rows) % {"binary": 2, "multiclass": 3, "regression": n_rows}[task]
        rows = np.arange(n_rows, dtype=float).reshape(-1, 1)
        metric = str(self.recording.about["loss"])
        return Objective(self, rows, y, space=self.space, cv=N_FOLDS, metric=metric, task=task, schedule=schedule)


def _key(params: Params) -> frozenset[tuple[str, Any]]:
    return frozenset(params.items())


class _ReplayPrepared(Prepared):
    def __init__(self, family: ReplayFamily) -> None:
        self.family = family

    def train_fold(self, params: Params, fold: int, rounds: int, seed: int, on_round: OnRound | None = None) -> FoldFit:
        config = self.family.index(params)
        fit = _ReplayFit(self.family.recording.curves[config][self.family.order[fold]])
        fit.grow(rounds, on_round)
        return fit


class _ReplayFit(FoldFit):
    def __init__(self, recorded: FloatArray) -> None:
        self._recorded, self._rounds = recorded, 0

    @property
    def curve(self) -> FloatArray:
        return self._recorded[: self._rounds]

    @property
    def rounds(self) -> int:
        return self._rounds

    @property
    def last_loss(self) -> float:
        return float(self._recorded[self._rounds - 1])

    def grow(self, rounds: int, on_round: OnRound | None = None) -> None:
        while self._rounds < rounds:
            if self._rounds == len(self._recorded):
                raise GbtuneError(f"The recording ends after {self._rounds} rounds, and {rounds} are asked for.")
            self._rounds += 1
            if on_round is not None and on_round(self):
                return

    def predict(self, rounds: int | None = None) -> FloatArray:
        raise GbtuneError("A replay has curves only: choose the recorded loss as the metric.")
