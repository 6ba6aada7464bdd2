"""An Optuna study, also one that gbtune's objective has nothing to do with, as records."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from typing import TYPE_CHECKING, Any, Literal

from gbtune.records import STUDY_KEY, TRIAL_KEY, StudyOutcome, StudyRecord, TrialRecord

if TYPE_CHECKING:
    import datetime

    import optuna

_STATES: dict[str, Literal["complete", "pruned", "failed"]] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}


def study_record(study: optuna.Study) -> StudyRecord:
    """Return the record that `gbtune.Objective` left in the study, or else what Optuna knows.

    It says where the study is kept: what is in a storage is not this process's alone.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.tracking.callback import study_record
    >>> study_record(optuna.create_study(study_name="mine")).name
    'mine'
    """
    from gbtune.storage import describe

    written = study.user_attrs.get(STUDY_KEY)
    if written is not None:
        record = StudyRecord.from_json(written)
        return record if record.storage else dataclasses.replace(record, storage=describe(study))
    trials = study.get_trials(deepcopy=False)
    started = _milliseconds(trials[0].datetime_start) if trials else int(time.time() * 1000)
    digest = hashlib.sha256(f"{study.study_name}|{started}".encode()).hexdigest()[:16]
    maximize = study.directions[0].name == "MAXIMIZE"
    return StudyRecord(
        uid=f"optuna-{digest}",
        name=study.study_name,
        family="",
        space="",
        space_version="",
        space_definition={},
        metric=(study.metric_names or ["value"])[0],
        direction="maximize" if maximize else "minimize",
        task="",
        n_rows=0,
        n_columns=0,
        folds="",
        n_folds=0,
        sampler=type(study.sampler).__name__,
        pruner=type(study.pruner).__name__,
        started_at=started,
        storage=describe(study),
    )


def trial_record(trial: optuna.trial.FrozenTrial) -> TrialRecord | None:
    """Return the record that `gbtune.Objective` left in the trial, or else what Optuna knows.

    None for a trial that has not finished.
    """
    if trial.state.name not in _STATES:
        return None
    state = _STATES[trial.state.name]
    written = trial.user_attrs.get(TRIAL_KEY)
    if written is not None:
        record = TrialRecord.from_json(written)
        if record.state != "running":
            return record
    values = trial.values or []
    steps = sorted(trial.intermediate_values)
    return TrialRecord(
        number=trial.number,
        state=state,
        params=dict(trial.params),
        sampled=tuple(trial.params),
        score=values[0] if state == "complete" else None,
        partial_score=trial.intermediate_values[steps[-1]] if state == "pruned" and steps else None,
        curve_rounds=tuple(steps),
        curve=tuple(trial.intermediate_values[step] for step in steps),
        extra={f"value_{i}": value for i, value in enumerate(values) if len(values) > 1},
        started_at=_milliseconds(trial.datetime_start),
        ended_at=_milliseconds(trial.datetime_complete),
    )


def outcome(study: optuna.Study, record: StudyRecord) -> StudyOutcome:
    """Return how a study stands now, from its trials alone."""
    found = [trial_record(trial) for trial in study.get_trials(deepcopy=False)]
    return outcome_of(record, [trial for trial in found if trial is not None])


def outcome_of(
    record: StudyRecord, trials: list[TrialRecord], state: Literal["complete", "interrupted"] = "complete"
) -> StudyOutcome:
    """Return how a study stands, from its trials alone: without report and model.

    Examples
    --------
    >>> from gbtune.testing.trackers import example_study, example_trials
    >>> from gbtune.tracking.callback import outcome_of
    >>> outcome_of(example_study(), example_trials()).summary
    '**example**: 3 complete, 1 pruned, 1 failed trials. Best roc_auc: 0.74 (trial 1).'
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.score is not None]
    sign = 1.0 if record.direction == "maximize" else -1.0

    def goodness(trial: TrialRecord) -> float:
        return sign * (trial.score or 0.0)

    best = max(complete, key=goodness) if complete else None
    baseline = next((trial.score for trial in complete if trial.kind == "baseline"), None)
    gain = None
    if best is not None and best.score is not None and baseline is not None:
        gain = sign * (best.score - baseline)
    counts = ", ".join(f"{sum(t.state == s for t in trials)} {s}" for s in ("complete", "pruned", "failed"))
    summary = f"**{record.name}**: {counts} trials."
    best_params: dict[str, Any] = best.all_params if best else {}
    if best is not None:
        summary += f" Best {record.metric}: {best.score:.6g} (trial {best.number})."
    return StudyOutcome(
        state=state,
        best=best,
        best_params=best_params,
        baseline_score=baseline,
        gain=gain,
        gain_se=None,
        summary=summary,
        report_html="",
        trials=trials,
        model=None,
        ended_at=max([trial.ended_at for trial in trials], default=record.started_at),
    )


def _milliseconds(moment: datetime.datetime | None) -> int:
    return int(moment.timestamp() * 1000) if moment is not None else 0
