"""Tables of the candidates, and of what a study has after its first trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.first_trials.candidates import (
    AS_NUMBERS,
    CLASSIFICATION,
    ENTRIES_AS_NUMBERS,
    MANY_LEVELS,
    ORDERS,
    Outcome,
    Results,
    candidates,
    read,
)
from benchmarks.replay.tables import markdown, write

COUNTS = (1, 2, 3, 4, 6, 8)
MOST = 30.0
"""A configuration counts at most so many percent of a set's loss: one set must not outweigh the others."""


def run(path: Path, *, update: bool = False) -> int:
    """Print the tables; write them where asked."""
    results = read(path)
    if not results:
        raise SystemExit(f"There are no results in {path}. Make some: python -m benchmarks first-trials record")
    made = tables(results)
    for name, table in made.items():
        print(f"## {name}\n\n{table}\n")
    if update:
        print("written: " + ", ".join(write(made)))
    return 0


def tables(results: Results) -> dict[str, str]:
    """Return all tables, by the names of their markers in the documentation."""
    made = {f"first trials, {family}": by_candidate(results, family) for family in results}
    return {"first trials": after_some(results), **made}


def beyond(results: Results, family: str) -> tuple[list[str], np.ndarray]:
    """Return the candidates, and their held-out losses beyond the best one's in percent, shape (candidates, sets)."""
    names = list(candidates(family))
    losses = np.array([[found[name].loss for found in results[family].values()] for name in names])
    return names, 100 * (losses / losses.min(axis=0) - 1)


def by_candidate(results: Results, family: str) -> str:
    """Table of all candidates, the best on average first."""
    names, percent = beyond(results, family)
    seconds = np.array([[found[name].seconds for found in results[family].values()] for name in names])
    cost, mean = (seconds / seconds.mean(axis=0)).mean(axis=1), np.minimum(percent, MOST).mean(axis=1)
    rows = [
        [names[at], f"{mean[at]:.1f}", f"{np.median(percent[at]):.1f}", f"{percent[at].max():.0f}",
         str(int((percent[at] == 0).sum())), f"{cost[at]:.2f}"]
        for at in np.argsort(mean, kind="stable")
    ]  # fmt: skip
    return markdown(["configuration", "mean %", "median %", "worst %", "best on", "cost"], rows, numbers=5)


def after_some(results: Results) -> str:
    """Table of what a study has after so many entries of a portfolio, when it chooses by its folds."""
    rows = []
    for space in ORDERS:
        family = space.partition("/")[0]
        names, percent = beyond(results, family)
        sets = [chosen(order_for(space, name), names, percent[:, at], results[family][name])
                for at, name in enumerate(results[family])]  # fmt: skip
        rows.append([space, *(f"{mean:.1f}" for mean in np.minimum(sets, MOST).mean(axis=0))])
    head = ["portfolio", *(f"after {count}" for count in COUNTS)]
    return markdown(head, rows, numbers=len(COUNTS))


def order_for(space: str, name: str) -> list[str]:
    """Return the candidates that are tried on a set, in the order of a portfolio."""
    kind = "classification" if name in CLASSIFICATION else "regression"
    order = [candidate for candidate, meant_for in ORDERS[space] if meant_for in ("", kind)]
    as_numbers = ENTRIES_AS_NUMBERS if name in MANY_LEVELS else ()
    return [candidate + AS_NUMBERS if candidate in as_numbers else candidate for candidate in order]


def chosen(order: Sequence[str], names: Sequence[str], percent: Any, outcomes: Mapping[str, Outcome]) -> list[float]:
    """Return how far the one with the lowest validation loss among the first so many is from the best candidate."""
    found = []
    for count in COUNTS:
        best = min(order[:count], key=lambda name: outcomes[name].validation_loss)
        found.append(float(percent[names.index(best)]))
    return found
