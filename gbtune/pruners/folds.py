"""The fold scores of a trial: where pruners that compare trials fold by fold find them."""

from __future__ import annotations

import dataclasses
import json
import weakref
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from gbtune.json_record import field
from gbtune.records import TRIAL_KEY, FloatArray

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
class _Read:
    """What was read of a storage: a pruner looks at all complete trials after every fold of each trial."""

    settled: list[FrozenTrial] = dataclasses.field(default_factory=list)
    """The first trials, all finished. Storages keep these objects, so that comparing them is comparing addresses."""
    told: CompleteTrials = dataclasses.field(default_factory=lambda: CompleteTrials([]))
    """By those."""
    later: list[FrozenTrial] = dataclasses.field(default_factory=list)
    """Complete trials among the others."""
    found: CompleteTrials = dataclasses.field(default_factory=lambda: CompleteTrials([]))
    by_trial: dict[int, tuple[Any, FoldScores | None]] = dataclasses.field(default_factory=dict)

    def followed_by(self, trials: list[FrozenTrial]) -> _Read:
        """Return what is known when these trials come after the settled ones."""
        open_at = (place for place, trial in enumerate(trials) if not trial.state.is_finished())
        known = next(open_at, len(trials))
        told, later = self.told.followed_by(self._told_by(trials[:known])), _complete(trials[known:])
        for n_folds in self.found.asked:
            told.scores(n_folds)
        found = told.followed_by(self._told_by(later))
        return _Read(self.settled + trials[:known], told, later, found, self.by_trial)

    def _told_by(self, trials: list[FrozenTrial]) -> list[tuple[int, FoldScores]]:
        return [(trial.number, told) for trial in _complete(trials) if (told := self._scores(trial)) is not None]

    def _scores(self, trial: FrozenTrial) -> FoldScores | None:
        source = trial.user_attrs.get(TRIAL_KEY) or trial.user_attrs.get(FOLDS_KEY)
        if trial._trial_id not in self.by_trial or self.by_trial[trial._trial_id][0] != source:
            self.by_trial[trial._trial_id] = source, FoldScores.of(trial)
        return self.by_trial[trial._trial_id][1]


_READ: weakref.WeakKeyDictionary[BaseStorage, dict[int | None, _Read]] = weakref.WeakKeyDictionary()
"""By study; None: of whatever was shown of any, last."""
_MANY = 64
"""More trials than that are not gone through one by one every time, where no complete one is among them."""


def complete_trials(study: optuna.Study) -> CompleteTrials:
    """Return what the complete trials told, those that told anything. Their records are read once per storage."""
    reads = _READ.setdefault(study._storage, {})
    whole = type(study) is optuna.Study  # its trials only follow each other; a view shows whichever it likes
    key = study._study_id if whole else None
    read, trials = reads.get(key), study.get_trials(deepcopy=False)
    known = 0 if read is None else len(read.settled)
    first = max(0, known - 1) if whole else 0  # the last one tells a study from one that had its id before
    if read is None or trials[first:known] != read.settled[first:]:
        read = reads[key] = _Read(by_trial={} if read is None else read.by_trial).followed_by(trials)
    elif _complete(trials[known:]) != read.later or (len(trials) - known > _MANY and trials[known].state.is_finished()):
        read = reads[key] = read.followed_by(trials[known:])
    return read.found


def _complete(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]
