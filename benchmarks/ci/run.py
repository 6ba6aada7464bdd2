"""Measures all cases, and compares them with the committed baseline."""

from __future__ import annotations

import functools
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.ci import anytime, bookkeeping, judging, report, studies
from gbtune.study_record import versions

BASELINE = Path(__file__).parents[1] / "baseline.json"
TRIALS = studies.TRIALS
Measure = Callable[[], dict[str, float]]


def cases(trials: int = TRIALS) -> dict[str, Measure]:
    """Return what measures each case, by its name.

    Parameters
    ----------
    trials : int, default 30
        Of each study with boosters.
    """
    found: dict[str, Measure] = {
        f"{data}-{family}": functools.partial(studies.measure, data, family, trials)
        for data in studies.LOADERS
        for family in studies.FAMILIES
    }
    return {**found, "anytime": anytime.measure, "bookkeeping": bookkeeping.measure}


def run(output: Path, *, update: bool = False, trials: int = TRIALS, only: str = "", baseline: Path = BASELINE) -> int:
    """Run the cases, write the reports, return the exit code.

    Parameters
    ----------
    output : Path
        Folder for ``results.json``, ``junit.xml`` and ``report.md``.
    update : bool, default False
        Write the baseline (of the cases that were run) instead of failing; the report shows old and new numbers.
    trials : int, default 30
        Trials of each study; the baseline must have been written with as many.
    only : str, default ""
        Run the cases whose name contains this.
    baseline : Path
        The committed numbers.

    Returns
    -------
    int
        0, or 1 when something got worse.

    Raises
    ------
    SystemExit
        If the baseline has another number of trials, or no case has such a name.
    """
    before = json.loads(baseline.read_text(encoding="utf-8")) if baseline.exists() else {}
    if not update and before.get("trials") != trials:
        raise SystemExit(
            f"The baseline has {before.get('trials', 'no')} trials a study, this run {trials}: run with --update."
        )
    chosen = {name: measure for name, measure in cases(trials).items() if only in name}
    if not chosen:
        raise SystemExit(f"No case has {only!r} in its name. There are: {', '.join(cases())}.")
    output.mkdir(parents=True, exist_ok=True)
    measured: dict[str, dict[str, float]] = {}
    for name, measure in chosen.items():
        measured[name] = measure()
        print(f"{name}: {measured[name]['seconds']:.1f} s", flush=True)
    now = {"trials": trials, "versions": versions(), "machine": platform.machine(), "cases": measured}
    _write(output / "results.json", now)
    old = before.get("cases", {}) if before.get("trials") == trials else {}
    worse = {
        name: judging.problems(old.get(name, {}), numbers) if name in old or not update else []
        for name, numbers in measured.items()
    }
    text = report.markdown(old, measured, worse, _changed_versions(before.get("versions", {}), now["versions"]))
    (output / "report.md").write_text(text, encoding="utf-8")
    print(text)
    if update:
        together = {**old, **measured}  # those that were not run stay as they are
        _write(baseline, {**now, "cases": {name: together[name] for name in cases() if name in together}})
        print(f"written: {baseline}")
        worse = {name: [] for name in measured}
    report.write_junit(output / "junit.xml", measured, worse)
    return int(any(worse.values()))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _changed_versions(before: dict[str, str], now: dict[str, str]) -> dict[str, tuple[str | None, str]]:
    """Return the packages whose version is another one; the platform's kernel is none of them."""
    return {
        package: (before.get(package), version)
        for package, version in now.items()
        if package != "platform" and before.get(package) != version
    }
