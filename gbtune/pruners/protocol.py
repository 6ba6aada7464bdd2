"""How an objective serves a pruner: what a step is, and which value is reported at it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import BaseTrial

from gbtune.errors import InvalidArgument
from gbtune.pruners.baseline import BaselinePruner
from gbtune.pruners.folds import FOLDS_KEY, FoldScores
from gbtune.pruners.racing import RacingPruner


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How an objective serves a pruner.

    Parameters
    ----------
    schedule : {"folds", "rounds"}
        What a step is.
    reports : {"mean", "fold"}
        Mean of the folds so far, or the newest fold's own score.
    """

    schedule: Literal["folds", "rounds"]
    reports: Literal["mean", "fold"] = "mean"


_BY_FOLDS = (
    RacingPruner,
    BaselinePruner,
    optuna.pruners.NopPruner,
    optuna.pruners.PercentilePruner,  # and its subclass Median
    optuna.pruners.ThresholdPruner,
)


def protocol_of(pruner: optuna.pruners.BasePruner) -> Protocol:
    """Return the protocol that fits `pruner`; a pruner nobody knows gets learning curves.

    Patience is patience with a curve, unless what it wraps compares folds.

    Examples
    --------
    >>> import optuna
    >>> from gbtune.pruners import protocol_of
    >>> protocol_of(optuna.pruners.HyperbandPruner())
    Protocol(schedule='rounds', reports='mean')
    """
    if isinstance(pruner, optuna.pruners.PatientPruner):
        wrapped = pruner._wrapped_pruner
        if isinstance(wrapped, (RacingPruner, BaselinePruner, optuna.pruners.WilcoxonPruner)):
            return protocol_of(wrapped)
        return Protocol("rounds")
    if isinstance(pruner, optuna.pruners.WilcoxonPruner):
        return Protocol("folds", "fold")
    return Protocol("folds" if isinstance(pruner, _BY_FOLDS) else "rounds")


def report_fold(trial: BaseTrial, scores: Sequence[float] | np.ndarray, *, n_folds: int) -> None:
    """Tell the study's pruner the scores of the folds so far. For your own cross-validation loop.

    Call it after every fold, the last one included, and then ask ``trial.should_prune()``. `RacingPruner` and
    `BaselinePruner` read the scores themselves; Optuna's pruners get one report per fold, at step ``len(scores)``: the
    mean of the folds so far, or for Wilcoxon the newest fold's own score. So the pruner can be changed without
    changing the objective.

    Calling it again with as many scores replaces them for our pruners, and reports nothing twice. Works with every
    storage, in threads and processes, and with ``objective(study.best_trial)`` and `optuna.trial.FixedTrial`.

    Parameters
    ----------
    trial : optuna.Trial
        The running trial.
    scores : sequence of float, of shape (k,)
        Scores of the first k folds, 1 <= k <= `n_folds`, in the same order of folds in every trial, and in the
        direction of the study (a loss where it minimises).
    n_folds : int
        Folds there are in all, the same in every trial.

    Raises
    ------
    InvalidArgument
        If `scores` is empty, longer than `n_folds` or not numbers, or if `n_folds` changes within a trial.

    Examples
    --------
    >>> import numpy as np, optuna
    >>> from gbtune.pruners import RacingPruner, report_fold
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.metrics import mean_squared_error
    >>> from sklearn.model_selection import KFold
    >>> X, y = load_diabetes(return_X_y=True)
    >>> folds = list(KFold(5, shuffle=True, random_state=0).split(X))
    >>> def objective(trial):
    ...     alpha, scores = trial.suggest_float("alpha", 1e-4, 1e4, log=True), []
    ...     for train, valid in folds:
    ...         model = Ridge(alpha=alpha).fit(X[train], y[train])
    ...         scores.append(mean_squared_error(y[valid], model.predict(X[valid])))
    ...         report_fold(trial, scores, n_folds=len(folds))
    ...         if trial.should_prune():
    ...             raise optuna.TrialPruned()
    ...     return np.mean(scores)
    >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=RacingPruner())
    >>> study.optimize(objective, n_trials=20)
    >>> len(study.get_trials(states=[optuna.trial.TrialState.PRUNED])) > 5
    True
    """
    told = FoldScores(_checked(scores, n_folds), int(n_folds))
    text = trial.user_attrs.get(FOLDS_KEY)
    before = None if text is None else FoldScores.from_json(text)
    if before is not None and before.n_folds != told.n_folds:
        raise InvalidArgument(
            f"report_fold: n_folds is the number of all folds and stays the same, got {before.n_folds} and then "
            f"{told.n_folds} in trial {trial.number}."
        )
    # Before the step: who asks at a step finds its scores.
    trial.set_user_attr(FOLDS_KEY, told.to_json())
    if before is None or len(before.scores) < len(told.scores):
        study: optuna.Study | None = getattr(trial, "study", None)  # a FixedTrial has none
        newest = study is not None and protocol_of(study.pruner).reports == "fold"
        trial.report(told.scores[-1] if newest else float(np.mean(told.scores)), len(told.scores))


def _checked(scores: Any, n_folds: Any) -> tuple[float, ...]:
    rule = "report_fold: scores must be the numbers of the folds so far, at least one and at most n_folds"
    try:
        values = np.asarray(scores, dtype=float)
    except (TypeError, ValueError):
        raise InvalidArgument(f"{rule}, got {scores!r}.") from None
    if values.ndim != 1 or not 1 <= len(values) <= n_folds:
        raise InvalidArgument(f"{rule}, got shape {values.shape} with n_folds={n_folds!r}.")
    return tuple(values.tolist())
