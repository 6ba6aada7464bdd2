"""How much further than its trial may a model grow? Hold-out curves that are longer than what is looked at.

For each configuration and each number of rounds at which its curve is at its best so far: what the last two doublings
of the rounds have gained, and what comes after so many times the rounds. `gbtune.growth` has the rule.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.quality.sets import divide
from gbtune import families
from gbtune.data import Dataset
from gbtune.evaluation import Evaluator
from gbtune.narrowing import AT_CAP
from gbtune.resampling import make_folds
from gbtune.rounds import Rounds
from gbtune.spaces import SearchSpace
from gbtune.study_metrics import resolve_metrics

SETS = (
    *("diabetes", "ames_price", "adult", "crash_deaths", "course_ratings", "flights_june"),
    *("bace_potency", "digits", "bike_hourly", "diamonds", "vehicle_make", "breast_cancer"),
)
ENTRIES, RATES, ROUNDS, MOST_ROWS = 3, (0.08, 0.16), 400, 6000
"""Of each portfolio the first ones, at rates that a short time allows for; and the library's default."""
LOOKS, TIMES = (8, 15, 30, 60, 100), (1.5, 2, 3, 4)
EDGES = (0, 0.25, 0.35, 0.5, 0.6, 0.75, 1, np.inf)
HARMED = 0.005


def add_commands(commands: Any) -> None:
    """Add ``growth``."""
    growth = commands.add_parser("growth", help="how much further than its trial a model may grow; ten minutes")
    growth.add_argument("--out", type=Path, required=True, help="file of curves, a line of JSON each; appended to")
    growth.add_argument("--data", type=Path, help="folder of NAME.parquet, for sets that no package has")
    growth.add_argument("--sets", default=",".join(SETS), help="names with commas")
    growth.add_argument("--rounds", type=int, default=ROUNDS, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Record what is missing, and print the table of all."""
    options.out.touch()
    lines = map(json.loads, options.out.read_text(encoding="utf-8").splitlines())
    known = {(line["set"], line["family"], line["label"]): line for line in lines}
    for name in filter(None, options.sets.split(",")):
        for family in ("xgboost", "lightgbm"):
            for label, curve in _curves(name, family, options.data, options.rounds, known):
                known[name, family, label] = line = {"set": name, "family": family, "label": label, "curve": curve}
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
    print(table([line["curve"] for line in known.values()]))
    return 0


def _curves(name: str, family: str, folder: Path | None, rounds: int, known: Any) -> Iterator[tuple[str, list[float]]]:
    """Grow every configuration on a hold-out that has no curve yet."""
    divided, plugin = divide(name, folder, 0), families.get(family)
    count = min(len(divided.X), MOST_ROWS)
    rows = np.sort(np.random.default_rng(0).choice(len(divided.X), count, replace=False))
    data = Dataset.from_arrays(divided.X.iloc[rows], divided.y[rows], task=divided.kind)
    space = SearchSpace.load(plugin.default_space, family=family)
    points = [space.project(entry.params) for entry in space.portfolio_for(data.task)[:ENTRIES]]
    wanted = {"default": dict(plugin.default_params)}
    wanted |= {f"{i}@{rate}": {**point, "learning_rate": rate} for i, point in enumerate(points) for rate in RATES}
    metrics = resolve_metrics(None, data.task, {})
    evaluator = Evaluator(plugin, data, make_folds(0.2, data, seed=0), metrics, Rounds.exactly(rounds))
    for label, params in wanted.items():
        if (name, family, label) not in known:
            print(f"{name}, {family}, {label}", flush=True)
            fit = evaluator.prepared.train_fold(params, 0, rounds, 0)
            yield label, [round(float(loss), 7) for loss in fit.curve]


def cases(curves: list[list[float]]) -> pd.DataFrame:
    """Return a row for each look at a curve that was at its best: how steep it is, and what becomes of its loss.

    Where the doubling before gained nothing there is no steepness, and no further growth.
    """
    found = []
    for curve in map(np.asarray, curves):
        for rounds in LOOKS:
            if TIMES[-1] * rounds > len(curve) or curve[:rounds].argmin() + 1 < AT_CAP * rounds:
                continue
            at = np.interp([rounds / 4, rounds / 2], np.arange(1, len(curve) + 1), curve)
            before, last, now = at[0] - at[1], at[1] - curve[rounds - 1], curve[rounds - 1]
            later = {times: curve[int(times * rounds) - 1] / now - 1 for times in TIMES}
            found.append({"steep": last / before if before > 0 else np.nan, **later})
    return pd.DataFrame(found, columns=["steep", *TIMES])


def table(curves: list[list[float]]) -> str:
    """Return, by steepness, the mean change of the loss, how often it rose, and by how much at most."""
    looks = cases(curves)
    lines = ["| steepness | cases | 1.5 x | 2 x | 3 x | 4 x |", "|---|---:|---:|---:|---:|---:|"]
    for _, group in looks.groupby(pd.cut(looks["steep"], EDGES, right=False), observed=True):
        cells = [
            f"{100 * group[times].mean():+.1f} ({(group[times] > HARMED).mean():.0%}, {100 * group[times].max():+.1f})"
            for times in TIMES
        ]
        low = max(edge for edge in EDGES if edge <= group["steep"].min())
        lines.append(f"| from {low:g} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)
