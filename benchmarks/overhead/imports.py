"""Seconds until gbtune is imported, and of what the first study imports. No library is imported before it is needed."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

from benchmarks.overhead.process import apart
from benchmarks.overhead.tables import table

FAMILIES = ("lightgbm", "xgboost")
NOT_YET = ("mlflow", "xgboost", "lightgbm", "sklearn", "torch", "cmaes")
"""What ``import gbtune`` must not import."""


def importing() -> dict[str, Any]:
    """Import gbtune, and look at what came with it."""
    before, started = set(sys.modules), time.perf_counter()
    import gbtune  # noqa: F401  (what is timed)

    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "modules": len(set(sys.modules) - before),
        "too_early": [name for name in NOT_YET if name in sys.modules],
    }


def studying(family: str) -> dict[str, Any]:
    """Run the same tiny study twice: what the first one needs more is imported, or set up once for all."""
    import gbtune

    rows = [[float(i % 7), float(i % 11)] for i in range(60)]
    target = [float(i % 5) for i in range(60)]

    def seconds() -> float:
        started = time.perf_counter()
        gbtune.tune(rows, target, task="regression", family=family, n_trials=1, tracking=False, progress=False)
        return time.perf_counter() - started

    before = set(sys.modules)
    first = seconds()
    return {"first_study": first, "second_study": seconds(), "modules": len(set(sys.modules) - before)}


def measure(repeats: int = 5, families: tuple[str, ...] = FAMILIES) -> dict[str, Any]:
    """Return the median seconds over so many new interpreters, in turns."""
    seen: dict[str, list[dict[str, Any]]] = {"gbtune": [], **{family: [] for family in families}}
    for _ in range(repeats):
        seen["gbtune"].append(apart("benchmarks.overhead.imports:importing"))
        for family in families:
            seen[family].append(apart("benchmarks.overhead.imports:studying", family))
    found: dict[str, Any] = {"too_early": seen["gbtune"][0]["too_early"]}
    for name, runs in seen.items():
        numbers = [key for key in runs[0] if key != "too_early"]
        found[name] = {key: statistics.median(run[key] for run in runs) for key in numbers}
    return found


def report(found: dict[str, Any]) -> str:
    """Return what was measured as text."""
    about = found["gbtune"]
    rows = [["`import gbtune`", about["seconds"], "", about["modules"]]]
    rows += [
        [f"first study, {name}", those["first_study"] - those["second_study"], those["second_study"], those["modules"]]
        for name, those in found.items()
        if name not in ("gbtune", "too_early")
    ]
    return table(["imports", "seconds", "the same study again", "modules"], rows)


def problems(found: dict[str, Any]) -> list[str]:
    """Return what must not be."""
    return [f"import gbtune imports {name}" for name in found["too_early"]]
