"""Names to pruners, with parameters that fit boosting."""

from __future__ import annotations

import warnings

import optuna

from gbtune.errors import InvalidArgument, UnknownName
from gbtune.evaluation import ROUNDS_PER_STEP
from gbtune.pruners import constants as c
from gbtune.pruners.baseline import BaselinePruner
from gbtune.pruners.hyperband import HyperbandPruner
from gbtune.pruners.protocol import protocol_of
from gbtune.pruners.racing import MIN_FOLDS, RacingPruner

NAMES = ("race", "median", "percentile", "wilcoxon", "threshold", "hyperband", "successive-halving", "patient")


def resolve_pruner(
    pruner: str | optuna.pruners.BasePruner | None,
    *,
    n_rows: int,
    n_folds: int,
    max_rounds: int,
    exchangeable: bool = True,
) -> optuna.pruners.BasePruner:
    """Return an Optuna pruner.

    Parameters
    ----------
    pruner : {"race", "median", "percentile", "wilcoxon", "threshold", "hyperband", "successive-halving", "patient"}, \
optuna.pruners.BasePruner or None
        None prunes nothing. An object is returned as it is. See `gbtune.pruners` for what each name stands for.
    n_rows : int
        Below 1000 rows trials cost little and folds say little: "race" is then the safe z = 2.
    n_folds : int
        With fewer than two folds (race and Wilcoxon: three) nothing can be pruned by folds, and such a name
        prunes nothing.
    max_rounds : int
        The cap on boosting rounds: Hyperband's largest resource; the others begin at a 27th of it.
    exchangeable : bool, default True
        Whether folds are exchangeable. They are not for time windows: "race" then prunes nothing.

    Raises
    ------
    UnknownName, InvalidArgument
        For an unknown name, or an object that is no pruner.

    Examples
    --------
    >>> from gbtune.pruners import resolve_pruner
    >>> resolve_pruner("race", n_rows=20_000, n_folds=5, max_rounds=3000)
    RacingPruner(z=1.5, n_startup_trials=3)
    >>> resolve_pruner("hyperband", n_rows=20_000, n_folds=5, max_rounds=3000)
    HyperbandPruner(min_resource=111, max_resource=3000, reduction_factor=3)
    """
    if pruner is None:
        return optuna.pruners.NopPruner()
    if isinstance(pruner, optuna.pruners.BasePruner):
        return pruner
    if not isinstance(pruner, str):
        raise InvalidArgument(
            f"pruner must be one of {', '.join(map(repr, NAMES))}, None or an optuna.pruners.BasePruner, "
            f"got {type(pruner).__name__}."
        )
    if pruner not in NAMES:
        raise UnknownName("pruner", pruner, NAMES, "An optuna.pruners.BasePruner object works too.")
    with warnings.catch_warnings():
        # Optuna calls Wilcoxon and Patient experimental: it is our choice to offer them, not the caller's surprise.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made = _by_rounds(pruner, max_rounds) or _by_folds(pruner, n_rows, n_folds)
    few = MIN_FOLDS if pruner in ("race", "wilcoxon") else 2
    hopeless = protocol_of(made).schedule == "folds" and n_folds < few
    return optuna.pruners.NopPruner() if hopeless or (pruner == "race" and not exchangeable) else made


def _by_folds(name: str, n_rows: int, n_folds: int) -> optuna.pruners.BasePruner:
    if name == "race":
        return RacingPruner(z=c.RACE_SAFE_Z if n_rows < c.RACE_SAFE_BELOW_ROWS else c.RACE_Z)
    if name == "median":
        return optuna.pruners.MedianPruner(c.STARTUP_TRIALS)
    if name == "percentile":
        return optuna.pruners.PercentilePruner(c.PERCENTILE, c.STARTUP_TRIALS)
    if name == "wilcoxon":
        # A little above the smallest p-value, because Optuna asks for less than the threshold.
        deciding = max(2, min(c.WILCOXON_FOLDS, n_folds - 1))
        return optuna.pruners.WilcoxonPruner(p_threshold=1.04 * 2.0**-deciding)
    return BaselinePruner()


def _by_rounds(name: str, max_rounds: int) -> optuna.pruners.BasePruner | None:
    first = max(ROUNDS_PER_STEP, max_rounds // c.REDUCTION_FACTOR**c.HALVINGS)
    if name == "hyperband":
        return HyperbandPruner(first, max(first, max_rounds), c.REDUCTION_FACTOR)
    if name == "successive-halving":
        return optuna.pruners.SuccessiveHalvingPruner(first, c.REDUCTION_FACTOR)
    if name == "patient":
        median = optuna.pruners.MedianPruner(c.STARTUP_TRIALS, n_warmup_steps=first)
        return optuna.pruners.PatientPruner(median, patience=c.PATIENCE)
    return None


def describe(pruner: optuna.pruners.BasePruner) -> str:
    """Return a short name for people."""
    if isinstance(pruner, optuna.pruners.NopPruner):
        return "none"
    if isinstance(pruner, RacingPruner):
        return f"race (z={pruner.z:g})"
    if isinstance(pruner, BaselinePruner):
        return "threshold (the baseline)"
    if isinstance(pruner, HyperbandPruner):
        return f"hyperband ({pruner.n_brackets} brackets from {pruner.min_resource} rounds)"
    return type(pruner).__name__
