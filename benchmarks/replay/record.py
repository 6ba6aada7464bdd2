"""Records the curves that are replayed: a lattice of configurations, the library's default and the portfolios."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.replay.datasets import sources, table
from benchmarks.replay.family import N_FOLDS, levels
from benchmarks.replay.recording import Recording
from gbtune import families
from gbtune.data import Dataset
from gbtune.early_stopping import patience
from gbtune.evaluation import ROUNDS_PER_STEP, Evaluator
from gbtune.records import FloatArray
from gbtune.resampling import make_folds
from gbtune.rounds import Rounds
from gbtune.seeds import seed as derive_seed
from gbtune.spaces import SearchSpace
from gbtune.study_metrics import resolve_metrics

SEED, CAP, DEFAULT_ROUNDS = 0, 1000, 100
STEPS, DIGITS = 1 << 16, 20
"""Curves are kept in so many steps between the first and the lowest loss of the library's default."""
FEWER_BINS = {"max_bin": 63}
"""Given to every booster: deep trees on few rows then cost a third, and are hardly others."""
_SHARED = {"learning_rate": 3, "subsample": 2, "colsample_bytree": 2}
LATTICES = {
    "xgboost": ("core", {"max_depth": 3, "min_child_weight": 2, **_SHARED}),
    "lightgbm": ("native", {"num_leaves": 4, "min_child_samples": 2, **_SHARED}),
}
"""Space and number of levels of each parameter."""
OF_MANY_LEVELS = "enable_categorical"
"""The recorded sets have no column of many levels: what is about these is left out, of the spaces by `for_levels`."""
CANDIDATES = Path(__file__).with_name("candidates.json")
"""Space to the published configurations that its portfolio was chosen from, in the order before it was ranked."""


def lattice(family: str) -> list[dict[str, Any]]:
    """Return the sampled parameters of all cells."""
    name, counts = LATTICES[family]
    space = SearchSpace.load(name, family=family).for_levels(0)
    axes = [levels(space, parameter, count) for parameter, count in counts.items()]
    return [dict(zip(counts, cell, strict=True)) for cell in itertools.product(*axes)]


def configurations(family: str) -> list[dict[str, Any]]:
    """Return what is recorded, in order: default, portfolio entries, cells; each set of parameters once."""
    default = {name: value for name, value in families.get(family).default_params.items() if name != OF_MANY_LEVELS}
    found: list[dict[str, Any]] = [{"kind": "default", "params": default}]
    for key, entries in json.loads(CANDIDATES.read_text(encoding="utf-8")).items():
        if key.startswith(f"{family}/"):
            space = SearchSpace.load(key).for_levels(0)
            found += [
                {
                    "kind": "portfolio",
                    "params": space.complete(space.project(entry["params"])),
                    "space": key,
                    "entry": entry["params"],
                    "provenance": entry["provenance"],
                    "tasks": entry["tasks"],
                }
                for entry in entries
            ]
    space = SearchSpace.load(LATTICES[family][0], family=family).for_levels(0)
    return found + [{"kind": "cell", "params": space.complete(cell)} for cell in lattice(family)]


def record(name: str, family: str, folder: Path | None, output: Path, cap: int = CAP) -> Recording:
    """Train all configurations of one family on one data set; write and return the recording."""
    source, data_table = sources()[name], table(name, folder)
    data = Dataset.from_arrays(data_table.X, data_table.y, task=source.task)
    metrics = resolve_metrics("rmse" if source.task == "regression" else "log_loss", data.task, {})
    folds = make_folds(N_FOLDS, data, seed=SEED)
    evaluator = Evaluator(families.get(family), data, folds, metrics, Rounds(cap))
    configs, curves, started = configurations(family), [], time.perf_counter()
    step = resolution(evaluator)
    for config in configs:
        curves.append(grow(evaluator, config["params"], cap, step))
    about = {
        "set": name,
        "half": source.half,
        "family": family,
        "space": f"{family}/{LATTICES[family][0]}",
        "levels": LATTICES[family][1],
        "task": data.task,
        "loss": metrics[0].name,
        "rows": data.n_rows,
        "columns": data.n_columns,
        "categorical": len(data.categorical),
        "folds": folds.description,
        "cap": cap,
        "also": FEWER_BINS,
        "seconds": round(time.perf_counter() - started, 1),
        "origin": source.origin,
        "licence": source.licence,
        "versions": {package: importlib.metadata.version(package) for package in ("gbtune", family)},
    }
    made = Recording(about, tuple(configs), tuple(curves), step)
    made.save(output / f"{name}-{family}.npz")
    return made


def resolution(evaluator: Evaluator) -> float:
    """Return the step in which losses are kept.

    It has so few digits that sums of losses are exact: equal means are equal in any order of the folds.
    """
    params = {**evaluator.family.default_params, **FEWER_BINS}
    curve = evaluator.prepared.train_fold(params, 0, DEFAULT_ROUNDS, SEED).curve
    return shortened(float(curve[0] - curve.min()) / STEPS)


def shortened(value: float) -> float:
    """Return the nearest number of `DIGITS` binary digits."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(math.ldexp(mantissa, DIGITS)), exponent - DIGITS)


def grow(evaluator: Evaluator, params: Mapping[str, Any], cap: int, step: float) -> tuple[FloatArray, ...]:
    """Grow all folds until the mean curve of **every** subset of them has met its early stop.

    A replay may then take the folds in any order, and stop after any of them: it never needs a round that is not there.
    What is watched is what is kept, in whole steps.
    """
    wait, boosters = patience(params), []
    for fold in range(N_FOLDS):
        stream = derive_seed(SEED, "booster", fold=fold)
        boosters.append(evaluator.prepared.train_fold({**params, **FEWER_BINS}, fold, 0, stream))
    subsets = np.array([s for s in itertools.product((0.0, 1.0), repeat=N_FOLDS) if any(s)])
    rounds = 0
    while rounds < cap:
        rounds = min(cap, rounds + 2 * ROUNDS_PER_STEP)  # lock-step asks for whole steps
        for booster in boosters:
            booster.grow(rounds)
        curves = np.round(np.stack([booster.curve for booster in boosters]) / step) * step
        if rounds >= DEFAULT_ROUNDS and (longest_wait(subsets @ curves) >= wait).all():
            break
    return tuple(curves)


def longest_wait(curves: FloatArray) -> FloatArray:
    """Return, for each curve, the most rounds that any of its lowest points so far lasted."""
    best = np.minimum.accumulate(curves, axis=1)
    improved = np.concatenate([np.ones((len(curves), 1), bool), curves[:, 1:] < best[:, :-1]], axis=1)
    position = np.arange(curves.shape[1])
    since = position - np.maximum.accumulate(np.where(improved, position, 0), axis=1)
    return since.max(axis=1).astype(float)


def run(folder: Path | None, output: Path, only: Sequence[str] = (), minutes: float = math.inf) -> int:
    """Record what is not there yet, set by set; stop before a recording once the minutes are over."""
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    for name in sources():
        for family in LATTICES:
            if (only and f"{name}-{family}" not in only) or (output / f"{name}-{family}.npz").exists():
                continue
            if time.monotonic() - started > 60 * minutes:
                return 0
            made = record(name, family, folder, output)
            rounds = sum(len(fold) for folds in made.curves for fold in folds)
            print(
                f"{made.name}: {len(made.configs)} configurations, {rounds} rounds, {made.about['seconds']} s",
                flush=True,
            )
    return 0
