"""Runs one measurement in an interpreter of its own: what is imported and the peak of memory belong to a process."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def apart(function: str, *arguments: Any, cwd: Path | None = None) -> Any:
    """Call a function of the benchmarks in a new process.

    Parameters
    ----------
    function : str
        As ``"benchmarks.overhead.memory:peak"``.
    *arguments
        Given to it, through JSON.
    cwd : Path, optional
        Where the process runs.

    Returns
    -------
    object
        What the function returned, through JSON.

    Raises
    ------
    RuntimeError
        With the process's stderr, if it fails.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.overhead.process", function, json.dumps(arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{function}{arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(function: str, arguments: str) -> None:
    """Call the function and print what it returns."""
    module, _, name = function.partition(":")
    print(json.dumps(getattr(importlib.import_module(module), name)(*json.loads(arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
