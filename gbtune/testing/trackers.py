"""The fake tracker, and the contract that every tracker must pass.

Use it for a tracker of your own::

    class TestMyTracker(TrackerContract):
        @pytest.fixture
        def tracker(self, tmp_path):
            return MyTracker(tmp_path)
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

from gbtune.records import Receipt, StudyOutcome, StudyRecord, TrialRecord
from gbtune.testing.contract import Contract, ContractTests, Gaps, Report, must
from gbtune.tracking.base import Tracker

START = 1_700_000_000_000
"""Milliseconds since the epoch at which the example study starts."""


class RecordingTracker(Tracker):
    """The fake: keeps what it was told.

    Attributes
    ----------
    studies : list of StudyRecord
        One per `study_started`.
    trials : list of TrialRecord
        In the order told.
    outcomes : list of StudyOutcome
        One per `study_finished`.

    Examples
    --------
    >>> from gbtune.testing.trackers import RecordingTracker, example_study, example_trials
    >>> tracker = RecordingTracker()
    >>> tracker.study_started(example_study())
    >>> tracker.trial_finished(example_trials()[0])
    >>> [trial.number for trial in tracker.trials]
    [0]
    """

    def __init__(self) -> None:
        self.studies: list[StudyRecord] = []
        self.trials: list[TrialRecord] = []
        self.outcomes: list[StudyOutcome] = []
        self._lock = threading.Lock()

    def study_started(self, study: StudyRecord) -> None:
        """Keep it."""
        self.studies.append(study)

    def trial_finished(self, trial: TrialRecord) -> None:
        """Keep it."""
        with self._lock:
            self.trials.append(trial)

    def study_finished(self, outcome: StudyOutcome) -> Receipt:
        """Keep it; nothing is lost, and there is nothing to link to."""
        self.outcomes.append(outcome)
        return Receipt()


def example_study(uid: str = "contract", **changes: Any) -> StudyRecord:
    """Return a small study, two folds of 100 rows.

    Examples
    --------
    >>> from gbtune.testing.trackers import example_study
    >>> example_study(n_trials=3).n_trials
    3
    """
    fields: dict[str, Any] = {
        "uid": uid,
        "name": "example",
        "family": "xgboost",
        "space": "xgboost/core",
        "space_version": "1",
        "space_definition": {"family": "xgboost", "name": "core", "params": {"eta": {"low": 0.01, "high": 0.3}}},
        "metric": "roc_auc",
        "direction": "maximize",
        "task": "binary",
        "n_rows": 100,
        "n_columns": 2,
        "folds": "2 stratified folds",
        "n_folds": 2,
        "sampler": "tpe",
        "pruner": "race",
        "classes": ("no", "yes"),
        "columns": {"age": "number", "town": "category"},
        "data_fingerprint": "0123456789abcdef",
        "folds_fingerprint": "fedcba9876543210",
        "seed": 0,
        "n_trials": 5,
        "plan": "2 stratified folds, roc_auc",
        "versions": {"optuna": "5.0.0"},
        "started_at": START,
    }
    return StudyRecord(**{**fields, **changes})


def example_trials() -> list[TrialRecord]:
    """Return a baseline, two complete trials, a pruned one with hard values and a failed one.

    Examples
    --------
    >>> from gbtune.testing.trackers import example_trials
    >>> [trial.state for trial in example_trials()]
    ['complete', 'complete', 'complete', 'pruned', 'failed']
    """

    def complete(number: int, kind: str, score: float, **changes: Any) -> TrialRecord:
        return TrialRecord(
            number,
            "complete",
            {"eta": 0.1 + number / 100, "max_depth": 4, "grow_policy": "depthwise"},
            kind=kind,
            sampled=("eta", "max_depth"),
            score=score,
            fold_scores=(score - 0.01, score + 0.01),
            n_folds=2,
            rounds=30,
            rounds_grown=(40, 35),
            curve_rounds=(1, 10, 20, 30),
            curve=(0.5, 0.6, score, score),
            seconds={"train": 0.5, "score": 0.1},
            extra={"log_loss": 0.4},
            started_at=START + 1000 * number,
            ended_at=START + 1000 * number + 900,
            **changes,
        )

    return [
        complete(0, "baseline", 0.70),
        complete(1, "portfolio", 0.74, provenance="an example portfolio"),
        complete(2, "sampled", 0.72),
        TrialRecord(
            3,
            "pruned",
            {"eta": float("inf"), "note@[x]": "é" * 9000, "none": None, "flag": True},
            reason="race",
            partial_score=0.5,
            fold_scores=(0.5,),
            n_folds=2,
            rounds=7,
            extra={"ndcg@5": float("nan"), "gap": float("-inf")},
            started_at=START + 3000,
            ended_at=START + 3100,
        ),
        TrialRecord(
            4,
            "failed",
            {"eta": -1.0},
            error="Traceback (most recent call last):\n" + "  a frame\n" * 2000 + "ValueError: eta is negative",
            started_at=START + 4000,
            ended_at=START + 4100,
        ),
    ]


def example_outcome(trials: list[TrialRecord] | None = None, **changes: Any) -> StudyOutcome:
    """Return the end of the example study.

    Examples
    --------
    >>> from gbtune.testing.trackers import example_outcome
    >>> example_outcome().best.number
    1
    """
    told = example_trials() if trials is None else trials
    complete = [trial for trial in told if trial.score is not None]
    best = max(complete, key=lambda trial: trial.score or 0.0) if complete else None
    fields: dict[str, Any] = {
        "state": "complete",
        "best": best,
        "best_params": best.all_params if best else {},
        "baseline_score": 0.70 if best else None,
        "gain": 0.04 if best else None,
        "gain_se": 0.005 if best else None,
        "summary": "# example\nroc_auc 0.74",
        "report_html": "<!doctype html><title>report</title>",
        "trials": told,
        "model": None,
        "ended_at": START + 10_000,
    }
    return StudyOutcome(**{**fields, **changes})


def check_full_story(tracker: Tracker) -> None:
    """A study with every kind of trial is written without a problem."""
    tracker.study_started(example_study())
    for trial in example_trials():
        tracker.trial_finished(trial)
    receipt = tracker.study_finished(example_outcome())
    must(isinstance(receipt, Receipt), f"study_finished must return a Receipt, got {receipt!r}")
    must(not receipt.problems, f"nothing was wrong, but the receipt says {receipt.problems}")


def check_any_order_and_threads(tracker: Tracker) -> None:
    """Trials may come in any order, from several threads at once."""
    tracker.study_started(example_study())
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(tracker.trial_finished, reversed(example_trials())))
    problems = tracker.study_finished(example_outcome()).problems
    must(not problems, f"nothing was wrong, but the receipt says {problems}")


def check_told_twice(tracker: Tracker) -> None:
    """The same study told again leads to the same place."""
    receipts = []
    for _ in range(2):
        tracker.study_started(example_study())
        for trial in example_trials():
            tracker.trial_finished(trial)
        receipts.append(tracker.study_finished(example_outcome()))
    must(receipts[0] == receipts[1], f"told twice, but {receipts[0]} became {receipts[1]}")


def check_resumed(tracker: Tracker) -> None:
    """A resumed study has trials that this tracker was never told about, and a larger budget."""
    trials = example_trials()
    tracker.study_started(example_study())
    first = tracker.study_finished(example_outcome(trials[:1], state="interrupted"))
    tracker.study_started(example_study(n_trials=100))
    tracker.trial_finished(trials[4])
    second = tracker.study_finished(example_outcome(trials))
    must(first.run_id == second.run_id, "a resumed study must go on in the same run")
    must(not second.problems, f"nothing was wrong, but the receipt says {second.problems}")


def check_nothing_completed(tracker: Tracker) -> None:
    """A study may fail before anything completed."""
    trials = [trial for trial in example_trials() if trial.score is None]
    tracker.study_started(example_study())
    for trial in trials:
        tracker.trial_finished(trial)
    outcome = example_outcome(trials, state="failed", report_html="", summary="")
    problems = tracker.study_finished(outcome).problems
    must(not problems, f"nothing was wrong, but the receipt says {problems}")


def check_two_studies(tracker: Tracker) -> None:
    """A tracker serves one study after the other, and does not mix them up."""
    run_ids = []
    for uid in ("first", "second"):
        tracker.study_started(example_study(uid))
        tracker.trial_finished(example_trials()[0])
        receipt = tracker.study_finished(example_outcome(example_trials()[:1]))
        must(not receipt.problems, f"nothing was wrong, but the receipt says {receipt.problems}")
        run_ids.append(receipt.run_id)
    if run_ids != [None, None]:
        must(run_ids[0] != run_ids[1], "two studies must not share a run")


def check_records_untouched(tracker: Tracker) -> None:
    """A tracker changes none of the records it is given."""
    study, trials = example_study(), example_trials()
    outcome = example_outcome(trials)
    before = (study.to_json(), [trial.to_json() for trial in trials], dict(outcome.best_params), list(outcome.trials))
    tracker.study_started(study)
    for trial in trials:
        tracker.trial_finished(trial)
    tracker.study_finished(outcome)
    after = (study.to_json(), [trial.to_json() for trial in trials], dict(outcome.best_params), list(outcome.trials))
    must(before == after, "a tracker must not change what it is given")


CHECKS: dict[str, Callable[[Tracker], None]] = {
    "tracker_writes_the_full_story": check_full_story,
    "tracker_takes_trials_in_any_order_and_from_threads": check_any_order_and_threads,
    "tracker_told_twice_writes_once": check_told_twice,
    "tracker_resumes_a_study": check_resumed,
    "tracker_survives_a_study_without_result": check_nothing_completed,
    "tracker_keeps_studies_apart": check_two_studies,
    "tracker_leaves_the_records_alone": check_records_untouched,
}
"""The contract, as plain functions of a fresh tracker."""

TRACKER: Contract[Tracker] = Contract("tracker", lambda tracker: type(tracker).__name__)
for _name, _function in CHECKS.items():
    TRACKER.add(_name, _function)


def check_tracker(make_tracker: Callable[[], Tracker], *, gaps: Gaps | None = None) -> Report:
    """Run the whole contract of a tracker without pytest.

    Parameters
    ----------
    make_tracker : callable
        Returns a fresh tracker with an empty store.
    gaps : mapping of str to Gap, optional
        Checks that cannot pass, each with a reason.

    Raises
    ------
    AssertionError
        If the tracker breaks the contract, in a sentence.

    Examples
    --------
    >>> from gbtune.testing.trackers import RecordingTracker, check_tracker
    >>> check_tracker(RecordingTracker).count
    7
    """
    return TRACKER.run(make_tracker, gaps)


@TRACKER.as_tests
class TrackerContract(ContractTests):
    """The contract as a test class: subclass it and define the pytest fixture `tracker`.

    The fixture returns a fresh tracker with an empty store.
    """

    shared = False
