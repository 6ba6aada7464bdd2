"""The one-line calls. They only put public parts together: objective, sampler, pruner, study, tracker, result."""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
import time
from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Unpack

import optuna
import pandas as pd
from optuna.storages import BaseStorage

from gbtune import pruners, samplers
from gbtune.after_study import after_study
from gbtune.columns import as_table
from gbtune.earlier import read_sources
from gbtune.errors import InvalidArgument, UnknownName
from gbtune.families import ModelFamily
from gbtune.final_model import checked_ensemble
from gbtune.locations import studies_root, study_folder
from gbtune.objective import Objective
from gbtune.promotion import Policy, check_policy
from gbtune.result import TuningResult
from gbtune.storage import open_storage
from gbtune.study import Clock, open_study, stored_record
from gbtune.study_record import call_words
from gbtune.summary import plural
from gbtune.tracking import MLflowTracker, Tracker
from gbtune.tracking.model_registry import check_model_name
from gbtune.tracking.process import started_apart
from gbtune.tuning import Budget, StartedMeanwhile, Tuning

DEFAULT_TRIALS, DEFAULT_SECONDS = 100, 600.0


class Arguments(TypedDict, total=False):
    """The keyword arguments of `tune`, less the family; defaults and meanings are there."""

    space: Any
    sampler: samplers.SamplerLike
    pruner: str | optuna.pruners.BasePruner | None
    n_trials: int | None
    timeout: float | None
    cv: Any
    metric: Any
    task: str | None
    sample_weight: Any
    groups: Any
    seed: int | None
    n_jobs: int | None
    isolation: Literal["thread", "process"]
    study: str | optuna.Study | None
    storage: Any
    warm_start: Any
    ensemble: int | None
    tracking: bool | str | Tracker
    register: str | None
    promote: Policy
    progress: bool


def tune(
    X: Any,
    y: Any,
    *,
    family: str | ModelFamily,
    space: Any = None,
    sampler: samplers.SamplerLike = "tpe",
    pruner: str | optuna.pruners.BasePruner | None = "race",
    n_trials: int | None = None,
    timeout: float | None = None,
    cv: Any = None,
    metric: Any = None,
    task: str | None = None,
    sample_weight: Any = None,
    groups: Any = None,
    seed: int | None = 0,
    n_jobs: int | None = None,
    isolation: Literal["thread", "process"] = "thread",
    study: str | optuna.Study | None = None,
    storage: Any = None,
    warm_start: Any = None,
    ensemble: int | None = None,
    tracking: bool | str | Tracker = True,
    register: str | None = None,
    promote: Policy = "if_better",
    progress: bool = True,
    **unknown: Any,
) -> TuningResult:
    """Tune a gradient-boosting model and fit it on all rows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        pandas (numbers, booleans, strings, categories, nullable and Arrow-backed), numpy, scipy-sparse. Missing
        values and categories are handled by the library. Never changed.
    y : array-like of shape (n_samples,)
        Labels (strings, booleans, integers) or values.
    family : str or ModelFamily
        ``"xgboost"``, ``"lightgbm"`` or a plug-in's name.
    space : str, path, dict or SearchSpace, optional
        ``"core"``, ``"wide"``, ``"grid"``, ``"my.toml"``. Default: ``core`` for XGBoost, ``diverse`` for LightGBM.
    sampler : {"tpe", "random", "grid", "gp", "cmaes", "qmc"}, optuna.samplers.BaseSampler or dict, default "tpe"
        What proposes configurations. "gp" and "cmaes" need an extra: ``pip install "gbtune[gp]"``. A dict is one for
        each parameter, ``{"max_depth": "grid", "*": "tpe"}``: see `gbtune.samplers.MixedSampler`.
    pruner : {"race", "median", "percentile", "wilcoxon", "threshold", "hyperband", "successive-halving", "patient"}, \
optuna.pruners.BasePruner or None, default "race"
        What stops hopeless trials. See `gbtune.pruners` for what each does, and what a step is.
    n_trials : int, optional
        Finished trials (complete, pruned or failed), the baseline included.
    timeout : float, optional
        Seconds for all, the refit included. Neither given: 100 trials or 600 s, whichever comes first; a grid: all
        its cells. One given: only that one.
    cv : int, float, splitter, iterable of (train, valid) or None, default None
        Number of folds; fraction of a hold-out; scikit-learn splitter; index arrays. None: five folds
        (stratified for classes, by group with `groups`), or fewer, or a sample of many rows, to fit the time.
    metric : str, Metric, list of these or None, default None
        scikit-learn scorer name (``"neg_log_loss"`` is log loss, minimised, in its natural sign), native name
        (``"auc"``), or `gbtune.Metric`. Of a list, the first is optimised. None: log loss, or RMSE.
    task : {"classification", "binary", "multiclass", "regression"}, optional
        Default: told from y.
    sample_weight : array-like of shape (n_samples,), optional
        Used in training and in evaluation.
    groups : array-like of shape (n_samples,), optional
        Rows of one group never stand on both sides of a fold.
    seed : int or None, default 0
        With a seed and `n_trials` or a grid, and unless a deadline cuts in, parameters, states, rounds and values are
        the same for every `n_jobs`. A study that `timeout` alone ends waits for no trial before it asks for the next:
        given its parameters, a trial's value is the same. None: random as well.
    n_jobs : int, optional
        Cores used in all: trials side by side, one booster thread each. Default: the usable ones, and never more. With
        a seed, at most eight trials run side by side.
    isolation : {"thread", "process"}, default "thread"
        "process" runs each trial in a process of its own kind: a crash in native code, or a kill for want of memory,
        costs that trial alone. It takes seconds to start, and each process bins the data for itself.
    study : str or optuna.Study, optional
        A name: the study is kept, and the same call goes on with it, after a kill too; `n_trials` is then the total.
        Several processes may make the same call at once and share the work. Or a study that is used as it is: its own
        sampler and pruner, its finished trials count, and trials enqueued in it come first. Default: in memory.
    storage : str, Path or optuna storage, optional
        Where a named study is kept: a database URL, the path of a journal file, or a storage. Default: a journal in
        ``gbtune-studies`` beside the MLflow store, or in the current folder if that is a server.
    warm_start : TuningResult, optuna.Study, str, Path, dict, Point, or a list or tuple of these, optional
        Whose configurations come first, right after the baseline, projected into the space: the best five of an
        earlier result or study (also by name or folder, or the folder of a saved result), a registered model's
        (``"models:/churn@champion"``), or dicts of parameters. All of the same family; the data and the metric may be
        others. A study keeps its warm start: see `gbtune.warm_start`.
    tracking : bool, str or Tracker, default True
        MLflow at the environment's tracking URI (or a local ``mlflow.db``), at another URI, or by a tracker.
    ensemble : int, optional
        Of how many models the final model is the mean, at most: the best configurations, each fitted on all rows; where
        fewer than five are nearly as good as the best, that one with five seeds. As many as fit into the time. 1: one
        ordinary model of the library. None: ten.
    register : str, optional
        Register the model under this name in MLflow: a new version, with the alias ``challenger``.
    promote : {"if_better", "unless_worse", "always", "never"} or callable, default "if_better"
        Whether the registered version becomes the champion (the alias ``champion``; the first version does at once).
        "if_better": its recipe and the champion's are fitted again on fresh folds, and it must be better by more than
        the paired standard error; "unless_worse": it must not be worse by more than that. A callable gets that
        comparison and returns whether: see `gbtune.promotion`. This comes after the search, beyond `timeout`: ten
        trainings on four fifths of the rows, in this process whatever `isolation`. After a Ctrl-C nothing is compared.
    progress : bool, default True
        Print the plan and show a progress bar, on stderr.

    Returns
    -------
    TuningResult
        Best parameters, score, fitted model, study.

    Raises
    ------
    InvalidArgument
        For bad input (a `ValueError`), before a booster is built. Also if the stored study has other data, folds,
        metric or family, or the warm start is of another family.
    StudyFailed
        If the baseline, five trials in a row or three worker processes in a row fail, or the storage does.
    BudgetTooSmall
        If nothing completes in time; the message names the seconds needed.
    KeyboardInterrupt
        At the second Ctrl-C, or at the first one if nothing has completed. The first one otherwise ends the
        search, and the best so far is the result.

    Examples
    --------
    >>> import gbtune
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> space = gbtune.SearchSpace.load("lightgbm/native").override(learning_rate=(0.05, 0.3))
    >>> result = gbtune.tune(X, y, family="lightgbm", space=space, n_trials=4, tracking=False, progress=False)
    >>> sorted(result.best_params)[:2]
    ['colsample_bytree', 'learning_rate']
    """
    arguments = {name: value for name, value in locals().items() if name != "unknown"}
    if unknown:
        raise UnknownName("argument", next(iter(unknown)), ["family", *Arguments.__annotations__])
    started = time.monotonic()
    budget, wanted = _budget(n_trials, timeout, n_jobs, isolation), checked_ensemble(ensemble)
    tracker = _tracker(tracking, register, promote)
    kept = _storage(study, storage, tracker)
    before = stored_record(study, kept)
    with started_apart(tracker) as told:  # it imports MLflow while the data are prepared
        objective = Objective(
            family,
            X,
            y,
            space=space,
            cv=cv,
            metric=metric,
            task=task,
            sample_weight=sample_weight,
            groups=groups,
            seed=seed,
            study_seed=None if before is None else before.study_seed,
        )
        sources = read_sources(
            warm_start,
            objective.space,
            objective.family,
            storage=kept,
            tracking_uri=tracker.tracking_uri if isinstance(tracker, MLflowTracker) else None,
            registry_uri=tracker.registry_uri if isinstance(tracker, MLflowTracker) else None,
        )
        # Without a seed nothing repeats, and two processes that share a study must not draw the same.
        stream = None if seed is None else objective.study_seed
        sampling = samplers.resolve_sampler(sampler, objective.space, study_seed=stream)
        if isinstance(study, optuna.Study) and not sampling.exhaustive:
            sampling = samplers.resolve_sampler(study.sampler, objective.space, study_seed=stream)
        if sampling.exhaustive:
            objective.choose_rounds_from_grid()
        elif budget.n_trials is None and budget.timeout is None:
            budget = dataclasses.replace(budget, n_trials=DEFAULT_TRIALS, timeout=DEFAULT_SECONDS)
        opened = open_study(
            study,
            kept,
            sampler=sampling.sampler,
            pruner=pruners.resolve_pruner(
                pruner,
                n_rows=objective.data.n_rows,
                n_folds=len(objective.evaluator.folds),
                max_rounds=objective.evaluator.rounds.cap,
                exchangeable=objective.evaluator.folds.exchangeable,
            ),
            direction=objective.direction,
            default_name=f"gbtune {objective.family.name}",  # some pruners draw from the name: no clock in it
        )
        if before is not None and not isinstance(sampler, str) and not isinstance(study, optuna.Study):
            opened.sampler.reseed_rng()  # created anew, it would repeat its first draws
        tuning = Tuning(
            objective,
            opened,
            sampling,
            budget,
            told,
            clock=Clock(budget.timeout, started),
            name=opened.study_name
            if study is not None
            else f"{objective.family.name} {time.strftime('%Y-%m-%d %H:%M:%S')}",
            warm_start=sources,
            call=call_words(objective.family.name, arguments, _DEFAULTS),
            ensemble=wanted,
            register=register,
            promote=promote != "never",
            progress=progress,
        )
        try:
            result = tuning.run(may_drop_folds=cv is None, example=_example(X, objective))
        except StartedMeanwhile:  # by another process, with a seed that this one did not know
            return tune(**arguments)
        result.promotion = after_study(
            objective,
            result.receipt,
            promote,
            n_jobs=tuning.workers,
            tracker=tracker,
            progress=progress,
            interrupted=tuning.clock.interrupt.is_set(),
        )
        return result


def tune_xgb(X: Any, y: Any, **arguments: Unpack[Arguments]) -> TuningResult:
    """Tune XGBoost: `tune` with ``family="xgboost"``.

    Parameters
    ----------
    X, y, **arguments
        As in `tune`.

    Examples
    --------
    >>> from gbtune import tune_xgb
    >>> from sklearn.datasets import load_wine
    >>> X, y = load_wine(return_X_y=True, as_frame=True)
    >>> tune_xgb(X, y, space="grid-mini", n_trials=2, tracking=False, progress=False).best_score < 0.2
    True
    """
    return _tune_family("xgboost", X, y, arguments)


def tune_lgbm(X: Any, y: Any, **arguments: Unpack[Arguments]) -> TuningResult:
    """Tune LightGBM: `tune` with ``family="lightgbm"``.

    Parameters
    ----------
    X, y, **arguments
        As in `tune`.

    Examples
    --------
    >>> from gbtune import tune_lgbm
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> tune_lgbm(X, y, n_trials=2, tracking=False, progress=False).best_score < 70
    True
    """
    return _tune_family("lightgbm", X, y, arguments)


def _tune_family(family: str, X: Any, y: Any, arguments: Mapping[str, Any]) -> TuningResult:
    if "family" in arguments:
        raise InvalidArgument(f"This call tunes {family}. Run: gbtune.tune(X, y, family={arguments['family']!r})")
    return tune(X, y, family=family, **arguments)


_DEFAULTS = {
    p.name: p.default for p in inspect.signature(tune).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY
}


def _signature_less_family() -> inspect.Signature:
    signature = inspect.signature(tune)
    return signature.replace(
        parameters=[p for p in signature.parameters.values() if p.name not in ("family", "unknown")]
    )


# So that help() and notebooks show the arguments and their defaults, which are written once, in tune. Mypy knows no
# such attribute of a function; inspect.signature reads it.
tune_xgb.__signature__ = tune_lgbm.__signature__ = _signature_less_family()  # type: ignore[attr-defined]


def _budget(n_trials: Any, timeout: Any, n_jobs: Any, isolation: Any) -> Budget:
    for name, value in (("n_trials", n_trials), ("n_jobs", n_jobs)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 1):
            raise InvalidArgument(f"{name} must be an int of at least 1, or None, got {value!r}.")
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, numbers.Real) or not 0 < float(timeout) < math.inf
    ):
        raise InvalidArgument(f"timeout must be a positive number of seconds, or None, got {timeout!r}.")
    if isolation not in ("thread", "process"):
        raise InvalidArgument(f"isolation must be 'thread' or 'process', got {isolation!r}.")
    cores = usable_cores()
    wanted = cores if n_jobs is None else int(n_jobs)
    return Budget(
        None if n_trials is None else int(n_trials),
        None if timeout is None else float(timeout),
        min(cores, wanted),
        isolation,
        f"n_jobs={wanted}, but {plural(cores, 'core')} can be used" if wanted > cores else "",
    )


def usable_cores() -> int:
    """Return the cores this process may use: affinity and container limits are respected.

    Examples
    --------
    >>> from gbtune.api import usable_cores
    >>> usable_cores() >= 1
    True
    """
    from joblib import cpu_count

    return int(cpu_count())


def _tracker(tracking: object, register: str | None, promote: object) -> Tracker | None:
    check_model_name(register)
    check_policy(promote)
    if promote != "if_better" and register is None and getattr(tracking, "register", None) is None:
        raise InvalidArgument(f"promote={promote!r} needs a registered model: add register='a name'.")
    if tracking is False or tracking is None:
        if register is not None:
            raise InvalidArgument(f"register={register!r} needs a tracker: set tracking=True, a URI or a Tracker.")
        return None
    if isinstance(tracking, Tracker):
        return tracking
    if tracking is True:
        return MLflowTracker()
    if isinstance(tracking, str):
        return MLflowTracker(tracking)
    raise InvalidArgument(
        f"tracking must be True, False, a tracking URI or a gbtune Tracker, got {type(tracking).__name__}."
    )


def _storage(study: object, storage: Any, tracker: Tracker | None) -> BaseStorage | None:
    """Return where the study is kept; None for one in memory, or one that has its own."""
    if isinstance(study, str) and study:
        uri = tracker.tracking_uri if isinstance(tracker, MLflowTracker) else None
        return open_storage(storage, study_folder(studies_root(uri), study))
    if storage is not None:
        raise InvalidArgument(
            "storage goes with a study's name, by which the study is found again: add study='a name'. A Study object "
            "has its own storage."
        )
    if study is not None and not isinstance(study, optuna.Study):
        raise InvalidArgument(f"study must be a name, an optuna.Study or None, got {study!r}.")
    return None


def _example(X: Any, objective: Objective, rows: int = 5) -> pd.DataFrame:
    """Return a few raw rows with the encoder's column names, for the model's signature."""
    head = as_table(X).values[:rows]
    frame = head.copy() if isinstance(head, pd.DataFrame) else pd.DataFrame(head.toarray())
    return frame.set_axis(list(objective.data.encoder.names), axis="columns")
