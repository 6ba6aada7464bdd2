"""A study as somebody is to see it: the same study, showing some of its trials."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class StudyView(optuna.Study):
    """The same study, read only and showing the given trials alone, for Optuna's own samplers, pruners and evaluations.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.views import StudyView
    >>> study = optuna.create_study()
    >>> study.optimize(lambda trial: trial.number, n_trials=3)
    >>> StudyView(study, study.trials[1:]).best_value
    1.0
    """

    def __init__(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        # What Optuna's Hyperband shows samplers refuses to be asked for its __dict__ in the ordinary way.
        vars(self).update(object.__getattribute__(study, "__dict__"))
        self._shown = list(trials)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the given trials of these states."""
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = [trial for trial in self._shown if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def _get_best_trial(self, deepcopy: bool) -> FrozenTrial:  # Optuna's own asks the storage
        complete = self._get_trials(deepcopy, (TrialState.COMPLETE,))
        if not complete:
            raise ValueError("No trials are completed yet.")
        sign = 1.0 if self.direction == StudyDirection.MINIMIZE else -1.0
        return min(complete, key=lambda trial: sign * float(trial.value or 0.0))
