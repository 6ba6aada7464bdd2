"""Exact counts of a study's work, beside what it must be: nothing binned, grown or scored that no trial asked for."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any
from unittest import mock

import gbtune
from benchmarks.counting import Work, counted_work
from benchmarks.overhead.tables import table
from gbtune.families import get

FAMILIES = ("lightgbm", "xgboost")
TRIALS = 12
FOLDS = 5


@dataclasses.dataclass
class Fits:
    """The models that were fitted on all rows."""

    rounds: list[int] = dataclasses.field(default_factory=list)
    scored_before: int = 0
    """Rows that had been scored before the first of them: later ones are the report's."""


@contextlib.contextmanager
def counted_fits(family: str, work: Work) -> Iterator[Fits]:
    """Note each model that is fitted on all rows while the block runs."""
    kind, fits = type(get(family)), Fits()
    fit = kind.fit

    def noted(self: Any, data: Any, params: Any, count: int, *rest: Any, **more: Any) -> Any:
        fits.scored_before = fits.scored_before if fits.rounds else work.rows_scored
        fits.rounds.append(count)
        return fit(self, data, params, count, *rest, **more)

    with mock.patch.object(kind, "fit", noted):
        yield fits


def study(family: str, metric: str | None, trials: int) -> dict[str, Any]:
    """Tune on the breast-cancer data; return what was counted and what it must be.

    With log loss, the libraries' own validation loss is the metric: no row is scored by us. Any other metric is scored
    at checkpoints of rounds.
    """
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    with counted_work() as work, counted_fits(family, work) as fits:
        result = gbtune.tune(
            X, y, family=family, metric=metric, cv=FOLDS, n_trials=trials, seed=0, tracking=False, progress=False
        )
    table = result.trials
    bins = {trial.params.get("max_bin") for trial in result.study.get_trials(deepcopy=False)}
    # LightGBM's folds are subsets of one binned matrix; XGBoost quantises each part with the cuts of the whole.
    per_binning = 1 if family == "lightgbm" else 1 + 2 * FOLDS
    return {
        **dataclasses.asdict(work),
        "trials": len(table),
        "binnings_needed": per_binning * len(bins),
        "rounds_needed": int(table["rounds_grown"].sum()) + sum(fits.rounds),
        "evaluations_needed": int(table["rounds_grown"].sum()),
        "rows_scored_in_trials": fits.scored_before,
    }


def measure(trials: int = TRIALS, families: tuple[str, ...] = FAMILIES) -> dict[str, Any]:
    """Return the counts of a study with the native metric and one with another, for each family."""
    return {
        f"{family}, {metric or 'log_loss'}": study(family, metric, trials)
        for family in families
        for metric in (None, "roc_auc")
    }


def report(found: dict[str, Any]) -> str:
    """Return what was measured as text."""
    columns = {
        "trials": "trials",
        "binnings": "binnings",
        "binnings_needed": "needed",
        "rounds": "rounds",
        "rounds_needed": "needed",
        "evaluations": "own evaluations",
        "rows_scored_in_trials": "rows scored in trials",
        "rows_scored": "in all",
    }
    rows = [[name, *(counts[key] for key in columns)] for name, counts in found.items()]
    return table(["study", *columns.values()], rows)


def problems(found: dict[str, Any]) -> list[str]:
    """Return the counts that are more than is needed."""
    wrong = []
    for name, counts in found.items():
        for what in ("binnings", "rounds", "evaluations"):
            if counts[what] > counts[f"{what}_needed"]:
                wrong.append(f"{name}: {counts[what]} {what}, {counts[f'{what}_needed']} are needed")
        if name.endswith("log_loss") and (rows := counts["rows_scored_in_trials"]):
            wrong.append(f"{name}: {rows} rows scored in trials, where the library's own loss is the metric")
    return wrong
