"""Trackers with a fault each, and the check that sees it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from contracts.planted import failures

from gbtune.records import Receipt
from gbtune.testing import RecordingTracker
from gbtune.testing.trackers import TRACKER


class Runs(RecordingTracker):
    """One run per study, as a real tracker has."""

    def study_finished(self, outcome: Any) -> Receipt:
        super().study_finished(outcome)
        return Receipt(run_id=self.studies[-1].uid)


class Silent(Runs):
    def study_finished(self, outcome: Any) -> Any:
        super().study_finished(outcome)


class NewRunEachTime(Runs):
    def study_finished(self, outcome: Any) -> Receipt:
        return dataclasses.replace(super().study_finished(outcome), run_id=f"run {len(self.outcomes)}")


class OneRunForAll(Runs):
    def study_finished(self, outcome: Any) -> Receipt:
        return dataclasses.replace(super().study_finished(outcome), run_id="the run")


class InOrderOnly(Runs):
    def trial_finished(self, trial: Any) -> None:
        if trial.number > len(self.trials):
            raise RuntimeError("a trial is missing")
        super().trial_finished(trial)


class NeedsTheBest(Runs):
    def study_finished(self, outcome: Any) -> Receipt:
        receipt = super().study_finished(outcome)
        return receipt if outcome.best else dataclasses.replace(receipt, problems=("nothing is best",))


class Tidies(Runs):
    def study_finished(self, outcome: Any) -> Receipt:
        outcome.trials.clear()
        return super().study_finished(outcome)


def test_a_sound_tracker_passes() -> None:
    assert failures(TRACKER, Runs) == {}


@pytest.mark.parametrize(
    ("kind", "sees"),
    [
        (Silent, "tracker_writes_the_full_story"),
        (NewRunEachTime, "tracker_told_twice_writes_once"),
        (NewRunEachTime, "tracker_resumes_a_study"),
        (OneRunForAll, "tracker_keeps_studies_apart"),
        (InOrderOnly, "tracker_takes_trials_in_any_order_and_from_threads"),
        (NeedsTheBest, "tracker_survives_a_study_without_result"),
        (Tidies, "tracker_leaves_the_records_alone"),
    ],
)
def test_the_check_that_is_meant_for_a_fault_sees_it(kind: Any, sees: str) -> None:
    assert sees in failures(TRACKER, kind)
