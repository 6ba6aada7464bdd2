"""Runs all comparisons and writes their tables; the quick run checks exact counts against the committed ones."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np

import gbtune
from benchmarks.replay import portfolio, pruning, sampling, tables
from benchmarks.replay.family import N_FOLDS
from benchmarks.replay.recording import CURVES, Recording, recordings
from gbtune.pruners import RacingPruner, resolve_pruner

SPACES = ("xgboost/core", "lightgbm/native", "lightgbm/core")
"""Whose portfolios are ranked."""
LARGE, SMALL = 20_000, 500
"""Rows for which the defaults are looked up: the race is safer below 1000."""
CAP = 3000
EXPECTED = Path(__file__).with_name("expected.json")
QUICK = ("breast_cancer-lightgbm", "diabetes-xgboost")
QUICK_RULES = ("race, z = 1, startup 3", "race, z = 1.5, startup 3", "median", "wilcoxon", "hyperband")
QUICK_BUDGETS = (10, 30)
QUICK_SAMPLERS = ("tpe", "random", "qmc", "grid")


def about_tables(found: Sequence[Recording]) -> dict[str, str]:
    """Return the tables of what was recorded."""
    return {"sets": tables.origins(found), "recordings": tables.recorded(found)}


def pruner_tables(found: Sequence[Recording], replays: int, jobs: int) -> dict[str, str]:
    """Return the tables of pruners."""
    pruned = _each(_prune, found, jobs, replays)
    by_half, shipped = tables.halves(found), [racing(rows) for rows in (LARGE, SMALL)]
    chosen = pruning.racing_name(*tables.chosen_race(pruned, by_half["A"]))
    rows = []
    named = {"from 1000 rows on": shipped[0], "below 1000 rows": shipped[1], "chosen on half A": chosen}
    for what, name in named.items():
        outcomes = [tables.mean_outcome(pruned, name, names) for names in by_half.values()]
        rows.append([what, name, *(f"{cost:.2f} / {kept:.3f} / {regret:.4f}" for cost, kept, regret in outcomes)])
    return {
        "replay": tables.pruners(pruned, found, shipped),
        "by-set": tables.pruners_by_set(pruned, (*shipped, "median")),
        "default race": tables.markdown(["cost / kept / regret", "race", "half A", "half B"], rows, numbers=2),
    }


def sampler_tables(found: Sequence[Recording], seeds: int, jobs: int) -> dict[str, str]:
    """Return the tables of samplers."""
    sampled = {kind: _each(partial(_sample, kind), found, jobs, seeds) for kind in sampling.SURFACES}
    by_half = tables.halves(found)

    def means(name: str, half: str) -> list[float]:
        return [float(tables.mean_regrets(sampled[kind], name, by_half[half]).mean()) for kind in sampled]

    names = [name for name in next(iter(sampled["steps"].values())) if name != "grid"]
    chosen = min(names, key=lambda name: np.nan_to_num(sum(means(name, "A")), nan=np.inf))
    rows = []
    for which, name in (("in the code", default_sampler()), ("chosen on half A", chosen)):
        rows.append([which, name, *(" / ".join(f"{value:.3f}" for value in means(name, half)) for half in by_half)])
    head = [f"mean regret of {' / '.join(sampled)}", "sampler", "half A", "half B"]
    return {
        "quality": tables.quality(sampled, found),
        "default sampler": tables.markdown(head, rows, numbers=2),
    }


def portfolio_tables(found: Sequence[Recording], seeds: int, jobs: int) -> dict[str, str]:
    """Return the tables of portfolios."""
    entries = [portfolio.entries(found, space) for space in SPACES]
    searched = [each for each in entries if each.space != "lightgbm/core"]  # the lattice is that of the other space
    gains = joblib.Parallel(n_jobs=jobs)(joblib.delayed(portfolio.gains)(each, seeds) for each in searched)
    return {
        "portfolios": tables.portfolios(entries),
        "gains": tables.gains(dict(zip([each.space for each in searched], gains, strict=True))),
        **{f"order {each.space}": tables.ranking(each) for each in entries},
    }


def racing(n_rows: int) -> str:
    """Return what the tables call the race that `gbtune.tune` runs on so many rows."""
    pruner = resolve_pruner("race", n_rows=n_rows, n_folds=N_FOLDS, max_rounds=CAP)
    assert isinstance(pruner, RacingPruner)
    return pruning.racing_name(pruner.z, pruner.n_startup_trials)


def default_sampler() -> str:
    """Return the sampler of `gbtune.tune`."""
    return str(inspect.signature(gbtune.tune).parameters["sampler"].default)


def _prune(recording: Recording, replays: int) -> Any:
    return pruning.compare(recording, pruning.rules(), replays)


def _sample(kind: str, recording: Recording, seeds: int) -> Any:
    return sampling.compare(recording, sampling.samplers(), seeds, kind=kind)


def _each(function: Any, found: Sequence[Recording], jobs: int, times: int) -> dict[str, Any]:
    results = joblib.Parallel(n_jobs=jobs)(joblib.delayed(function)(recording, times) for recording in found)
    return {recording.name: result for recording, result in zip(found, results, strict=True)}


def quick(
    names: Sequence[str] = QUICK,
    rules: Sequence[str] = QUICK_RULES,
    samplers: Sequence[str] = QUICK_SAMPLERS,
    curves: Path = CURVES,
) -> dict[str, Any]:
    """Return the exact counts of a few short replays, by recording and by what was replayed."""
    counts: dict[str, Any] = {}
    for recording in recordings(curves, names):
        counts[recording.name] = {
            rule: {
                "rounds": sum(outcome.rounds for outcome in outcomes),
                "kept": sum(outcome.kept for outcome in outcomes),
                "regret": round(sum(outcome.regret for outcome in outcomes), 6),
            }
            for rule, outcomes in pruning.compare(recording, rules, 1).items()
        }
        for name, regrets in sampling.compare(recording, samplers, 2, budgets=QUICK_BUDGETS).items():
            total = np.sum(regrets, axis=0).round(6)
            counts[recording.name][name] = dict(zip(map(str, QUICK_BUDGETS), total.tolist(), strict=True))
    return counts


def differences(now: Any, before: Any, where: str = "") -> list[str]:
    """Say in words what differs."""
    if isinstance(now, dict) and isinstance(before, dict):
        names = [*before, *(name for name in now if name not in before)]
        return [
            text
            for name in names
            for text in differences(now.get(name), before.get(name), f"{where}, {name}" if where else name)
        ]
    return [] if now == before else [f"{where}: {before} before, {now} now"]


def run(
    *,
    is_quick: bool = False,
    update: bool = False,
    part: str = "all",
    replays: int = 2,
    seeds: int = 4,
    jobs: int = 1,
    curves: Path = CURVES,
) -> int:
    """Compare and print; return 1 if the quick run's counts are not the committed ones."""
    started = time.perf_counter()
    if is_quick:
        counts = quick(curves=curves)
        if update:
            EXPECTED.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
        differing = differences(counts, json.loads(EXPECTED.read_text(encoding="utf-8")))
        print("\n".join(differing) or "as committed")
        return int(bool(differing))
    found, made = list(recordings(curves)), {}
    if part in ("all", "pruners"):
        made |= pruner_tables(found, replays, jobs)
    if part in ("all", "samplers"):
        made |= sampler_tables(found, seeds, jobs)
    if part in ("all", "portfolios"):
        made |= portfolio_tables(found, seeds, jobs)
    made |= about_tables(found)
    for name, table in made.items():
        print(f"## {name}\n\n{table}\n")
    print(f"{time.perf_counter() - started:.0f} s")
    if update:
        print("written: " + ", ".join(tables.write(made)))
    return 0
