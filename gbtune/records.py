"""Frozen records: what happened, in a form that outlives the process.

The Optuna study is the truth. A finished trial's user attribute `TRIAL_KEY` holds one JSON
`TrialRecord`; the study's user attribute `STUDY_KEY` holds one JSON `StudyRecord`. Pruner,
tracker, result and report read only these.

All times are milliseconds since the epoch (UTC); all durations are seconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gbtune.json_record import JsonRecord

TRIAL_KEY = "gbtune:trial"
STUDY_KEY = "gbtune:study"

IntArray = NDArray[np.intp]
FloatArray = NDArray[np.float64]
Direction = Literal["minimize", "maximize"]


@dataclasses.dataclass(frozen=True)
class Folds:
    """The fixed rows of every trial of a study.

    Parameters
    ----------
    splits : tuple of (train, valid)
        Arrays of row positions, 0-based, kept sorted. One pair per fold; one pair alone is a hold-out.
    description : str
        For people, e.g. ``"5 stratified folds"``.
    n_rows : int
        Rows of the data the positions refer to.
    exchangeable : bool, default True
        False for expanding time windows, where racing over folds is not defined.
    kind : {"plain", "stratified", "group", "time", "custom"}, default "custom"
        How rows were dealt, which is what other folds of these rows have to keep to. "custom": only the caller knows.
    """

    splits: tuple[tuple[IntArray, IntArray], ...]
    description: str
    n_rows: int
    exchangeable: bool = True
    kind: str = "custom"

    def __post_init__(self) -> None:
        # LightGBM's subsets sort their rows: with sorted positions every library agrees on the order.
        ordered = tuple((np.sort(train), np.sort(valid)) for train, valid in self.splits)
        object.__setattr__(self, "splits", ordered)

    def __len__(self) -> int:
        return len(self.splits)

    def first(self, count: int) -> Folds:
        """Return the first `count` folds alone, when time does not allow for all."""
        if count >= len(self):
            return self
        description = f"{count} of {self.description}" if count > 1 else f"hold-out (1 of {self.description})"
        return dataclasses.replace(self, splits=self.splits[:count], description=description)

    @property
    def fingerprint(self) -> str:
        """Hash of all positions: equal for equal folds."""
        digest = hashlib.sha256(str(self.n_rows).encode())
        for train, valid in self.splits:
            digest.update(np.ascontiguousarray(train, dtype=np.int64).tobytes() + b"|")
            digest.update(np.ascontiguousarray(valid, dtype=np.int64).tobytes() + b"/")
        return digest.hexdigest()[:16]

    @property
    def parts_fingerprint(self) -> str:
        """Hash of the set of folds: equal for the same folds in another order."""
        folds = sorted(
            hashlib.sha256(b"|".join(np.ascontiguousarray(rows, dtype=np.int64).tobytes() for rows in pair)).digest()
            for pair in self.splits
        )
        return hashlib.sha256(str(self.n_rows).encode() + b"".join(folds)).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class CVResult:
    """What one evaluation of one configuration found.

    Parameters
    ----------
    state : {"complete", "pruned", "stopped"}
        "stopped" was cut from outside (deadline or interrupt); `reason` says by what.
    reason : str or None
        ``"race"``, ``"pruner"``, ``"deadline"``, ``"interrupt"``; None when complete.
    score : float or None
        The metric in its natural sign at the one common round, over **all** folds; None
        unless complete.
    partial_score : float or None
        The same over the folds that were run; None when complete or when no fold was finished.
    fold_scores : tuple of float
        The metric of each finished fold at the common round `rounds`.
    rounds : int
        The common round: 1-based number of boosting rounds.
    rounds_grown : tuple of int
        Rounds grown in each started fold.
    curve_rounds, curve : tuple of int, tuple of float
        The mean validation curve of the metric, thinned to at most 100 points.
    seconds : mapping of str to float
        Seconds by phase: ``"train"``, ``"score"``.
    extra : mapping of str to float
        Further metrics at the common round, mean over folds.
    """

    state: Literal["complete", "pruned", "stopped"]
    reason: str | None
    score: float | None
    partial_score: float | None
    fold_scores: tuple[float, ...]
    rounds: int
    rounds_grown: tuple[int, ...]
    curve_rounds: tuple[int, ...] = ()
    curve: tuple[float, ...] = ()
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrialRecord(JsonRecord):
    """Everything worth knowing about one trial. JSON in the trial's user attribute `TRIAL_KEY`.

    Parameters
    ----------
    number : int
        Optuna's trial number, 0-based.
    state : {"running", "complete", "pruned", "failed"}
        "running" only while the trial runs (its fold scores so far, for the pruner).
    reason : str or None
        Why it is pruned: ``"race"``, ``"pruner"``, ``"deadline"``, ``"interrupt"``; why it failed, when that was
        not an exception: ``"killed"`` (the process that ran the study ended), ``"worker"`` (its worker process did).
    kind : {"baseline", "warm_start", "portfolio", "grid", "sampled", "other"}
        Where the configuration came from; "other" is a trial that gbtune did not run.
    provenance : str
        The source of a portfolio entry or a warm start, e.g. ``"AutoGluon default"``; else empty.
    params : mapping
        What the booster got: sampled, derived and fixed; without the number of rounds.
    sampled : tuple of str
        The names in `params` that the sampler chose.
    score, partial_score, fold_scores, rounds, rounds_grown, curve_rounds, curve, seconds, extra
        As in `CVResult`. `score` is None unless the state is "complete".
    n_folds : int
        Folds of the study (a pruned trial has fewer fold scores).
    error : str or None
        Traceback of a failed trial.
    duplicate_of : int or None
        The earlier trial with the same configuration whose result this is (nothing was trained).
    slot : int or None
        Place in the study's order, 0-based. Equal to `number` unless something interrupted the study: the slot of an
        interrupted trial is run again by a later one. None in studies that gbtune does not run.
    started_at, ended_at : int
        Milliseconds since the epoch, UTC.
    """

    number: int
    state: Literal["running", "complete", "pruned", "failed"]
    params: Mapping[str, Any]
    kind: str = "sampled"
    provenance: str = ""
    reason: str | None = None
    sampled: tuple[str, ...] = ()
    score: float | None = None
    partial_score: float | None = None
    fold_scores: tuple[float, ...] = ()
    n_folds: int = 0
    rounds: int = 0
    rounds_grown: tuple[int, ...] = ()
    curve_rounds: tuple[int, ...] = ()
    curve: tuple[float, ...] = ()
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, float] = dataclasses.field(default_factory=dict)
    error: str | None = None
    duplicate_of: int | None = None
    slot: int | None = None
    started_at: int = 0
    ended_at: int = 0

    @property
    def all_params(self) -> dict[str, Any]:
        """`params` and the chosen number of rounds: keyword arguments of the library's estimator."""
        return {**self.params, "n_estimators": self.rounds} if self.rounds else dict(self.params)


@dataclasses.dataclass(frozen=True)
class StudyRecord(JsonRecord):
    """What is tuned on what, and how. JSON in the study's user attribute `STUDY_KEY`.

    Parameters
    ----------
    uid : str
        Unique for ever; the tracker's key together with the trial number.
    name : str
        For people.
    family, space, space_version : str
        E.g. ``"xgboost"``, ``"xgboost/core"``, ``"1"``.
    space_definition : mapping
        `SearchSpace.to_dict()`: enough to rebuild it.
    metric : str
        Name of the optimised metric, e.g. ``"log_loss"``.
    direction : {"minimize", "maximize"}
        Of the metric.
    extra_metrics : tuple of str
        Names of the metrics that are only watched.
    task : {"binary", "multiclass", "regression"}
        What is predicted.
    n_rows, n_columns : int
        Shape of X.
    classes : tuple
        The labels, in the order of `predict_proba`'s columns; empty for regression.
    columns : mapping of str to str
        Column name to kind (``"number"``, ``"category"``).
    data_fingerprint, folds_fingerprint : str
        Equal for equal data and folds.
    folds : str
        For people, e.g. ``"5 stratified folds"``.
    n_folds : int
        Number of folds; 1 is a hold-out.
    sampler, pruner : str
        For people.
    seed : int or None
        As given; None is random and asynchronous.
    study_seed : int
        The seed in use (drawn when `seed` is None).
    n_trials, timeout : int or None, float (seconds) or None
        The budget.
    n_jobs : int
        Cores in use.
    max_rounds : int
        The cap on boosting rounds; 0 when unknown.
    lowest_learning_rate : float or None
        The plan's floor.
    train_rows : int, default 0
        Trials learn from a sample of so many rows of their training part; 0: from all.
    plan : str
        The printed line: what was given up to fit the time, and why.
    versions : mapping of str to str
        Library versions.
    storage : str
        Where the study is kept: path or URL without a password; empty for a study in memory.
    warm_start : tuple of mapping
        The earlier configurations that come first, as they were: fields of `gbtune.earlier.Configuration`.
    changes : tuple of str
        What was changed when the study was continued, a sentence each.
    call : str
        The Python call that runs it, e.g. ``"tune_xgb(X, y, n_trials=50)"``; empty for an objective in a user's study.
    started_at : int
        Milliseconds since the epoch, UTC.
    """

    uid: str
    name: str
    family: str
    space: str
    space_version: str
    space_definition: Mapping[str, Any]
    metric: str
    direction: Direction
    task: str
    n_rows: int
    n_columns: int
    folds: str
    n_folds: int
    sampler: str = ""
    pruner: str = ""
    extra_metrics: tuple[str, ...] = ()
    classes: tuple[Any, ...] = ()
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    data_fingerprint: str = ""
    folds_fingerprint: str = ""
    seed: int | None = None
    study_seed: int = 0
    n_trials: int | None = None
    timeout: float | None = None
    n_jobs: int = 1
    max_rounds: int = 0
    lowest_learning_rate: float | None = None
    train_rows: int = 0
    plan: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    storage: str = ""
    warm_start: tuple[Mapping[str, Any], ...] = ()
    changes: tuple[str, ...] = ()
    call: str = ""
    started_at: int = 0

    @property
    def warm_start_words(self) -> str:
        """How many configurations came from where, e.g. ``"5 of study 'churn', 1 of model 'churn' version 3"``."""
        counts = Counter(str(configuration["source"]) for configuration in self.warm_start)
        return ", ".join(f"{count} of {source}" for source, count in counts.items())


@dataclasses.dataclass(frozen=True)
class StudyOutcome:
    """How a study ended: what a tracker needs beyond the trials.

    Parameters
    ----------
    state : {"complete", "interrupted", "failed"}
        "interrupted": Ctrl-C; the best so far is the result.
    best : TrialRecord or None
        None when no trial completed.
    best_params : mapping
        Keyword arguments of the library's scikit-learn class.
    baseline_score, gain, gain_se : float or None
        Library default's score; improvement over it (positive is better); paired standard error.
    summary : str
        Markdown for people: what `repr(result)` says.
    report_html : str
        One self-contained HTML page; empty when it could not be drawn.
    trials : list of TrialRecord
        All of them, in number order.
    model : ModelBundle or None
        None when nothing completed or logging a model was not asked for.
    ended_at : int
        Milliseconds since the epoch, UTC.
    register : str or None
        Register the model under this name.
    promote : bool, default True
        Whether the first version of that name becomes its champion.
    importances : mapping of str to float
        Share of each varied parameter in what separates good trials from bad ones, the largest first; empty where
        there are too few trials to tell.
    """

    state: Literal["complete", "interrupted", "failed"]
    best: TrialRecord | None
    best_params: Mapping[str, Any]
    baseline_score: float | None
    gain: float | None
    gain_se: float | None
    summary: str
    report_html: str
    trials: list[TrialRecord]
    model: ModelBundle | None
    ended_at: int
    register: str | None = None
    promote: bool = True
    importances: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ModelBundle:
    """A fitted model and what it needs to predict from raw columns without gbtune.

    Parameters
    ----------
    family : str
        Name of the model family; its `save` writes the native file.
    estimator : object
        The library's ordinary fitted estimator.
    columns : mapping
        `Encoder.to_dict()`: column names, kinds, category levels, classes; JSON-able.
    task : {"binary", "multiclass", "regression"}
        What is predicted.
    classes : tuple
        Labels in the order of the probabilities; empty for regression.
    example : pandas.DataFrame
        A few raw rows (signature and input example).
    requirements : tuple of str
        pip requirements of the artifact, with versions.
    recipe : mapping
        JSON-able: enough to fit it again (parameters, rounds, seed, metric, fingerprints).
    """

    family: str
    estimator: Any
    columns: Mapping[str, Any]
    task: str
    classes: tuple[Any, ...]
    example: Any
    requirements: tuple[str, ...]
    recipe: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What a tracker wrote.

    Parameters
    ----------
    run_id, url : str or None
        The study's run and the link to it.
    model_uri : str or None
        For ``mlflow.pyfunc.load_model``.
    tracking_uri : str or None
        Of the store, without a password; what ``mlflow.set_tracking_uri`` needs before the model is loaded.
    problems : tuple of str
        What was not written, in words; empty when all was.
    """

    run_id: str | None = None
    url: str | None = None
    model_uri: str | None = None
    problems: tuple[str, ...] = ()
    tracking_uri: str | None = None
