"""A threshold that needs no number: the baseline, fold by fold."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from gbtune.pruners.folds import FoldScores, complete_trials


class BaselinePruner(optuna.pruners.BasePruner):
    """Stops a trial that is worse than the library's default parameters on the folds so far.

    After fold k of K, the mean of the trial's k scores is compared with that of the baseline on the same k folds.
    Nothing is pruned before the baseline is complete. There is no margin for noise: `RacingPruner` has one.

    Notes
    -----
    The baseline is trial 0 of `gbtune.tune`. In a study of your own it is the first complete trial, so enqueue the
    parameters to beat first; folds are told by `report_fold`.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.pruners import BaselinePruner
    >>> study = optuna.create_study(pruner=BaselinePruner())
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Say whether the running `trial` is to be stopped."""
        current = FoldScores.of(trial)
        if current is None or current.whole:
            return False
        complete = [(number, told) for number, told in complete_trials(study).told if told.n_folds == current.n_folds]
        if not complete:
            return False
        baseline = min(complete, key=lambda item: (not item[1].baseline, item[0]))[1]
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        k = len(current.scores)
        return bool(sign * np.mean(current.scores) > sign * np.mean(baseline.scores[:k]))

    def __repr__(self) -> str:
        return "BaselinePruner()"
