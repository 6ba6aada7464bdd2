"""Command line of the benchmark of everything that is not growing trees."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.overhead import counts, imports, large, memory, share, threads, tracking, trials
from gbtune.study_record import versions

QUICK = ("imports", "counts", "memory", "trials", "share")
"""What runs without a name, some seven minutes."""
MORE = ("threads", "tracking", "large")
"""What takes longer: five minutes, fifteen, five for each study."""
_MODULES: dict[str, Any] = {
    "imports": imports, "counts": counts, "memory": memory, "trials": trials, "share": share, "threads": threads,
    "large": large,
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
            "update and eval calls, a minute per family. tracking: what logging adds; a quarter of an hour. large: a "
            "million rows, five minutes per family and form. threads: one booster with all cores, or several side by "
            "side; five minutes."
        ),
    )
    # Not `choices`: argparse would check the empty list against them.
    cost.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join((*QUICK, *MORE))}; default: the first five"
    )
    cost.add_argument("--output", type=Path, default=Path("benchmark-results"), help="folder for overhead-PART.json")
    cost.add_argument("--families", nargs="+", default=list(share.FAMILIES), help="of all but trials and tracking")
    cost.add_argument("--n-jobs", type=int, default=2, help="of share, memory, threads and large")
    cost.add_argument("--timeout", type=float, help="seconds of each study: 60 of share, 240 of large")
    cost.add_argument("--rows", type=int, help="50,000 of share, a million of large")
    cost.add_argument("--columns", type=int, help="30 of share, 50 of large")
    cost.add_argument("--forms", nargs="+", default=["numpy"], choices=large.FORMS, help="of large: what X is")
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
    unknown = [part for part in parts if part not in (*QUICK, *MORE)]
    if unknown:
        raise SystemExit(f"There is no part {unknown[0]!r}: {', '.join((*QUICK, *MORE))}.")
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
    if part == "threads":
        return threads.measure(n_jobs=options.n_jobs, families=families)
    if part == "memory":
        return memory.measure(n_jobs=options.n_jobs, families=families)
    if part == "trials":
        with tempfile.TemporaryDirectory() as folder:
            return trials.measure(tuple(options.samplers), tuple(options.sizes), Path(folder))
    size = {"rows": options.rows, "columns": options.columns, "seconds": options.timeout}
    given: dict[str, Any] = {name: value for name, value in size.items() if value is not None}
    if part == "large":
        return large.measure(**given, n_jobs=options.n_jobs, families=families, forms=tuple(options.forms))
    return share.measure(
        **given, n_jobs=options.n_jobs, tracking=options.tracked, families=families, both=options.generations
    )
