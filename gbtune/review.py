"""What `gbtune.tune` does for the review of a study: it keeps the best predictions, and stores what they show."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from typing import Any

import optuna

from gbtune.diagnostics import DIAGNOSTICS_KEY, MAX_SECONDS, Diagnostics, diagnose, stored_diagnostics
from gbtune.errors import GbtuneWarning
from gbtune.facts import best_record, read_records
from gbtune.final_model import booster_params
from gbtune.held_out import BestHeldOut, HeldOut
from gbtune.objective import Objective
from gbtune.records import StudyRecord, TrialRecord
from gbtune.rounds import Rounds
from gbtune.study import Clock

MAX_MEGABYTES = 200
"""Of predictions that are kept."""
_BYTES = 8  # of a prediction: some families answer in float64


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
        data, evaluator = self.objective.data, self.objective.evaluator
        rows = sum(len(valid) for _, valid in evaluator.folds.splits)  # with repeats more than the data have
        if rows * (data.n_classes if data.task == "multiclass" else 1) * _BYTES <= MAX_MEGABYTES * 1e6:
            evaluator.held_out = BestHeldOut()

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

    def store(self, best: TrialRecord, importances: Any, seconds: float) -> None:
        """Store what the best trial's predictions show. It is for people: where it fails, that is what they read.

        Nothing that breaks here, the storage included, costs the model.

        Parameters
        ----------
        best : TrialRecord
            The best trial.
        importances : array-like of shape (n_features,) or None
            Of the columns, in the final model.
        seconds : float
            What fitting it took.

        Warns
        -----
        GbtuneWarning
            If nothing could be stored.
        """
        try:
            found = dataclasses.replace(self._found(best, importances), refit_seconds=round(seconds, 3))
            self.study.set_user_attr(DIAGNOSTICS_KEY, found.to_json())
        except Exception as error:
            warnings.warn(
                "What the predictions of the best trial show was not stored "
                f"({type(error).__name__}: {error}): the report lacks it. The result is not affected.",
                GbtuneWarning,
                stacklevel=2,
            )

    def _found(self, best: TrialRecord, importances: Any) -> Diagnostics:
        objective, kept = self.objective, self._predictions(best)
        found = stored_diagnostics(self.study, best)
        if kept is not None:
            try:
                folds, seconds = objective.evaluator.folds, self.seconds_to_look
                found = diagnose(best, kept, objective.data, folds, objective.metric, importances, seconds=seconds)
            except Exception as error:
                why = f"They could not be looked at: {type(error).__name__}: {error}"
                found = Diagnostics(best.number, objective.data.task, missing=why)
        return found or Diagnostics(best.number, objective.data.task, missing=self._why_there_are_none())

    @property
    def seconds_to_look(self) -> float:
        """What is left before the writing, and at least half a percent of the whole time."""
        timeout = self.clock.timeout
        if timeout is None:
            return MAX_SECONDS
        # not `Clock.left`: what was reserved for the refit is spent by now
        left = timeout - self.clock.elapsed - self.clock.writing
        return min(MAX_SECONDS, max(left, timeout / 200))

    def _predictions(self, best: TrialRecord) -> HeldOut | None:
        kept = self.objective.evaluator.held_out
        return None if kept is None else kept.of(booster_params(best), best.rounds)

    def _why_there_are_none(self) -> str:
        if self.objective.evaluator.held_out is None:
            return f"They are kept up to {MAX_MEGABYTES} MB (held-out rows x classes); here are more."
        return (
            "The best trial was evaluated by an earlier run or by another process, and no time was left to evaluate "
            "it again. Continue the study with more time: tune(..., study=...)."
        )
