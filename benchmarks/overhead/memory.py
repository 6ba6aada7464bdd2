"""Peak memory of a study beside one plain fit of the library, each in a process of its own."""

from __future__ import annotations

import importlib
import resource
import sys
from pathlib import Path
from typing import Any

from benchmarks.overhead.process import apart
from benchmarks.overhead.tables import table

FAMILIES = ("lightgbm", "xgboost")
TRIALS, ROUNDS = 4, 30


def make_data(rows: int, columns: int) -> tuple[Any, Any]:
    """Return normal columns and two classes that depend on some of them: (rows, columns) and (rows,)."""
    import numpy as np

    generator = np.random.default_rng(0)
    X = generator.standard_normal((rows, columns))
    logits = X[:, 0] - X[:, 1] * X[:, 2] + np.abs(X[:, 3])
    return X, (logits + generator.standard_normal(rows) > 0.5).astype(int)


def peak(what: str, family: str, rows: int, columns: int, n_jobs: int) -> float:
    """Return the peak memory of this process in MB after doing it.

    Parameters
    ----------
    what : {"data", "fit", "study"}
        Only make the data (with the library imported), fit the library's own class, or tune.
    family : {"lightgbm", "xgboost"}
        The library.
    rows, columns : int
        Of X, in float64.
    n_jobs : int
        Cores.
    """
    import gbtune

    library = importlib.import_module(family)
    importlib.import_module("sklearn.model_selection")
    X, y = make_data(rows, columns)
    if what == "fit":
        kind = library.LGBMClassifier if family == "lightgbm" else library.XGBClassifier
        quiet = {"verbosity": -1} if family == "lightgbm" else {}
        kind(n_estimators=ROUNDS, n_jobs=n_jobs, **quiet).fit(X, y)
    elif what == "study":
        space = gbtune.SearchSpace.load("lightgbm/native" if family == "lightgbm" else "xgboost/core")
        gbtune.tune(
            X,
            y,
            family=family,
            space=space.override(n_estimators=(10, ROUNDS)),
            n_trials=TRIALS,
            n_jobs=n_jobs,
            tracking=False,
            progress=False,
        )
    return peak_of_this_process()


def peak_of_this_process() -> float:
    """Return the peak of resident memory in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count what the parent held when it started this process
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))


def measure(
    rows: int = 200_000, columns: int = 30, n_jobs: int = 2, families: tuple[str, ...] = FAMILIES
) -> dict[str, Any]:
    """Return the peaks in MB, and those of fit and study over the data alone."""
    found: dict[str, Any] = {"rows": rows, "columns": columns, "data_mb": rows * columns * 8 / 1e6, "n_jobs": n_jobs}
    for family in families:
        peaks = {
            what: apart("benchmarks.overhead.memory:peak", what, family, rows, columns, n_jobs)
            for what in ("data", "fit", "study")
        }
        added = {f"{what}_adds": peaks[what] - peaks["data"] for what in ("fit", "study")}
        found[family] = {**peaks, **added}
    return found


def report(found: dict[str, Any]) -> str:
    """Return what was measured as text."""
    heads = ["MB at the peak", "data and imports", "one fit", "study", "fit adds", "study adds"]
    names = ("data", "fit", "study", "fit_adds", "study_adds")
    rows = [[f, *(float(found[f][name]) for name in names)] for f in FAMILIES if f in found]
    about = f"X: {found['rows']:,} x {found['columns']} float64, {found['data_mb']:.0f} MB; {found['n_jobs']} cores."
    return f"{table(heads, rows)}\n\n{about}"


def problems(found: dict[str, Any]) -> list[str]:
    """Return what must not be: nothing, for allocators differ; tests/test_memory.py judges the bounds."""
    return []
