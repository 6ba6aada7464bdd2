"""Which configurations are compared, on which data sets, and what came out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FAMILIES = ("lightgbm", "xgboost")
SETS: Mapping[str, int | None] = {
    "diabetes": None, "breast_cancer": None, "digits": None, "ames_price": None, "diamonds": 5000, "adult": 5000,
    "course_ratings": 6000, "flights_march": 5000, "crash_deaths": 6000, "hospital_readmission": 5000,
    "bike_hourly": 4000,
}  # fmt: skip
"""Data sets of `benchmarks.quality` to training rows, drawn at random; None: all that are not held out. Of the flights
March, because the quality benchmark has June."""
LOWEST_RATE, CAP = 0.04, 600
"""Slower learning rates are raised to this one, as a short study does; at most so many rounds."""
CANDIDATES = Path(__file__).with_name("candidates.json")
RESULTS = Path(__file__).with_name("results.json")

ORDERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "lightgbm/diverse": (
        ("AutoGluon 2023 LightGBM_r96", ""),
        ("native 5, L2 0.01", ""),
        ("native 1, L2 0.01", ""),
        ("AutoGluon 2025-12 LightGBM_r177", ""),
        ("AutoGluon 2025-12 LightGBM_r72", ""),
        ("AutoGluon LightGBM XT", ""),
        ("native 7", "classification"),
        ("native 6", "regression"),
        ("AutoGluon 2025 LightGBM_r33", ""),
        ("AutoGluon 2023 LightGBM_r188", ""),
    ),
    "lightgbm/native": tuple((f"native {n}", "classification" if n == 7 else "") for n in range(1, 9)),
    "xgboost/core": tuple((f"core {n}", "classification" if n == 6 else "") for n in range(1, 10)),
}
"""Portfolio to the candidates that its entries are, in its order, and the kind of task they are meant for. Where the
space lacks a parameter of the published configuration (L1, the treatment of categories), its entry is near it."""
MANY_LEVELS = ("course_ratings", "flights_march", "hospital_readmission")
"""Sets with a column of more than 64 levels: there some entries of XGBoost's take categories for numbers."""
AS_NUMBERS = ", categories as numbers"
ENTRIES_AS_NUMBERS = ("core 2", "core 4", "core 7")
CLASSIFICATION = ("breast_cancer", "digits", "adult", "crash_deaths", "hospital_readmission")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one configuration did on one set.

    Parameters
    ----------
    validation_loss : float
        At the common round of the folds: what a study would choose by.
    rounds : int
        That round.
    loss : float
        Of the refit with so many rounds, on the held-out quarter.
    seconds : float
        Of one core for the folds.
    """

    validation_loss: float
    rounds: int
    loss: float
    seconds: float


Results = dict[str, dict[str, dict[str, Outcome]]]
"""Family to set to name of the candidate to outcome."""


def candidates(family: str) -> dict[str, dict[str, Any]]:
    """Return the configurations of a family: name to parameters."""
    known = json.loads(CANDIDATES.read_text(encoding="utf-8"))
    return {each["name"]: each["params"] for each in known[family]}


def read(path: Path) -> Results:
    """Return the results in a file; none if it is not there."""
    raw = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        family: {name: {each: Outcome(*values) for each, values in found.items()} for name, found in sets.items()}
        for family, sets in raw.items()
    }


def write(results: Results, path: Path) -> None:
    """Write results, a line per outcome."""
    blocks = []
    for family, sets in results.items():
        inner = []
        for name, found in sets.items():
            lines = [f"   {json.dumps(each)}: {json.dumps(dataclasses.astuple(one))}" for each, one in found.items()]
            inner.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
        blocks.append(f" {json.dumps(family)}: {{\n" + ",\n".join(inner) + "\n }")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")
