"""The benchmark that guards every change: counts that do not depend on the machine, and quality at a fixed seed.

Each case tunes one family on one of scikit-learn's data sets. Seconds are shown, never judged: machines are noisy.

* binned matrices, trials: must not exceed the baseline;
* boosting rounds grown: at most 5 % more (another processor may round a last digit differently);
* score: at most 1 % worse.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gbtune
from gbtune.study_record import versions

TRIALS = 30
BASELINE = Path(__file__).with_name("baseline.json")
ROUNDS_TOLERANCE, SCORE_TOLERANCE = 0.05, 0.01


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one case measured."""

    binnings: int
    rounds_grown: int
    trials: int
    pruned: int
    score: float
    direction: str
    baseline_score: float
    seconds: float


def cases() -> dict[str, tuple[str, Any]]:
    """Case name to family and data loader."""
    from sklearn.datasets import load_breast_cancer, load_diabetes

    loaders = {"breast_cancer": load_breast_cancer, "diabetes": load_diabetes}
    return {
        f"{data}-{family}": (family, loader) for data, loader in loaders.items() for family in ("xgboost", "lightgbm")
    }


@contextlib.contextmanager
def counted_binnings() -> Iterator[list[str]]:
    """Count the binned matrices built from raw columns while the block runs."""
    import lightgbm
    import xgboost

    built: list[str] = []
    quantile, lazy = xgboost.QuantileDMatrix.__init__, lightgbm.Dataset._lazy_init

    def counted_quantile(self: Any, *args: Any, **kwargs: Any) -> None:
        built.append("xgboost")
        quantile(self, *args, **kwargs)

    def counted_dataset(self: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        if np.shape(data) != (2, 1):  # two empty rows, which set the verbosity of a thread
            built.append("lightgbm")
        return lazy(self, data, *args, **kwargs)

    xgboost.QuantileDMatrix.__init__, lightgbm.Dataset._lazy_init = counted_quantile, counted_dataset
    try:
        yield built
    finally:
        xgboost.QuantileDMatrix.__init__, lightgbm.Dataset._lazy_init = quantile, lazy


def measure(family: str, loader: Any, trials: int) -> Outcome:
    """Run one case."""
    X, y = loader(return_X_y=True, as_frame=True)
    started = time.perf_counter()
    with counted_binnings() as built:
        result = gbtune.tune(X, y, family=family, n_trials=trials, seed=0, tracking=False, progress=False)
    table = result.trials
    return Outcome(
        binnings=len(built),
        rounds_grown=int(table["rounds_grown"].sum()),
        trials=len(table),
        pruned=int((table["state"] == "pruned").sum()),
        score=result.best_score,
        direction=result.study.direction.name.lower(),
        baseline_score=float(result.baseline_score or 0.0),
        seconds=round(time.perf_counter() - started, 2),
    )


def problems(now: Outcome, before: dict[str, Any]) -> list[str]:
    """Say in words what got worse."""
    found = [
        f"{name} rose from {before[name]} to {getattr(now, name)}"
        for name in ("binnings", "trials")
        if getattr(now, name) > before[name]
    ]
    if now.rounds_grown > before["rounds_grown"] * (1 + ROUNDS_TOLERANCE):
        found.append(f"rounds_grown rose from {before['rounds_grown']} to {now.rounds_grown}")
    sign = 1 if now.direction == "minimize" else -1
    if sign * (now.score - before["score"]) > SCORE_TOLERANCE * abs(before["score"]):
        found.append(f"score went from {before['score']:.5g} to {now.score:.5g} ({now.direction})")
    return found


def run(output: Path, *, update: bool = False, trials: int = TRIALS, only: str = "", baseline: Path = BASELINE) -> int:
    """Run all cases, write the reports, return the exit code.

    Parameters
    ----------
    output : Path
        Folder for ``results.json``, ``junit.xml`` and ``report.md``.
    update : bool
        Write the baseline instead of comparing with it.
    trials : int
        Trials of each case; the baseline must have been written with as many.
    only : str
        Run the cases whose name contains this.
    baseline : Path
        The committed numbers.

    Returns
    -------
    int
        0, or 1 when something got worse.
    """
    output.mkdir(parents=True, exist_ok=True)
    measured = {name: measure(family, loader, trials) for name, (family, loader) in cases().items() if only in name}
    now = {
        "trials": trials,
        "versions": versions(),
        "machine": platform.machine(),
        "cases": {name: dataclasses.asdict(outcome) for name, outcome in measured.items()},
    }
    (output / "results.json").write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    if update:
        baseline.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    before = json.loads(baseline.read_text(encoding="utf-8"))
    if before["trials"] != trials:
        raise SystemExit(f"The baseline has {before['trials']} trials a case, this run {trials}: run with --update.")
    worse = {
        name: problems(outcome, before["cases"][name]) if name in before["cases"] else ["not in the baseline"]
        for name, outcome in measured.items()
    }
    _write_junit(output / "junit.xml", measured, worse)
    report = _table(measured, before, worse)
    (output / "report.md").write_text(report, encoding="utf-8")
    print(report)
    return int(any(worse.values()))


def _table(measured: dict[str, Outcome], before: dict[str, Any], worse: dict[str, list[str]]) -> str:
    lines = [
        "| case | binnings | rounds grown | trials | pruned | score | library default | seconds | verdict |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, now in measured.items():
        then = before["cases"].get(name, dataclasses.asdict(now))
        cells = [
            name,
            f"{now.binnings} ({then['binnings']})",
            f"{now.rounds_grown} ({then['rounds_grown']})",
            f"{now.trials} ({then['trials']})",
            f"{now.pruned} ({then['pruned']})",
            f"{now.score:.5g} ({then['score']:.5g})",
            f"{now.baseline_score:.5g}",
            f"{now.seconds:.1f}",
            "; ".join(worse[name]) or "ok",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    changed = {
        package: (before["versions"].get(package), version)
        for package, version in versions().items()
        if package != "platform" and before["versions"].get(package) != version
    }
    lines += ["", "In brackets: the committed baseline."]
    lines += [f"- {package}: {then} in the baseline, {version} here" for package, (then, version) in changed.items()]
    return "\n".join(lines) + "\n"


def _write_junit(path: Path, measured: dict[str, Outcome], worse: dict[str, list[str]]) -> None:
    suite = ET.Element(
        "testsuite", name="benchmarks.ci", tests=str(len(measured)), failures=str(sum(map(bool, worse.values())))
    )
    for name, outcome in measured.items():
        case = ET.SubElement(suite, "testcase", classname="benchmarks.ci", name=name, time=str(outcome.seconds))
        if worse[name]:
            ET.SubElement(case, "failure", message="; ".join(worse[name]))
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
