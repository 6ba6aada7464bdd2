"""What `gbtune.tune` does for the review of a study: it keeps the best predictions, and stores what they show."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import optuna

from gbtune.diagnostics import DIAGNOSTICS_KEY, Diagnostics, diagnose, stored_diagnostics
from gbtune.evaluation import Rounds
from gbtune.facts import best_record, read_records
from gbtune.held_out import BestHeldOut, HeldOut
from gbtune.objective import ROUNDS, Objective
from gbtune.records import StudyRecord, TrialRecord
from gbtune.study import Clock

MAX_PREDICTIONS = 50_000_000
"""Rows times classes whose predictions are kept: 200 MB."""


class Review:
    """The predictions of one study's best trial, on their way to its diagnostics.

    Parameters
    ----------
    objective : Objective
        What is tuned.
    study : optuna.Study
        Where the diagnostics are stored.
    clock : Clock
        Says what time is left.
    """

    def __init__(self, objective: Objective, study: optuna.Study, clock: Clock) -> None:
        self.objective, self.study, self.clock = objective, study, clock

    def keep_predictions(self) -> None:
        """Have the evaluator keep the best predictions. Before the first trial."""
        data = self.objective.data
        if data.n_rows * max(1, data.n_classes) <= MAX_PREDICTIONS:
            self.objective.evaluator.held_out = BestHeldOut()

    def predict_again(self, record: StudyRecord) -> None:
        """Evaluate the best trial once more if its predictions are not at hand, and there is time for it.

        It was evaluated by an earlier run of the study, or by another process that shares it.
        """
        best, evaluator = best_record(record, read_records(self.study)[1]), self.objective.evaluator
        if best is None or evaluator.held_out is None or self._predictions(best) is not None:
            return
        if self.clock.interrupt.is_set() or stored_diagnostics(self.study, best) is not None:
            return
        left, needed = self.clock.left, sum(best.seconds.values())
        if left is not None and left < 2 * needed:
            return
        evaluator.held_out = BestHeldOut()
        with contextlib.suppress(Exception):  # the report says that they are missing
            (self.objective.elsewhere or evaluator.evaluate)(
                booster_params(best),
                seed=self.objective.study_seed,
                rounds=Rounds.exactly(best.rounds),
                interrupted=self.clock.reason_to_stop,
            )

    def store(self, best: TrialRecord, model: Any, seconds: float) -> None:
        """Store what the best trial's predictions show. It is for people: where it fails, that is what they read.

        Parameters
        ----------
        best : TrialRecord
            The best trial.
        model : object
            The final model, for the importances of its columns.
        seconds : float
            What fitting it took.
        """
        objective, kept = self.objective, self._predictions(best)
        found = stored_diagnostics(self.study, best)
        if kept is not None:
            importances = getattr(model, "feature_importances_", None)
            try:
                found = diagnose(best, kept, objective.data, objective.evaluator.folds, objective.metric, importances)
            except Exception as error:
                why = f"They could not be looked at: {type(error).__name__}: {error}"
                found = Diagnostics(best.number, objective.data.task, missing=why)
        if found is None:
            found = Diagnostics(best.number, objective.data.task, missing=self._why_there_are_none())
        found = dataclasses.replace(found, refit_seconds=round(seconds, 3))
        self.study.set_user_attr(DIAGNOSTICS_KEY, found.to_json())

    def _predictions(self, best: TrialRecord) -> HeldOut | None:
        kept = self.objective.evaluator.held_out
        return None if kept is None else kept.of(booster_params(best), best.rounds)

    def _why_there_are_none(self) -> str:
        if self.objective.evaluator.held_out is None:
            return f"They are kept up to {MAX_PREDICTIONS:,} numbers (rows x classes); here are more."
        return (
            "The best trial was evaluated by an earlier run or by another process, and no time was left to evaluate "
            "it again. Continue the study with more time: tune(..., study=...)."
        )


def booster_params(record: TrialRecord) -> dict[str, Any]:
    """Return a trial's parameters without the number of rounds, which boosters are told apart."""
    return {name: value for name, value in record.params.items() if name != ROUNDS}
