"""Command line of the quality benchmark."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    """Add ``quality run``, ``quality report`` and ``quality list`` to the benchmarks' commands."""
    quality = commands.add_parser("quality", help="held-out quality after so many seconds, beside other tuners; hours")
    actions = quality.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="run what is not in the file of results yet")
    run.add_argument("--profile", choices=("smoke", "hour", "full"), default="smoke")
    run.add_argument("--out", type=Path, required=True, help="file of results, a line of JSON per run; appended to")
    run.add_argument("--data", type=Path, help="folder of NAME.parquet, for sets that no package has, and your own")
    run.add_argument("--minutes", type=float, help="of this sitting; the next one goes on")
    for name, help_text in {
        "sets": "instead of the profile's",
        "peers": "instead of the profile's",
        "families": "instead of both",
        "budgets": "seconds, instead of the profile's",
        "seeds": "instead of the profile's",
    }.items():
        run.add_argument(f"--{name}", help=f"names with commas, {help_text}")
    run.add_argument("--dry-run", action="store_true", help="only say what would be run, and how long it takes")
    report = actions.add_parser("report", help="tables, and a picture")
    report.add_argument("results", type=Path, nargs="+", help="files of results")
    report.add_argument("--markdown", type=Path, help="also write the tables here")
    report.add_argument("--picture", type=Path, help="write quality against time here, one HTML file")
    report.add_argument("--first", default="gbtune", help="whose wins are counted against each peer")
    named = actions.add_parser("list", help="sets, peers and profiles, and what is missing for them")
    named.add_argument("--data", type=Path, help="folder of NAME.parquet")


def run(options: argparse.Namespace) -> int:
    """Run what was asked for; return the exit code."""
    if options.action == "report":
        from benchmarks.quality import report

        return report.run(options.results, options.markdown, options.picture, options.first)
    from benchmarks.quality import plan
    from benchmarks.quality.run import available
    from benchmarks.quality.run import run as start

    if options.action == "list":
        print(listing(options.data))
        return 0
    profile = _chosen(plan.PROFILES[options.profile], options)
    data = None if options.data is None else options.data.resolve()
    if options.dry_run:
        able, skipped = available(profile, data)
        for what, why in skipped.items():
            print(f"SKIPPED {what}: needs {why}")
        print(plan.describe(able.runs()))
        return 0
    return start(profile, options.out, data, options.minutes, options.profile)


def _chosen(profile: Any, options: argparse.Namespace) -> Any:
    from benchmarks.quality.peers import FAMILIES, PEERS
    from benchmarks.quality.sets import source

    kinds: dict[str, Any] = {"sets": str, "peers": str, "families": str, "budgets": float, "seeds": int}
    changes = {
        name: tuple(kind(word.strip()) for word in getattr(options, name).split(",") if word.strip())
        for name, kind in kinds.items()
        if getattr(options, name)
    }
    for name in changes.get("sets", ()):
        source(name, options.data)
    for known, what in ((PEERS, "peers"), (FAMILIES, "families")):
        for name in changes.get(what, ()):
            if name not in known:
                raise SystemExit(f"There is no {name!r} among the {what}: {', '.join(known)}.")
    return dataclasses.replace(profile, **changes)


def listing(folder: Path | None) -> str:
    """Return sets, peers and profiles in words."""
    from benchmarks.quality.peers import PEERS
    from benchmarks.quality.plan import PROFILES, describe
    from benchmarks.quality.sets import missing, sources

    lines = ["Sets"]
    for name, source in sources().items():
        why = missing(name, folder)
        lines.append(
            f"  {name:22}{source.kind}, {source.split}: {source.about}" + (f"  (MISSING: {why})" if why else "")
        )
    lines.append("Peers")
    for name, peer in PEERS.items():
        words = peer.about if peer.budgeted else f"{peer.about} (once, without a budget)"
        lines.append(f"  {name:22}{words}" + (f"  (MISSING: {', '.join(peer.missing)})" if peer.missing else ""))
    lines.append("Profiles")
    for name, profile in PROFILES.items():
        budgets = ", ".join(f"{budget:g}" for budget in profile.budgets)
        lines.append(
            f"  {name:22}{len(profile.sets)} sets, {len(profile.peers)} peers, {len(profile.families)} families, "
            f"{len(profile.seeds)} seeds, {budgets} s: {describe(profile.runs())}"
        )
    return "\n".join(lines)
