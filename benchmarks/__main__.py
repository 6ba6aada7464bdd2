"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import growth, samplers
from benchmarks.ci import run as ci
from benchmarks.final_model import command as final_model
from benchmarks.first_trials import command as first_trials
from benchmarks.overhead import command as overhead
from benchmarks.quality import command as quality
from benchmarks.replay import command as replay


def main(arguments: list[str] | None = None) -> int:
    """Run a benchmark; return the exit code, 1 on a regression."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("ci", help="exact counts and quality against the committed baseline; a minute or two")
    run.add_argument("--output", type=Path, default=Path("benchmark-results"), help="folder for JSON, JUnit and table")
    run.add_argument("--update", action="store_true", help="write the committed baseline instead of comparing")
    run.add_argument("--trials", type=int, default=ci.TRIALS, help=argparse.SUPPRESS)
    run.add_argument("--only", default="", help="cases whose name contains this")
    overhead.add_commands(commands)
    asks = commands.add_parser("samplers", help="milliseconds per ask of each sampler; minutes")
    asks.add_argument("--update", action="store_true", help="write the table into docs/samplers.md")
    replay.add_commands(commands)
    quality.add_commands(commands)
    final_model.add_commands(commands)
    first_trials.add_commands(commands)
    growth.add_commands(commands)
    options = parser.parse_args(arguments)
    if options.command == "replay":
        return replay.run(options)
    if options.command == "final-model":
        return final_model.run(options)
    if options.command == "first-trials":
        return first_trials.run(options)
    if options.command == "growth":
        return growth.run(options)
    if options.command == "quality":
        return quality.run(options)
    if options.command == "samplers":
        return samplers.run(update=options.update)
    if options.command == "overhead":
        return overhead.run(options)
    return ci.run(options.output, update=options.update, trials=options.trials, only=options.only)


if __name__ == "__main__":
    sys.exit(main())
