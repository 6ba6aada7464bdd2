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
TUNED_BUDGETS = (30, 100)
CHALLENGERS = ("tpe, univariate",)
"""Samplers that could be the default."""
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
    return {"quality": tables.quality(sampled, found)}


def default_tables(found: Sequence[Recording], seeds: int, jobs: int) -> dict[str, str]:
    """Compare the default with its challengers as `tune` runs them; a challenger must win clearly on half A."""
    default = default_sampler()
    pairs = [(name, kind) for name in (default, *CHALLENGERS) for kind in sampling.SURFACES]
    regrets = {
        (name, kind): np.array(
            joblib.Parallel(n_jobs=jobs)(joblib.delayed(_as_tuned)(each, name, kind, seeds) for each in found)
        )
        for name, kind in pairs
    }
    in_half = {half: np.array([each.about["half"] == half for each in found]) for half in "AB"}
    rows, chosen = [["in the code", default, *(_of_half(regrets, default, rows) for rows in in_half.values())]], default
    for name in CHALLENGERS:
        gain = {kind: regrets[default, kind] - regrets[name, kind] for kind in sampling.SURFACES}
        rows.append(["gain of", name, *(_gain_of_half(gain, rows) for rows in in_half.values())])
        if all(tables.is_clear(values[in_half["A"]][:, -1]) for values in gain.values()):
            chosen = name
    rows.append(["chosen on half A", chosen, "", ""])
    at = ", ".join(f"{kind} at {' and '.join(map(str, TUNED_BUDGETS))}" for kind in sampling.SURFACES)
    head = ["after baseline and portfolio", "sampler", f"half A: {at}", f"half B: {at}"]
    return {"default sampler": tables.markdown(head, rows, numbers=2)}


def _of_half(regrets: dict[tuple[str, str], np.ndarray], name: str, rows: np.ndarray) -> str:
    means = [regrets[name, kind][rows].mean(axis=0) for kind in sampling.SURFACES]
    return ", ".join(" and ".join(f"{value:.3f}" for value in values) for values in means)


def _gain_of_half(gain: dict[str, np.ndarray], rows: np.ndarray) -> str:
    words = []
    for values in gain.values():
        means, errors = values[rows].mean(axis=0), tables.standard_error(values[rows])
        words.append(" and ".join(f"{m:.3f} ± {e:.3f}" for m, e in zip(means, errors, strict=True)))
    return ", ".join(words)


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


def _as_tuned(recording: Recording, name: str, kind: str, seeds: int) -> Any:
    return portfolio.as_tuned(recording, sampling.samplers()[name], kind, seeds, TUNED_BUDGETS)


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
    if part in ("all", "default"):
        made |= default_tables(found, seeds, jobs)
    if part in ("all", "portfolios"):
        made |= portfolio_tables(found, seeds, jobs)
    made |= about_tables(found)
    for name, table in made.items():
        print(f"## {name}\n\n{table}\n")
    print(f"{time.perf_counter() - started:.0f} s")
    if update:
        print("written: " + ", ".join(tables.write(made)))
    return 0
