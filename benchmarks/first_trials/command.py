"""Command line of the benchmark of first trials."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.first_trials import report
from benchmarks.first_trials.candidates import FAMILIES, RESULTS, SETS


def add_commands(commands: Any) -> None:
    """Add ``first-trials record`` and ``first-trials report`` to the benchmarks' commands."""
    first = commands.add_parser("first-trials", help="how good published configurations are on public data sets")
    actions = first.add_subparsers(dest="action", required=True)
    record = actions.add_parser("record", help="train what is not in the file yet; twenty minutes of two cores")
    record.add_argument("--data", type=Path, help="folder of NAME.parquet, for sets that no package has")
    record.add_argument("--out", type=Path, default=RESULTS, help="file of results")
    record.add_argument("--family", choices=FAMILIES, action="append", help="default: both")
    record.add_argument("--set", choices=SETS, action="append", help="default: all")
    shown = actions.add_parser("report", help="tables; a second")
    shown.add_argument("file", type=Path, nargs="?", default=RESULTS, help="default: the committed results")
    shown.add_argument("--update", action="store_true", help="write the tables into docs/performance.md")


def run(options: argparse.Namespace) -> int:
    """Run what was asked for; return the exit code."""
    if options.action == "report":
        return report.run(options.file, update=options.update)
    from benchmarks.first_trials import record

    return record.run(options.family or FAMILIES, options.set or SETS, options.data, options.out)
