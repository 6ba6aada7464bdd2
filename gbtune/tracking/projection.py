"""A record in the terms of a run: name, tags, parameters, metrics, times. Pure; no MLflow here."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import gbtune
from gbtune.records import StudyRecord, TrialRecord
from gbtune.thinning import thin

MAX_PARAM = 6000
"""Characters of a parameter's value; MLflow cuts longer ones without a word."""
MAX_TAG = 8000
MAX_KEY = 250
MAX_CURVE_POINTS = 50
"""Of a trial's run: each point is a row in MLflow's database and costs it about 0.06 ms of CPU."""

SPREAD = "cv/std"
"""Metric of a trial: the sample standard deviation (``ddof=1``) of the scores of its finished folds, two at least."""
TRIAL_NUMBER = "trial"
"""Metric of a trial: its number, so that MLflow's charts can have it as an axis."""

_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_STOPPED_BY = {"race": "the race", "deadline": "the deadline", "interrupt": "an interrupt"}
_STATE = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


@dataclasses.dataclass(frozen=True)
class Point:
    """One value of a metric; `timestamp` in milliseconds since the epoch."""

    key: str
    value: float
    timestamp: int
    step: int = 0


@dataclasses.dataclass(frozen=True)
class Projection:
    """All of a run. Equal for equal records, so that writing it again changes nothing.

    Parameters
    ----------
    name : str
        Run name.
    status : {"FINISHED", "KILLED", "FAILED"}
        Of the run.
    start, end : int
        Milliseconds since the epoch.
    tags, params : dict of str to str
        Keys and values as MLflow accepts them.
    points : list of Point
        Finite values only.
    """

    name: str
    status: str
    start: int
    end: int
    tags: dict[str, str]
    params: dict[str, str]
    points: list[Point]


def safe_key(name: str) -> str:
    """Return a metric or parameter name with only the characters that MLflow accepts.

    Examples
    --------
    >>> from gbtune.tracking.projection import safe_key
    >>> safe_key("ndcg@5"), safe_key("a[0]"), safe_key("/top/../x")
    ('ndcg_at_5', 'a_0_', 'top/_/x')
    """
    clean = re.sub(r"[^/\w.\- :]", "_", str(name).replace("@", "_at_"))
    parts = [part if part.strip(".") else "_" for part in clean.split("/") if part]
    return "/".join(parts)[:MAX_KEY] or "_"


def cut(text: str, limit: int = MAX_TAG) -> str:
    """Return `text` with at most `limit` characters; the middle goes, as a traceback's ends say most.

    Examples
    --------
    >>> from gbtune.tracking.projection import cut
    >>> cut("abcdefghij", 7)
    'a ... j'
    """
    if len(text) <= limit:
        return text
    head = (limit - 5) // 2
    return f"{text[:head]} ... {text[len(text) - (limit - 5 - head) :]}"


def curve_name(study: StudyRecord) -> str:
    """Return the metric of a complete trial's learning curve, over all folds.

    Of another trial it is ``partial_curve/...``: over fewer folds, so no line to compare with.
    """
    return f"curve/{study.metric}"


def trial_uid(study: StudyRecord, number: int) -> str:
    """Return the key of a trial's run."""
    return f"{study.uid}:{number}"


def project_trial(study: StudyRecord, trial: TrialRecord) -> Projection:
    """Return a finished trial as a run.

    A pruned or failed trial has no point under the metric's name: its score over the folds that
    were run is ``partial_score``, its curve ``partial_curve/<metric>``.

    Examples
    --------
    >>> from gbtune.records import StudyRecord, TrialRecord
    >>> from gbtune.tracking.projection import project_trial
    >>> space = ("xgboost", "xgboost/core", "1", {})
    >>> study = StudyRecord("uid", "name", *space, "auc", "maximize", "binary", 9, 2, "hold-out", 1)
    >>> run = project_trial(study, TrialRecord(18, "pruned", {"eta": 0.1}, partial_score=0.7))
    >>> run.name, run.status, [point.key for point in run.points]
    ('#0018 xgboost', 'KILLED', ['partial_score', 'trial'])
    """
    points = _Points(trial.ended_at)
    if trial.state == "complete":
        points.add(study.metric, trial.score)
    points.add("partial_score", trial.partial_score)
    points.add(TRIAL_NUMBER, trial.number)
    if len(trial.fold_scores) > 1 and np.isfinite(trial.fold_scores).all():
        points.add(SPREAD, float(np.std(trial.fold_scores, ddof=1)))
    for fold, score in enumerate(trial.fold_scores):
        points.add(f"cv/fold{fold}", score)
    curve = curve_name(study) if trial.state == "complete" else f"partial_{curve_name(study)}"
    for position in thin(len(trial.curve), MAX_CURVE_POINTS):
        points.add(curve, trial.curve[position], trial.curve_rounds[position])
    for name, value in trial.extra.items():
        points.add(f"extra/{name}", value)
    for phase, seconds in trial.seconds.items():
        points.add(f"time/{phase}", seconds)
    if trial.rounds_grown:
        points.add("rounds/grown", sum(trial.rounds_grown))
    params, tags = _params(trial.all_params, points.renamed)
    tags |= {
        "mlflow.runName": f"#{trial.number:04d} {study.family}".rstrip(),
        "gbtune.kind": "trial",
        "gbtune.trial": str(trial.number),
        "gbtune.trial_uid": trial_uid(study, trial.number),
        "gbtune.study_uid": study.uid,
        "gbtune.state": _STATE[trial.state],
        "gbtune.origin": trial.kind,
        "gbtune.space": study.space,
        "gbtune.space_version": study.space_version,
        "gbtune.sampled": ", ".join(trial.sampled),
        "gbtune.provenance": trial.provenance,
        "gbtune.reason": trial.reason or "",
        "gbtune.slot": "" if trial.slot is None else str(trial.slot),
        "gbtune.duplicate_of": "" if trial.duplicate_of is None else str(trial.duplicate_of),
        "gbtune.nonfinite": ", ".join(sorted(points.dropped)),
    }
    if trial.error:
        tags["gbtune.error"] = trial.error.strip().splitlines()[-1]
    tags["mlflow.note.content"] = _trial_note(study, trial)
    return Projection(
        name=tags["mlflow.runName"],
        status=_STATUS[trial.state],
        start=trial.started_at,
        end=max(trial.ended_at, trial.started_at),
        tags=_tags(tags),
        params=params,
        points=points.kept,
    )


def project_study(study: StudyRecord) -> Projection:
    """Return a study that has started as a run: FINISHED at once, its real state is a tag.

    A process that is killed can then leave no run that is RUNNING for ever.
    """
    params, tags = _params(
        {
            "family": study.family,
            "space": study.space,
            "space_version": study.space_version,
            "task": study.task,
            "metric": study.metric,
            "direction": study.direction,
            "sampler": study.sampler,
            "pruner": study.pruner,
            "folds": study.folds,
            "n_folds": study.n_folds,
            "seed": study.seed,
            "study_seed": study.study_seed,
            "n_trials": study.n_trials,
            "timeout": study.timeout,
            "n_jobs": study.n_jobs,
            "n_rows": study.n_rows,
            "n_columns": study.n_columns,
        },
        renamed_metric(study),
    )
    name = study.name or f"{study.family} {study.metric}".strip()
    tags |= {
        "mlflow.runName": name,
        "gbtune.kind": "study",
        "gbtune.study": study.name,
        "gbtune.study_uid": study.uid,
        "gbtune.state": "running",
        "gbtune.family": study.family,
        "gbtune.metric": study.metric,
        "gbtune.direction": study.direction,
        "gbtune.space": study.space,
        "gbtune.space_version": study.space_version,
        "gbtune.data_fingerprint": study.data_fingerprint,
        "gbtune.folds_fingerprint": study.folds_fingerprint,
        "gbtune.extra_metrics": ", ".join(study.extra_metrics),
        "gbtune.plan": study.plan,
        "gbtune.storage": study.storage,
        "gbtune.warm_start": study.warm_start_words,
        "gbtune.changes": "; ".join(study.changes),
        "gbtune.version": gbtune.__version__,
        **{f"gbtune.version.{library}": version for library, version in study.versions.items()},
    }
    return Projection(
        name=name,
        status="FINISHED",
        start=study.started_at,
        end=study.started_at,
        tags=_tags(tags),
        params=params,
        points=[],
    )


IN_RECIPE = ("gbtune.space", "gbtune.space_version", "gbtune.direction", "gbtune.folds_fingerprint")
"""Tags of a model that its versions lack: the registry's list shows all of a version's, one below the other."""


def model_tags(study: StudyRecord, run_id: str, digest: str, points: Iterable[Point]) -> dict[str, str]:
    """Return the tags of a study's model: where it comes from, how good it is.

    Parameters
    ----------
    study : StudyRecord
        The study.
    run_id : str
        Of the study's run.
    digest : str
        Of the model's recipe.
    points : iterable of Point
        Its scores.
    """
    tags = {
        "gbtune.recipe": digest,
        "gbtune.study_uid": study.uid,
        "gbtune.study": study.name,
        "gbtune.run_id": run_id,
        "gbtune.family": study.family,
        "gbtune.metric": study.metric,
        "gbtune.direction": study.direction,
        "gbtune.data_fingerprint": study.data_fingerprint,
        "gbtune.folds_fingerprint": study.folds_fingerprint,
        "gbtune.space": study.space,
        "gbtune.space_version": study.space_version,
    }
    return _tags(tags | {f"gbtune.score.{point.key}": repr(point.value) for point in points})


def best_so_far(study: StudyRecord, trials: Iterable[TrialRecord]) -> list[Point]:
    """Return the best score after each trial, by number: points of the metric with step = trial number.

    Examples
    --------
    >>> from gbtune.records import StudyRecord, TrialRecord
    >>> from gbtune.tracking.projection import best_so_far
    >>> space = ("xgboost", "xgboost/core", "1", {})
    >>> study = StudyRecord("uid", "name", *space, "auc", "maximize", "binary", 9, 2, "hold-out", 1)
    >>> trials = [TrialRecord(i, "complete", {}, score=score) for i, score in enumerate([0.7, 0.6, 0.8])]
    >>> [point.value for point in best_so_far(study, trials)]
    [0.7, 0.7, 0.8]
    """
    better = max if study.direction == "maximize" else min
    best: float | None = None
    points = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state == "complete" and trial.score is not None and math.isfinite(trial.score):
            best = trial.score if best is None else better(best, trial.score)
        if best is not None:
            points.append(Point(safe_key(study.metric), best, trial.ended_at, trial.number))
    return points


def scalar_points(values: Mapping[str, float | None], timestamp: int) -> list[Point]:
    """Return points of the values that are finite numbers."""
    points = _Points(timestamp)
    for name, value in values.items():
        points.add(name, value)
    return points.kept


def project_params(study: StudyRecord, values: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return parameters of a run with the study's metric, and the tags that say what is not as given.

    Examples
    --------
    >>> from gbtune.records import StudyRecord
    >>> from gbtune.tracking.projection import project_params
    >>> space = ("xgboost", "xgboost/core", "1", {})
    >>> study = StudyRecord("uid", "name", *space, "ndcg@5", "maximize", "binary", 9, 2, "hold-out", 1)
    >>> project_params(study, {"eta": 0.1})
    ({'eta': '0.1'}, {'gbtune.renamed': 'ndcg@5 -> ndcg_at_5'})
    """
    return _params(values, renamed_metric(study))


def renamed_metric(study: StudyRecord) -> dict[str, str]:
    """Return the study's metric and its key, if MLflow refuses the name."""
    key = safe_key(study.metric)
    return {} if key == study.metric else {study.metric: key}


class _Keys:
    """Gives each name a key of its own that MLflow accepts."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._taken: set[str] = set()

    def __getitem__(self, name: str) -> str:
        if name not in self._keys:
            key, number = safe_key(name), 1
            while key in self._taken:
                number += 1
                key = f"{safe_key(name)[: MAX_KEY - 4]}_{number}"
            self._keys[name] = key
            self._taken.add(key)
        return self._keys[name]

    @property
    def renamed(self) -> dict[str, str]:
        """Names and keys that are not equal."""
        return {name: key for name, key in self._keys.items() if name != key}


class _Points:
    """Collects finite points; infinity would be stored as 1.8e308 and NaN has broken run pages."""

    def __init__(self, timestamp: int) -> None:
        self.timestamp = timestamp
        self.kept: list[Point] = []
        self.dropped: set[str] = set()
        self._keys = _Keys()

    @property
    def renamed(self) -> dict[str, str]:
        return self._keys.renamed

    def add(self, name: str, value: float | None, step: int = 0) -> None:
        if value is None:
            return
        if math.isfinite(value):
            self.kept.append(Point(self._keys[name], float(value), self.timestamp, int(step)))
        else:
            self.dropped.add(name)


def _params(values: Mapping[str, Any], renamed_metrics: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return parameters and the tags that say which of them were cut, and which names of the run are others."""
    params: dict[str, str] = {}
    keys, long = _Keys(), []
    for name, value in values.items():
        key = keys[str(name)]
        text = param_text(value)
        if len(text) > MAX_PARAM:
            long.append(f"{key} ({len(text)} characters)")
        params[key] = cut(text, MAX_PARAM)
    renamed = [f"{name} -> {key}" for name, key in {**renamed_metrics, **keys.renamed}.items()]
    tags = {"gbtune.long_params": ", ".join(long), "gbtune.renamed": ", ".join(renamed)}
    return params, {key: value for key, value in tags.items() if value}


def param_text(value: object) -> str:
    """Return a parameter's value as text: JSON for collections, so that a list and a tuple are the same."""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str)
    return str(value)


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: cut(value) for key, value in tags.items() if value}


def _trial_note(study: StudyRecord, trial: TrialRecord) -> str:
    """Return what a trial's status, parameters and metrics do not say; empty where they say all."""
    if trial.error:
        return f"```text\n{cut(trial.error.strip(), MAX_TAG - 20)}\n```"
    lines = []
    if trial.state == "pruned":
        by = _STOPPED_BY.get(trial.reason or "", "its pruner")
        folds, many = len(trial.fold_scores), "s" if trial.n_folds != 1 else ""
        after = f"{folds} of {trial.n_folds} fold{many}"
        if folds == trial.n_folds and trial.rounds_grown:
            after = f"{max(trial.rounds_grown)} rounds"
        score = "" if trial.partial_score is None else f": {study.metric} {trial.partial_score:.5g} by then"
        lines.append(f"Stopped by {by} after {after}{score}." if trial.n_folds else f"Stopped by {by}{score}.")
    if trial.provenance:
        lines.append(f"{'Portfolio entry: ' if trial.kind == 'portfolio' else ''}{trial.provenance}")
    return "\n\n".join(lines)
