"""Command line of the replay."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    """Add ``replay`` and ``replay record`` to the benchmarks' commands."""
    replay = commands.add_parser(
        "replay", help="samplers, pruners and portfolios on recorded curves: exact; minutes, --quick seconds"
    )
    replay.add_argument("--quick", action="store_true", help="a few short replays, against the committed counts")
    replay.add_argument("--update", action="store_true", help="write the tables into docs/, or the counts of --quick")
    replay.add_argument("--part", choices=("all", "pruners", "samplers", "default", "portfolios"), default="all")
    replay.add_argument("--replays", type=int, default=2, help="orders of folds and draws of studies of each pruner")
    replay.add_argument("--seeds", type=int, default=4, help="studies of each sampler (gp: two of 30 trials)")
    replay.add_argument("--jobs", type=int, default=1, help="processes")
    actions = replay.add_subparsers(dest="action")
    record = actions.add_parser("record", help="train what is replayed; an hour on one core")
    record.add_argument("--data", type=Path, help="folder of parquet files NAME.parquet, for sets that no package has")
    record.add_argument("--output", type=Path, default=Path(__file__).with_name("curves"), help="folder of recordings")
    record.add_argument("--only", action="append", default=[], help="a recording, e.g. diabetes-xgboost; repeatable")


def run(options: argparse.Namespace) -> int:
    """Run what was asked for; return the exit code."""
    if options.action == "record":
        from benchmarks.replay import record

        return record.run(options.data, options.output, options.only)
    from benchmarks.replay import run as replay

    return replay.run(
        is_quick=options.quick,
        update=options.update,
        part=options.part,
        replays=options.replays,
        seeds=options.seeds,
        jobs=options.jobs,
    )
