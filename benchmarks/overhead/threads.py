"""Where cores are of most use: in boosters side by side, with one thread each, or all of them in one booster."""

from __future__ import annotations

import itertools
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.overhead.process import apart
from benchmarks.overhead.tables import table

FAMILIES = ("lightgbm", "xgboost")
ROWS, COLUMNS, CLASSES = (2_000, 20_000, 200_000), (10, 100), (2, 10)
SECONDS, REPEATS = 0.5, 3
"""Of each look; looks at each way, in turns: the machine may be shared."""


def make_data(rows: int, columns: int, classes: int) -> tuple[Any, Any]:
    """Return normal columns, and equally many rows of each class."""
    import numpy as np

    generator = np.random.default_rng(0)
    X = generator.standard_normal((rows, columns), dtype=np.float32)
    value = X[:, 0] - X[:, 1] * X[:, 2] + np.abs(X[:, 3]) + generator.standard_normal(rows)
    return X, np.argsort(np.argsort(value)) * classes // rows


def paces(family: str, rows: int, columns: int, classes: int, n_jobs: int) -> dict[str, float]:
    """Return rounds per second, of all boosters together, with the library's default parameters.

    Parameters
    ----------
    family : {"lightgbm", "xgboost"}
        The library.
    rows, columns, classes : int
        Of the data; a fifth of the rows is held out, and scored after every round.
    n_jobs : int
        Cores.

    Returns
    -------
    dict of str to float
        ``"alone"``: one booster with one thread; ``"side by side"``: `n_jobs` of them; ``"threads"``: one with
        `n_jobs` threads. Medians.
    """
    import gbtune

    objective = gbtune.Objective(family, *make_data(rows, columns, classes), cv=0.2)
    data, folds, loss = objective.data, objective.evaluator.folds, objective.evaluator.loss
    plug_in = objective.family
    one, many = (plug_in.prepare(data, folds, loss, threads=threads) for threads in (1, n_jobs))
    rounds = 1

    def seconds(prepared: Any, boosters: int) -> float:
        # Made right before they grow: LightGBM's number of threads is that of the booster made last.
        fits = [prepared.train_fold(plug_in.default_params, 0, 0, seed) for seed in range(boosters)]
        with ThreadPoolExecutor(boosters) as pool:
            list(pool.map(lambda fit: fit.grow(1), fits))  # threads and memory are there
            started = time.perf_counter()
            list(pool.map(lambda fit: fit.grow(1 + rounds), fits))
            return time.perf_counter() - started

    rounds = max(1, round(SECONDS / seconds(one, 1)))
    ways = {"alone": (one, 1), "side by side": (one, n_jobs), "threads": (many, 1)}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(REPEATS):
        for way, (prepared, boosters) in ways.items():
            found[way].append(boosters * rounds / seconds(prepared, boosters))
    return {way: statistics.median(those) for way, those in found.items()}


def measure(
    n_jobs: int = 2,
    families: tuple[str, ...] = FAMILIES,
    rows: tuple[int, ...] = ROWS,
    columns: tuple[int, ...] = COLUMNS,
    classes: tuple[int, ...] = CLASSES,
) -> dict[str, Any]:
    """Return what `paces` does of each family and size, each in a process of its own."""
    cells = [
        {
            "family": family,
            "rows": of[0],
            "columns": of[1],
            "classes": of[2],
            **apart("benchmarks.overhead.threads:paces", family, *of, n_jobs),
        }
        for family in families
        for of in itertools.product(rows, columns, classes)
    ]
    return {"n_jobs": n_jobs, "cells": cells}


def report(found: dict[str, Any]) -> str:
    """Return what was measured as text."""
    n_jobs = found["n_jobs"]
    heads = ["", "rows", "columns", "classes", "one booster, ms a round", f"{n_jobs} side by side", f"{n_jobs} threads"]
    rows = [
        [
            cell["family"],
            f"{cell['rows']:,}",
            *(cell[name] for name in ("columns", "classes")),
            1000 / cell["alone"],
            *(f"{cell[way] / cell['alone']:.2f}" for way in ("side by side", "threads")),
        ]
        for cell in found["cells"]
    ]
    return f"{table(heads, rows)}\n\nThe last two: rounds per second, in times those of one booster with one thread."


def problems(found: dict[str, Any]) -> list[str]:
    """Return what must not be: nothing, for seconds are those of the machine."""
    return []
