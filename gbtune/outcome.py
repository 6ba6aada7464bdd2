"""How a study ended, for people: summary, report, model, in the form that trackers take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

import optuna

from gbtune.facts import ReadStudy, collect_facts
from gbtune.final_model import member_seed
from gbtune.objective import Objective
from gbtune.recipe import describe_recipe
from gbtune.records import ModelBundle, StudyOutcome
from gbtune.report import render_report
from gbtune.study_record import versions
from gbtune.summary import SummaryFacts, summary_markdown


def describe_outcome(
    study: optuna.Study,
    state: Literal["complete", "interrupted", "failed"],
    *,
    seconds: float | None = None,
    model: ModelBundle | None = None,
    register: str | None = None,
    promote: bool = True,
    facts: SummaryFacts | None = None,
) -> StudyOutcome:
    """Return the outcome of a study that a gbtune objective ran.

    Parameters
    ----------
    study : optuna.Study
        With its records.
    state : {"complete", "interrupted", "failed"}
        How it ended.
    seconds : float, optional
        Wall time. Default: from the first trial's start to the last one's end.
    model : ModelBundle, optional
        The fitted model.
    register : str, optional
        Name in the model registry.
    promote : bool, default True
        Whether the first version of that name becomes its champion.
    facts : SummaryFacts, optional
        Of the study, where they have been collected already.

    Examples
    --------
    >>> import gbtune
    >>> from gbtune.outcome import describe_outcome
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> result = gbtune.tune_lgbm(X, y, n_trials=2, tracking=False, progress=False)
    >>> describe_outcome(result.study, "complete").best.score == result.best_score
    True
    """
    study = ReadStudy(study)
    facts = collect_facts(study, seconds=seconds) if facts is None else facts
    summary = summary_markdown(facts)
    gain, gain_se = facts.gain or (None, None)
    return StudyOutcome(
        state=state,
        best=facts.best,
        best_params=facts.best_params,
        baseline_score=None if facts.baseline is None else facts.baseline.score,
        gain=gain,
        gain_se=gain_se,
        summary=summary,
        report_html=render_report(study, summary, seconds=facts.seconds) if facts.best is not None else "",
        trials=study.records[1],
        model=model,
        ended_at=time.time_ns() // 1_000_000,
        importances=facts.importances,
        register=register,
        promote=promote,
    )


def bundle_model(
    objective: Objective, model: Any, example: Any, *members: Mapping[str, Any], threads: int = 1
) -> ModelBundle:
    """Return a fitted model with what it needs to predict from raw columns, and to be fitted again.

    Parameters
    ----------
    objective : Objective
        What was tuned.
    model : object
        Fitted on all rows.
    example : pandas.DataFrame
        A few raw rows.
    *members : mapping
        The parameters of each model that it is the mean of, the best first; those of one, if it is one.
    threads : int, default 1
        Of the booster while it was fitted.
    """
    data, found = objective.data, versions()
    return ModelBundle(
        family=objective.family.name,
        estimator=model,
        columns=data.encoder.to_dict(),
        task=data.task,
        classes=data.classes,
        example=example,
        requirements=tuple(
            f"{package}=={found[package]}"
            for package in (objective.family.extra, "pandas", "numpy", "scipy")
            if package in found
        ),
        recipe=describe_recipe(
            objective.evaluator,
            members[0],
            study_seed=objective.study_seed,
            seed=member_seed(objective.study_seed, 0),
            more=[(params, member_seed(objective.study_seed, i)) for i, params in enumerate(members)][1:],
            threads=threads,
            versions=found,
        ),
    )
