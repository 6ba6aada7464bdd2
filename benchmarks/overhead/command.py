"""Command line of the benchmark of everything that is not growing trees."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.overhead import counts, imports, memory, share, tracking, trials
from gbtune.study_record import versions

QUICK = ("imports", "counts", "memory", "trials", "share")
"""What runs without a name, some seven minutes. ``tracking`` takes fifteen."""
_MODULES: dict[str, Any] = {
    "imports": imports, "counts": counts, "memory": memory, "trials": trials, "share": share
}  # fmt: skip


def add_commands(commands: Any) -> None:
    """Add ``overhead`` to the benchmarks' commands."""
    cost = commands.add_parser(
        "overhead",
        help="what a study costs besides growing trees; minutes",
        description=(
            "What a study costs besides growing trees. imports: seconds to import gbtune, and of the first study. "
            "counts: exact binnings, rounds and rows, judged. memory: peak of a study beside one plain fit. trials: "
            "milliseconds per trial of everything but booster and sampler. share: of the time inside the libraries' "
            "update and eval calls, a minute per family. tracking: what logging adds; a quarter of an hour."
        ),
    )
    # Not `choices`: argparse would check the empty list against them.
    cost.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join((*QUICK, 'tracking'))}; default: all but tracking"
    )
    cost.add_argument("--output", type=Path, default=Path("benchmark-results"), help="folder for overhead-PART.json")
    cost.add_argument("--families", nargs="+", default=list(share.FAMILIES), help="of all but trials and tracking")
    cost.add_argument("--n-jobs", type=int, default=2, help="of share and memory")
    cost.add_argument("--timeout", type=float, default=60.0, help="of share: seconds of each study")
    cost.add_argument("--rows", type=int, default=50_000, help="of share")
    cost.add_argument("--columns", type=int, default=30, help="of share")
    cost.add_argument("--tracked", action="store_true", help="share: with MLflow, which takes time at the end")
    cost.add_argument("--generations", action="store_true", help="share: reproducible for any number of cores")
    cost.add_argument("--samplers", nargs="+", default=list(trials.SAMPLERS), help="of trials")
    cost.add_argument("--sizes", nargs="+", type=int, default=list(trials.SIZES), help="of trials; 5000 takes minutes")
    cost.add_argument("--trials", type=int, default=100, help="of each study of tracking")
    cost.add_argument("--rounds", type=int, default=3, help="of tracking: each runs every variant once")
    cost.add_argument("--seconds", type=float, default=1.0, help="of tracking: burnt by each trial")


def run(options: argparse.Namespace) -> int:
    """Measure the parts asked for; print and write them; return 1 if a count or tracking is over its limit."""
    parts = options.parts or list(QUICK)
    unknown = [part for part in parts if part not in (*QUICK, "tracking")]
    if unknown:
        raise SystemExit(f"There is no part {unknown[0]!r}: {', '.join((*QUICK, 'tracking'))}.")
    options.output.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    for part in parts:
        print(f"\n## {part}\n", flush=True)
        if part == "tracking":
            over = tracking.run(options.output, trials=options.trials, rounds=options.rounds, seconds=options.seconds)
            wrong += ["tracking is over its limit"] * over
            continue
        found, module = _measured(part, options), _MODULES[part]
        written = {"versions": versions(), part: found}
        (options.output / f"overhead-{part}.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        print(module.report(found), flush=True)
        wrong += module.problems(found)
    print("\n" + ("\n".join(wrong) if wrong else "No count is over its limit."))
    return int(bool(wrong))


def _measured(part: str, options: argparse.Namespace) -> Any:
    families = tuple(options.families)
    if part == "imports":
        return imports.measure(families=families)
    if part == "counts":
        return counts.measure(families=families)
    if part == "memory":
        return memory.measure(n_jobs=options.n_jobs, families=families)
    if part == "trials":
        with tempfile.TemporaryDirectory() as folder:
            return trials.measure(tuple(options.samplers), tuple(options.sizes), Path(folder))
    return share.measure(
        options.rows,
        options.columns,
        options.timeout,
        options.n_jobs,
        options.tracked,
        families,
        options.generations,
    )
