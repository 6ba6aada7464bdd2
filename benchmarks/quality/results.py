"""The file of results: a line of JSON per run, appended when the run is over, and one per sitting."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.quality.plan import Run

VERSION = 1


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line; what a killed process left of its last one is closed first."""
    text = json.dumps({"version": VERSION, **line}, allow_nan=False) + "\n"
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                text = "\n" + text
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read(paths: Iterable[Path]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Return the runs, the sittings, and how many lines could not be read; of one run's lines the last counts."""
    runs: dict[Run, dict[str, Any]] = {}
    sittings, unreadable = [], 0
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                if record["kind"] == "sitting":
                    sittings.append(record)
                else:
                    runs[Run.of(record)] = record
            except (ValueError, KeyError, TypeError):
                unreadable += 1
    return list(runs.values()), sittings, unreadable
