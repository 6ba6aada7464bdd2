"""The fold scores of a trial: where pruners that compare trials fold by fold find them."""

from __future__ import annotations

import dataclasses
import json

import optuna
from optuna.trial import FrozenTrial, TrialState

from gbtune.records import TRIAL_KEY, TrialRecord

FOLDS_KEY = "gbtune:folds"
"""User attribute of trials that `gbtune.pruners.report_fold` serves; those of `gbtune.Objective` have a record."""


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
            record = TrialRecord.from_json(attributes[TRIAL_KEY])
            told = cls(record.fold_scores, record.n_folds, record.kind == "baseline")
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


def complete_trials(study: optuna.Study) -> list[tuple[int, FoldScores]]:
    """Return number and fold scores of the complete trials that told any, in the order of numbers."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [(trial.number, told) for trial in trials if (told := FoldScores.of(trial)) is not None]
