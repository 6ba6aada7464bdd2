"""Command line of the benchmark of final models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    """Add ``final-model record`` and ``final-model report`` to the benchmarks' commands."""
    final = commands.add_parser("final-model", help="one refit, or the mean of several models; hours to record")
    actions = final.add_subparsers(dest="action", required=True)
    record = actions.add_parser("record", help="record the cases that are not in the folder yet; one core, hours")
    record.add_argument("--profile", choices=("smoke", "full"), default="smoke")
    record.add_argument("--out", type=Path, required=True, help="folder of recordings, a file of 1 to 5 MB per case")
    record.add_argument("--data", type=Path, help="folder of NAME.parquet, for sets that no package has, and your own")
    record.add_argument("--minutes", type=float, help="no case is begun later; the next call goes on")
    record.add_argument("--only", action="append", default=[], help="cases whose name contains this; repeatable")
    record.add_argument("--list", action="store_true", help="only name the cases, and whether they are there")
    report = actions.add_parser("report", help="tables; seconds")
    report.add_argument("folder", type=Path, help="folder of recordings")
    report.add_argument("--update", action="store_true", help="write tables and picture into docs/")
    report.add_argument("--picture", type=Path, help="write the loss against the number of trials here (SVG or PNG)")


def run(options: argparse.Namespace) -> int:
    """Run what was asked for; return the exit code."""
    if options.action == "report":
        from benchmarks.final_model import report

        return report.run(options.folder, update=options.update, picture=options.picture)
    from benchmarks.final_model import plan, record

    cases = [case for case in plan.PROFILES[options.profile] if _wanted(case.name, options.only)]
    if options.list:
        for case in cases:
            print(f"{case.name:45}{'recorded' if case.path(options.out).exists() else ''}")
        return 0
    return record.run(cases, options.out, options.data, options.minutes)


def _wanted(name: str, parts: list[str]) -> bool:
    return not parts or any(part in name for part in parts)
