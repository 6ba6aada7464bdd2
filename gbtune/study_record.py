"""Describes a study: what is tuned on what, with which versions."""

from __future__ import annotations

import dataclasses
import platform
import time
import uuid
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import optuna

import gbtune
from gbtune.errors import InvalidArgument
from gbtune.records import StudyRecord

if TYPE_CHECKING:
    from gbtune.evaluation import Evaluator
    from gbtune.spaces import SearchSpace

_PACKAGES = {
    "optuna": ("optuna",),
    "xgboost": ("xgboost", "xgboost-cpu"),  # the same import under two names
    "lightgbm": ("lightgbm",),
    "scikit-learn": ("scikit-learn",),
    "pandas": ("pandas",),
    "numpy": ("numpy",),
    "mlflow": ("mlflow", "mlflow-skinny"),
}


def versions() -> dict[str, str]:
    """Return the versions of Python, gbtune, the platform and the libraries; nothing is imported for it.

    Examples
    --------
    >>> from gbtune.study_record import versions
    >>> sorted(versions())[:3]
    ['gbtune', 'lightgbm', 'mlflow']
    """
    found = {"python": platform.python_version(), "platform": platform.platform(), "gbtune": gbtune.__version__}
    for name, distributions in _PACKAGES.items():
        for distribution in distributions:
            try:
                found[name] = version(distribution)
                break
            except PackageNotFoundError:
                continue
    return found


def describe_study(
    evaluator: Evaluator, space: SearchSpace, study: optuna.Study, *, seed: int | None, study_seed: int, **details: Any
) -> StudyRecord:
    """Return the record of a study of `evaluator` over `space`.

    Parameters
    ----------
    evaluator : Evaluator
        Family, data, folds and metrics.
    space : SearchSpace
        What is searched.
    study : optuna.Study
        Gives name, sampler and pruner.
    seed, study_seed
        As given, and as in use.
    **details
        Further fields of `StudyRecord`, such as the budget; they win.
    """
    data = evaluator.data
    facts: dict[str, Any] = {
        "uid": uuid.uuid4().hex,
        "name": study.study_name,
        "family": evaluator.family.name,
        "space": space.key,
        "space_version": str(space.version),
        "space_definition": space.to_dict(),
        "metric": evaluator.metric.name,
        "direction": evaluator.metric.direction,
        "extra_metrics": tuple(metric.name for metric in evaluator.extra_metrics),
        "task": data.task,
        "n_rows": data.n_rows,
        "n_columns": data.n_columns,
        "classes": data.classes,
        "columns": data.encoder.kinds,
        "data_fingerprint": data.fingerprint,
        "folds": evaluator.folds.description,
        "n_folds": len(evaluator.folds),
        "folds_fingerprint": evaluator.folds.fingerprint,
        "sampler": type(study.sampler).__name__,
        "pruner": type(study.pruner).__name__,
        "seed": seed,
        "study_seed": study_seed,
        "versions": versions(),
        "started_at": time.time_ns() // 1_000_000,
    }
    return StudyRecord(**{**facts, **details})


_SHORT_NAMES = {"xgboost": "tune_xgb", "lightgbm": "tune_lgbm"}
_ELSEWHERE = ("family", "n_jobs", "study", "storage", "tracking", "register", "promote", "progress")
"""Say where a study runs and is shown, not what it finds; the family has a place of its own."""


def call_words(family: str, arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return the Python call that finds the same again, on the same data.

    What cannot be written in a line stands as its argument's name, or as ``...``.

    Parameters
    ----------
    family : str
        Name of the model family.
    arguments, defaults : mapping of str to object
        Of `gbtune.tune`, by name.

    Examples
    --------
    >>> from gbtune.study_record import call_words
    >>> call_words("xgboost", {"cv": 3, "groups": [1, 1, 2], "seed": 0}, {"cv": None, "groups": None, "seed": 0})
    'tune_xgb(X, y, cv=3, groups=groups, seed=0)'
    """
    words = [] if family in _SHORT_NAMES else [f"family={family!r}"]
    for name, default in defaults.items():
        value = arguments.get(name, default)
        if name in ("sample_weight", "groups"):
            words += [] if value is None else [f"{name}={name}"]
        elif name == "seed" or (
            name not in _ELSEWHERE and not (value is default or (_is_plain(value) and value == default))
        ):
            words.append(f"{name}={_value_words(value)}")
    return f"{_SHORT_NAMES.get(family, 'tune')}({', '.join(['X', 'y', *words])})"


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool | None)


def _value_words(value: object) -> str:
    text = repr(value)
    return text if _is_plain(value) or not (len(text) > 200 or "\n" in text or "<" in text) else "..."


_MAY_CHANGE = {"space": "space_definition", "sampler": "sampler", "pruner": "pruner"}


def continued(before: StudyRecord, now: StudyRecord, n_trials: int) -> StudyRecord:
    """Return the record of a study that goes on: the same study, and what was changed.

    Parameters
    ----------
    before, now : StudyRecord
        As stored, and as this call would describe it.
    n_trials : int
        Trials in the study so far.

    Examples
    --------
    >>> import dataclasses
    >>> from gbtune.records import StudyRecord
    >>> from gbtune.study_record import continued
    >>> then = StudyRecord("1", "churn", "xgboost", "xgboost/core", "1", {}, "log_loss", "minimize",
    ...                    "binary", 99, 4, "5 folds", 5, sampler="random")
    >>> continued(then, dataclasses.replace(then, uid="2", sampler="tpe"), 12).changes
    ('after 12 trials: sampler random became tpe',)
    """
    changed = [
        f"{shown} {getattr(before, shown)} became {getattr(now, shown)}"
        if getattr(before, shown) != getattr(now, shown)
        else f"{shown} {getattr(now, shown)} has other values"
        for shown, field in _MAY_CHANGE.items()
        if getattr(before, field) != getattr(now, field)
    ]
    added = len(now.warm_start) - len(before.warm_start)
    if added > 0:
        changed.append(f"warm start with {added} more")
    changes = (*before.changes, *([f"after {n_trials} trials: {', '.join(changed)}"] if changed else []))
    return dataclasses.replace(now, uid=before.uid, name=before.name, started_at=before.started_at, changes=changes)


def refuse_differences(before: StudyRecord, now: StudyRecord) -> None:
    """Refuse to go on with something else than a study's trials were scored on.

    Metrics are compared by name.

    Raises
    ------
    InvalidArgument
        With what differs, and how to start a new study.
    """
    different = differences(before, now)
    if different:
        raise InvalidArgument(
            f"A study goes on only with what its trials were scored on. Study {before.name!r} differs: "
            f"{'; '.join(different)}. Start a new one: study={before.name + '-2'!r}"
        )


def differences(before: StudyRecord, now: StudyRecord) -> list[str]:
    """Return why the trials of two records cannot be compared, in words; empty if they can."""
    words = []
    for what in ("family", "task", "metric"):
        then, here = getattr(before, what), getattr(now, what)
        if then != here:
            words.append(f"{what} {then} then, {here} now")
    if before.data_fingerprint != now.data_fingerprint:
        then, here = (f"{r.n_rows:,} rows x {r.n_columns} columns ({r.data_fingerprint})" for r in (before, now))
        words.append(f"data {then} then, {here} now")
    elif before.folds_fingerprint != now.folds_fingerprint:
        then, here = (f"{r.folds}, seed {r.seed} ({r.folds_fingerprint})" for r in (before, now))
        words.append(f"folds {then} then, {here} now")
    elif before.study_seed != now.study_seed:  # the boosters draw other rows and columns
        words.append(f"seed {before.study_seed} then, {now.study_seed} now")
    return words
