"""Read a study's records and collect from them what a summary says."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna

from gbtune.cautions import find_warnings
from gbtune.diagnostics import stored_diagnostics
from gbtune.ensemble import FINAL_MODEL_KEY, FinalModel
from gbtune.errors import InvalidArgument
from gbtune.records import STUDY_KEY, TRIAL_KEY, StudyRecord, TrialRecord
from gbtune.slots import is_cut
from gbtune.summary import SummaryFacts
from gbtune.views import StudyView

_STATES: dict[optuna.trial.TrialState, Literal["complete", "pruned", "failed"]] = {
    optuna.trial.TrialState.COMPLETE: "complete",
    optuna.trial.TrialState.PRUNED: "pruned",
    optuna.trial.TrialState.FAIL: "failed",
}
_Float = optuna.distributions.FloatDistribution
MIN_TRIALS = 10
"""Complete trials below which importances would be guesses."""


def read_records(study: optuna.Study) -> tuple[StudyRecord, list[TrialRecord]]:
    """Return the study's record and those of its finished trials, in number order.

    Optuna's state wins over the record's: a worker killed in mid-trial leaves a record that
    says "running". A finished trial without a record (someone else's) gets one from Optuna's data.

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> from gbtune.facts import read_records
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> read_records(study)[1]
    []
    """
    if isinstance(study, ReadStudy):
        return study.records
    text = study.user_attrs.get(STUDY_KEY)
    if text is None:
        raise InvalidArgument(
            f"A study tuned by gbtune has the user attribute {STUDY_KEY!r}; study {study.study_name!r} "
            "has none. Pass the study of a result, or one that ran a gbtune Objective."
        )
    trials = study.get_trials(deepcopy=False, states=tuple(_STATES))
    return StudyRecord.from_json(text), [_record(trial) for trial in sorted(trials, key=lambda t: t.number)]


class ReadStudy(StudyView):
    """A study as it is now, its records read once: for a report, whose every part looks at them.

    Parameters
    ----------
    study : optuna.Study
        One that a gbtune objective ran.

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.records = read_records(study)
        self._importances: tuple[dict[str, float], str] | None = None  # what another has found comes with it:
        super().__init__(study, study.get_trials(deepcopy=False))

    @property
    def importances(self) -> tuple[dict[str, float], str]:
        """`parameter_importances`, computed once."""
        if self._importances is None:
            self._importances = _compute_importances(self)
        return self._importances


def _record(trial: optuna.trial.FrozenTrial) -> TrialRecord:
    state = _STATES[trial.state]
    text = trial.user_attrs.get(TRIAL_KEY)
    if text is None:
        record = TrialRecord(trial.number, "running", trial.params, kind="other", sampled=tuple(trial.params))
    else:
        record = TrialRecord.from_json(text)
    if record.state == state:
        return record
    score = trial.value if state == "complete" else None
    return dataclasses.replace(record, state=state, score=score)


def collect_facts(
    study: optuna.Study,
    *,
    best_params: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    warnings: Iterable[str] = (),
    run_url: str | None = None,
    run_id: str | None = None,
    model_uri: str | None = None,
    tracking_uri: str | None = None,
    registered: str | None = None,
) -> SummaryFacts:
    """Read the facts of a summary from a study.

    Parameters
    ----------
    study : optuna.Study
        One that a gbtune objective ran.
    best_params : mapping, optional
        Default: `TrialRecord.all_params` of the best trial.
    seconds : float, optional
        Wall time. Default: from the study's start to the end of its last trial.
    warnings : iterable of str
        Said before those that `find_warnings` finds.
    run_url, run_id, model_uri, tracking_uri, registered : str, optional
        As in `SummaryFacts`.

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> from gbtune.facts import collect_facts
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> collect_facts(study).warnings
    ('No trial completed.',)
    """
    about, records = read_records(study)
    best = best_record(about, records)
    baseline = next((r for r in records if r.kind == "baseline" and r.score is not None), None)
    ended = max((record.ended_at for record in records), default=0)
    study = study if isinstance(study, ReadStudy) else ReadStudy(study)
    frozen = None if best is None else next(t for t in study.get_trials(deepcopy=False) if t.number == best.number)
    facts = SummaryFacts(
        study=about,
        best=best,
        best_params=best_params if best_params is not None else best.all_params if best else {},
        baseline=baseline,
        counts=Counter("interrupted" if is_cut(record) else record.state for record in records),
        seconds=seconds if seconds is not None else max(0, ended - about.started_at) / 1000,
        run_url=run_url,
        run_id=run_id,
        model_uri=model_uri,
        tracking_uri=tracking_uri,
        registered=registered,
        importances=study.importances[0],
        diagnostics=stored_diagnostics(study),
        final_model=stored_final_model(study),
    )
    found = find_warnings(facts, records, frozen.distributions if frozen else {})
    return dataclasses.replace(facts, warnings=tuple(dict.fromkeys([*warnings, *found])))


def best_record(about: StudyRecord, records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the complete trial of the best score (the earliest of equals), or None."""
    return next(iter(ranked(about, records)), None)


def shown_score(record: TrialRecord, best: TrialRecord | None) -> float | None:
    """Return a trial's score as it can be shown beside the others'.

    Folds are not equally hard, and a pruned trial ran some of them only. So it stands where it stood beside the best
    trial on the folds that both ran: at the best score plus the mean difference on these.

    Parameters
    ----------
    record : TrialRecord
        Complete, pruned or failed.
    best : TrialRecord or None
        The best complete trial.

    Examples
    --------
    >>> from gbtune.facts import shown_score
    >>> from gbtune.records import TrialRecord
    >>> best = TrialRecord(0, "complete", {}, score=0.5, fold_scores=(0.25, 0.75))
    >>> shown_score(TrialRecord(1, "pruned", {}, partial_score=0.375, fold_scores=(0.375,)), best)
    0.625
    """
    if record.state == "complete":
        return record.score
    done = record.fold_scores
    if best is None or best.score is None or not 0 < len(done) < len(best.fold_scores):
        return record.partial_score
    return best.score + float(np.mean(np.subtract(done, best.fold_scores[: len(done)])))


def ranked(about: StudyRecord, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials, best first (of equals the earliest)."""
    # Somebody else's trial has no rounds to fit a model with, and may have been scored on other rows.
    ours = [record for record in records if record.state == "complete" and record.kind != "other"]
    scored = [record for record in ours if record.score is not None and math.isfinite(record.score)]
    sign = 1.0 if about.direction == "minimize" else -1.0
    # By slot: among equals the choice does not depend on what interrupted the study.
    scored.sort(key=lambda record: record.number if record.slot is None else record.slot)
    return sorted(scored, key=lambda record: sign * (record.score or 0.0))


def stored_final_model(study: optuna.Study) -> FinalModel | None:
    """Return which trials' configurations the study's final model was fitted with; None if there is no such model."""
    text = study.user_attrs.get(FINAL_MODEL_KEY)
    return None if text is None else FinalModel.from_json(text)


def sampled_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the complete trials whose parameters lie in the space (the baseline may not), worst first."""
    trials = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if trial.params
        and trial.value is not None
        and math.isfinite(trial.value)
        and all(_inside(trial.params[name], space) for name, space in trial.distributions.items())
    ]
    worst_is_high = study.direction == optuna.study.StudyDirection.MINIMIZE
    return sorted(trials, key=lambda trial: trial.value or 0.0, reverse=worst_is_high)


def parameter_importances(study: optuna.Study) -> tuple[dict[str, float], str]:
    """Return each varied parameter's share in what separates good trials from bad ones, or why there is none.

    Optuna's default evaluator, PED-ANOVA (Watanabe et al., IJCAI 2023, https://arxiv.org/abs/2304.10255), over the
    complete trials that were sampled.

    Parameters
    ----------
    study : optuna.Study
        One that a gbtune objective ran.

    Returns
    -------
    importances : dict of str to float
        The largest first; they sum to one. Empty where there are too few trials to tell.
    reason : str
        Then a sentence that says why; else empty.

    Raises
    ------
    InvalidArgument
        If the study holds no gbtune record.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.facts import parameter_importances
    >>> from gbtune.records import STUDY_KEY, StudyRecord
    >>> study = optuna.create_study()
    >>> about = StudyRecord("1", "demo", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                     "binary", 99, 4, "5 folds", 5)
    >>> study.set_user_attr(STUDY_KEY, about.to_json())
    >>> parameter_importances(study)
    ({}, 'Importance needs at least 10 complete trials; there are 0.')
    """
    return (study if isinstance(study, ReadStudy) else ReadStudy(study)).importances


def _compute_importances(study: ReadStudy) -> tuple[dict[str, float], str]:
    trials = sampled_trials(study)
    if len(trials) < MIN_TRIALS:
        return {}, f"Importance needs at least {MIN_TRIALS} complete trials; there are {len(trials)}."
    if len({trial.value for trial in trials}) == 1:
        return {}, "Every trial has the same score, so no parameter matters more than another."
    seen: dict[str, set[str]] = {}
    for trial in trials:
        for name in trial.params:
            seen.setdefault(name, set())
    for trial in trials:
        for name, values in seen.items():
            values.add(repr(trial.params.get(name)))
    varied = sorted(name for name, values in seen.items() if len(values) > 1)
    if len(varied) < 2:
        which = f"only {varied[0]} was" if varied else "none was"
        return {}, f"Importance compares parameters; {which} varied."
    found = optuna.importance.get_param_importances(StudyView(study, _in_one_range(trials)), params=varied)
    shares = {name: float(share) for name, share in found.items() if math.isfinite(share)}
    return dict(sorted(shares.items(), key=lambda item: -item[1])), ""


def _in_one_range(trials: list[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
    """Return trials as if each range had always been the widest one that any of them had.

    Optuna splits importance by ranges, and a study whose learning rate was given a floor has several.
    """
    widest: dict[str, Any] = {}
    for trial in trials:
        for name, space in trial.distributions.items():
            known = widest.setdefault(name, space)
            if isinstance(known, _Float) and isinstance(space, _Float) and known != space:
                low, high = min(known.low, space.low), max(known.high, space.high)
                widest[name] = _Float(low, high, log=known.log, step=known.step)
    seen = [copy.copy(trial) for trial in trials]
    for trial in seen:
        trial.distributions = {name: widest[name] for name in trial.distributions}
    return seen


def _inside(value: Any, distribution: optuna.distributions.BaseDistribution) -> bool:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return value in distribution.choices
    return bool(distribution.low <= value <= distribution.high)  # type: ignore[attr-defined]
