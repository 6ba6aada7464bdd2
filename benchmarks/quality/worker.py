"""One run, in a process of its own: `run.py` starts it with the path of a JSON file that says what to do.

Nothing but the standard library is imported before the cores are set.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

STARTED, OUTCOME, PREDICTIONS = "started", "outcome.json", "predictions.npy"
"""What a run leaves in its folder."""


def main(path: Path) -> None:
    """Fit, predict the held-out rows (whose y is not here), write what happened."""
    order: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    folder = path.parent
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, order["cores"])
    outcome: dict[str, Any] = {}
    started = 0.0
    try:
        import numpy as np

        from benchmarks.quality.peers import PEERS

        fit = PEERS[order["peer"]].load()
        with Path(order["data"]).open("rb") as file:
            data = pickle.load(file)  # written by run.py
        (folder / STARTED).touch()
        started = time.monotonic()
        model = fit(data["X"], data["y"], data["task"], order["family"], order["seconds"], order["seed"])
        outcome["seconds"] = time.monotonic() - started
        predicted = np.asarray(model.predict(data["X_test"]))
        outcome["predict_seconds"] = time.monotonic() - started - outcome["seconds"]
        np.save(folder / PREDICTIONS, predicted)
        outcome["notes"] = dict(model.notes)
    except BaseException as error:
        outcome.setdefault("seconds", time.monotonic() - started if started else 0.0)
        outcome["error"] = f"{type(error).__name__}: {error}"
        outcome["traceback"] = traceback.format_exc()
    outcome["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << (20 if sys.platform == "darwin" else 10)
    )
    outcome["cores"] = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    part = folder / f"{OUTCOME}.part"
    part.write_text(json.dumps(outcome, default=str), encoding="utf-8")
    part.replace(folder / OUTCOME)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
