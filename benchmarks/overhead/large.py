"""A million rows in four minutes: wall time, memory, and whether tuning found something."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.overhead.memory import peak_of_this_process
from benchmarks.overhead.process import apart
from benchmarks.overhead.tables import table

FAMILIES = ("lightgbm", "xgboost")
FORMS = ("numpy", "arrow", "sparse")
ROWS, COLUMNS, SECONDS = 1_000_000, 50, 240.0
HELD_OUT, INTERACTIONS, STORED = 0.1, 12, 0.1
"""Rows beside those that are tuned on, a part of them; pairs of columns that matter; what a sparse matrix stores."""


def make_data(rows: int, columns: int, form: str) -> tuple[Any, Any]:
    """Return columns in single precision and two classes that depend on products of pairs of them.

    Parameters
    ----------
    rows, columns : int
        Of X.
    form : {"numpy", "arrow", "sparse"}
        An array, a table of pyarrow, or a matrix of scipy in rows (CSR) of which a tenth is stored.
    """
    import numpy as np

    generator = np.random.default_rng(0)
    X = generator.standard_normal((rows, columns), dtype=np.float32)
    if form == "sparse":
        X *= generator.random((rows, columns), dtype=np.float32) < STORED
    logits = np.zeros(rows, dtype=np.float32)
    for _ in range(INTERACTIONS):
        one, other = generator.choice(columns, 2, replace=False)
        logits += X[:, one] * X[:, other]
    y = (logits + generator.logistic(size=rows) > 0).astype(np.int64)
    if form == "arrow":
        import pyarrow

        return pyarrow.table({f"column_{at}": X[:, at] for at in range(columns)}), y
    if form == "sparse":
        import scipy.sparse

        return scipy.sparse.csr_matrix(X), y
    return X, y


def study(family: str, form: str, rows: int, columns: int, seconds: float, n_jobs: int) -> dict[str, Any]:
    """Tune for so many seconds in this process; return what it took and what it found."""
    import gbtune
    from gbtune.metrics import metric_named

    X, y = make_data(rows + round(HELD_OUT * rows), columns, form)
    unseen, truth = X[rows:], y[rows:]
    X, y = X[:rows], y[:rows]
    quiet: dict[str, Any] = {"family": family, "n_jobs": n_jobs, "progress": False, "tracking": False}
    small, _ = make_data(500, columns, form)
    gbtune.tune(small, y[:500], n_trials=2, **quiet)  # imports
    before, started = peak_of_this_process(), time.perf_counter()
    result = gbtune.tune(X, y, timeout=seconds, **quiet)
    wall, peak = time.perf_counter() - started, peak_of_this_process()
    default = gbtune.families.get(family)
    alone = gbtune.Objective(family, X, y, cv=0.2)
    plain = default.fit(
        alone.data, default.default_params, default.default_rounds, 0, loss=alone.evaluator.loss, threads=n_jobs
    )
    loss = metric_named("log_loss")
    return {
        "wall": wall,
        "peak_adds_mb": peak - before,
        "plan": result.record.plan,
        "trials": len(result.trials),
        "complete": int((result.trials["state"] == "complete").sum()),
        "best": result.best_trial.kind,
        "loss": loss.score(truth, result.predict_proba(unseen)[:, 1]),
        "default_loss": loss.score(truth, plain.predict_proba(result.encode(unseen))[:, 1]),
    }


def measure(
    rows: int = ROWS,
    columns: int = COLUMNS,
    seconds: float = SECONDS,
    n_jobs: int = 2,
    families: tuple[str, ...] = FAMILIES,
    forms: tuple[str, ...] = FORMS[:1],
) -> dict[str, Any]:
    """Return what `study` does of each family and form, each in a process of its own."""
    studies = {
        f"{family}, {form}": apart("benchmarks.overhead.large:study", family, form, rows, columns, seconds, n_jobs)
        for form in forms
        for family in families
    }
    return {"rows": rows, "columns": columns, "seconds": seconds, "n_jobs": n_jobs, "studies": studies}


def report(found: dict[str, Any]) -> str:
    """Return what was measured as text."""
    heads = ["", "wall, s", "adds at the peak, MB", "trials", "complete", "best", "held-out log loss", "default's"]
    names = ("wall", "peak_adds_mb", "trials", "complete", "best", "loss", "default_loss")
    rows = [[about, *(study[name] for name in names)] for about, study in found["studies"].items()]
    plans = [f"{about}: {study['plan'] or 'nothing was given up'}" for about, study in found["studies"].items()]
    about = f"X: {found['rows']:,} x {found['columns']}, {found['seconds']:g} s, {found['n_jobs']} cores."
    return "\n\n".join([table(heads, rows), about, *plans])


def problems(found: dict[str, Any]) -> list[str]:
    """Return what must not be: nothing, for seconds are those of the machine; tests/test_deadline.py judges the end."""
    return []
