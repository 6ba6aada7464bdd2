"""The fold scores of a trial: where pruners that compare trials fold by fold find them."""

from __future__ import annotations

import dataclasses
import json
import weakref

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from gbtune.json_record import field
from gbtune.records import TRIAL_KEY, FloatArray
from gbtune.settled import Settled

FOLDS_KEY = "gbtune:folds"
"""User attribute of trials that `gbtune.pruners.report_fold` serves; those of `gbtune.Objective` have a record."""
_BASELINE = '"kind":"baseline"'


@dataclasses.dataclass(frozen=True)
class FoldScores:
    """What a trial has told of its folds.

    Parameters
    ----------
    scores : tuple of float
        Of the folds so far, in the order of folds.
    n_folds : int
        Folds there are in all.
    baseline : bool, default False
        Whether the trial is gbtune's baseline.
    """

    scores: tuple[float, ...]
    n_folds: int
    baseline: bool = False

    @property
    def whole(self) -> bool:
        """Whether all folds are told."""
        return len(self.scores) == self.n_folds

    @classmethod
    def of(cls, trial: FrozenTrial | optuna.Trial) -> FoldScores | None:
        """Return what a trial has told; None if nothing."""
        attributes = trial.user_attrs
        if TRIAL_KEY in attributes:
            record = attributes[TRIAL_KEY]  # asked for after every fold: three fields of it, not all
            baseline = _BASELINE in record
            told = cls(tuple(field(record, "fold_scores")), field(record, "n_folds"), baseline)
        elif FOLDS_KEY in attributes:
            told = cls.from_json(attributes[FOLDS_KEY])
        else:
            return None
        return told if told.scores else None

    @classmethod
    def from_json(cls, text: str) -> FoldScores:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        return cls(tuple(raw["scores"]), raw["n_folds"])

    def to_json(self) -> str:
        """Return scores and number of folds as one line of JSON."""
        return json.dumps({"scores": self.scores, "n_folds": self.n_folds}, separators=(",", ":"))


class CompleteTrials:
    """What the complete trials of a study have told.

    Parameters
    ----------
    told : list of (int, FoldScores)
        Number and fold scores, in the order of numbers.
    """

    def __init__(self, told: list[tuple[int, FoldScores]]) -> None:
        self.told = told
        self._scores: dict[int, FloatArray] = {}

    def __len__(self) -> int:
        return len(self.told)

    def scores(self, n_folds: int) -> FloatArray:
        """Return the scores of the trials that told all of so many folds, of shape (n_trials, n_folds).

        The same array every time.
        """
        if n_folds not in self._scores:
            self._scores[n_folds] = _whole(self.told, n_folds)
        return self._scores[n_folds]

    @property
    def asked(self) -> tuple[int, ...]:
        """The numbers of folds that scores were asked for."""
        return tuple(self._scores)

    def followed_by(self, more: list[tuple[int, FoldScores]]) -> CompleteTrials:
        """Return these and more; what the scores were asked for is not read again."""
        if not more:
            return self
        both = CompleteTrials(self.told + more)
        for n_folds, known in self._scores.items():
            both._scores[n_folds] = np.concatenate([known, _whole(more, n_folds)])
        return both


def _whole(told: list[tuple[int, FoldScores]], n_folds: int) -> FloatArray:
    whole = [each.scores for _, each in told if each.n_folds == n_folds and len(each.scores) == n_folds]
    return np.array(whole, dtype=np.float64).reshape(-1, n_folds)


@dataclasses.dataclass(frozen=True)
class _Found:
    """What was found when somebody last looked: a pruner does after every fold of each trial."""

    settled: CompleteTrials
    later: list[FrozenTrial]
    """Complete trials that come after one which is not."""
    both: CompleteTrials


def _told_by(trials: list[FrozenTrial]) -> list[tuple[int, FoldScores]]:
    complete = (trial for trial in trials if trial.state == TrialState.COMPLETE)
    return [(trial.number, told) for trial in complete if (told := FoldScores.of(trial)) is not None]


_SETTLED = Settled(CompleteTrials([]), lambda told, trials: told.followed_by(_told_by(trials)))
_FOUND: weakref.WeakKeyDictionary[BaseStorage, _Found] = weakref.WeakKeyDictionary()


def complete_trials(study: optuna.Study) -> CompleteTrials:
    """Return what the complete trials told, those that told anything; the same object until there is another."""
    settled, after = _SETTLED.of(study)
    later = [trial for trial in after if trial.state == TrialState.COMPLETE]
    found = _FOUND.get(study._storage)
    if found is None or found.settled is not settled or found.later != later[: len(found.later)]:
        for n_folds in () if found is None else found.both.asked:
            settled.scores(n_folds)  # read once, and then only added to
        found = _Found(settled, [], settled)
    if len(later) > len(found.later):
        found = _Found(settled, later, found.both.followed_by(_told_by(later[len(found.later) :])))
    _FOUND[study._storage] = found
    return found.both
