"""The contract of a tracker: who tells it what, and when."""

from __future__ import annotations

import abc

from gbtune.records import Receipt, StudyOutcome, StudyRecord, TrialRecord


class Tracker(abc.ABC):
    """Writes a study somewhere for people to look at: MLflow, a file, a database.

    The Optuna study is the truth and a tracker its projection: everything a tracker gets is in the
    study already, so a tracker that loses something loses nothing that cannot be written again.

    The life of a tracker in a study:

    1. `study_started` is called once, before the first trial, by the thread that runs the study.
       A resumed study starts again with the same ``study.uid``.
    2. `trial_finished` is called once per finished trial, also for pruned and failed ones. Calls may
       come from several threads at once and in any order of numbers.
    3. `study_finished` is called once, also after Ctrl-C or a failure, by the thread that called
       `study_started`, after the last `trial_finished` returned. ``outcome.trials`` has every
       trial, also those of earlier processes that this tracker was never told about.

    The same tracker may then serve another study. The same story told twice must leave the same
    record as when it is told once: the study's uid and the trial's number are the key. Several processes may
    tell the same study at once, each its own trials.

    Records are frozen and belong to nobody: keep them, do not change them. A tracker must not raise
    because its store is dead, slow or full (`study_started` alone may, if the user asked for that): it warns once
    (`GbtuneWarning`), returns quickly, and says in the receipt what was not written. `study_started` and
    `trial_finished` are on the path of tuning: do slow work elsewhere. `study_finished` may wait, for a bounded time.

    `gbtune.testing.trackers.TrackerContract` tests all of this.

    Examples
    --------
    >>> from gbtune.records import Receipt
    >>> from gbtune.tracking.base import Tracker
    >>> class PrintTracker(Tracker):
    ...     def study_started(self, study):
    ...         print("tuning", study.family)
    ...
    ...     def trial_finished(self, trial):
    ...         print(trial.number, trial.state, trial.score)
    ...
    ...     def study_finished(self, outcome):
    ...         return Receipt()
    """

    @property
    def ending_seconds(self) -> float:
        """What `study_finished` will take, about: a study with a timeout keeps so many of its seconds for it."""
        return 0.5

    @property
    def backlog_seconds(self) -> float:
        """What it is behind with now, and does while the study goes on; what is left of it comes before the end."""
        return 0.0

    @abc.abstractmethod
    def study_started(self, study: StudyRecord) -> None:
        """Take note of a study that is about to run its first (or, resumed, its next) trial.

        Parameters
        ----------
        study : StudyRecord
            What is tuned on what, and how.
        """

    @abc.abstractmethod
    def trial_finished(self, trial: TrialRecord) -> None:
        """Take note of a finished trial; thread-safe.

        Parameters
        ----------
        trial : TrialRecord
            Its state is "complete", "pruned" or "failed".
        """

    @abc.abstractmethod
    def study_finished(self, outcome: StudyOutcome) -> Receipt:
        """Write what is left, for a bounded time, and say what was written.

        Parameters
        ----------
        outcome : StudyOutcome
            How the study ended, with all trials and the model.

        Returns
        -------
        Receipt
            Links to what was written, and what was not.
        """
