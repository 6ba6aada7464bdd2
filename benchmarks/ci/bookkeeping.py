"""A study without a booster: what is left is gbtune's own work, counted exactly.

A step that looks through all earlier trials at each trial shows in these counts long before it shows in seconds.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import gbtune
from benchmarks.counting import counted_bookkeeping, counted_work
from gbtune.testing.families import StubFamily

TRIALS = 200
SPACE: dict[str, Any] = {
    "schema": 1,
    "family": "stub",
    "name": "ci",
    "parameters": {
        "learning_rate": {"kind": "float", "low": 0.01, "high": 0.5, "log": True, "default": 0.1},
        "split": {"kind": "float", "low": 0.1, "high": 0.9, "default": 0.5},
        "n_estimators": {"kind": "rounds", "low": 5, "high": 30, "default": 10},
    },
}
_OURS = str(Path(gbtune.__file__).parent)


@contextmanager
def counted_calls() -> Iterator[list[int]]:
    """Count the calls of gbtune's own functions, in the threads that begin while the block runs and in this one.

    Yields
    ------
    list of one int
        Known after the block. A generator counts each time it goes on.
    """
    counts: dict[int, int] = {}
    total = [0]

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_OURS):
            thread = threading.get_ident()
            counts[thread] = counts.get(thread, 0) + 1

    before = sys.getprofile()
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield total
    finally:
        sys.setprofile(before)
        threading.setprofile(before)
        total[0] = sum(counts.values())


def measure(trials: int = TRIALS) -> dict[str, float]:
    """Run a study of the stub family with the default sampler and pruner, on one core.

    Returns
    -------
    dict of str to float
        As `benchmarks.ci.judging.RULES` explains them.
    """
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True, as_frame=True)
    started = time.perf_counter()
    with counted_bookkeeping() as books, counted_work() as work, counted_calls() as calls:
        gbtune.tune(
            X[["bmi"]],
            y,
            family=StubFamily(),
            space=SPACE,
            n_trials=trials,
            n_jobs=1,
            seed=0,
            ensemble=1,
            tracking=False,
            progress=False,
        )
    return {
        "trials": books.storage["create_new_trial"],
        "records_written": books.records_written,
        "record_bytes": books.record_bytes,
        "records_read": books.records_read,
        "storage_calls": books.storage_calls,
        "trials_listed": books.trials_listed,
        "rows_scored": work.rows_scored,
        "own_calls": calls[0],
        "seconds": round(time.perf_counter() - started, 2),
    }
