"""What tracking costs: studies with logging on and off in turns, whose trials burn one second of a core each.

Seconds are noisy, so each round runs every variant once, in turns, and the medians of the paired ratios count.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gbtune
from gbtune.families import get
from gbtune.records import Receipt, StudyOutcome, StudyRecord, TrialRecord
from gbtune.tracking import MLflowTracker, Tracker
from gbtune.tracking.process import ProcessTracker

SHARE_LIMIT, TRIAL_LIMIT = 0.02, 0.005
"""The most that logging may add to the wall time of a study, and to a trial's way through tuning (seconds)."""
_BLOCK = bytes(1 << 20)


def burn(seconds: float) -> None:
    """Keep one core busy for so many seconds of its time, without the interpreter's lock, as boosters do."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hashlib.blake2b(_BLOCK).digest()


def burning_family(seconds_per_fold: float) -> Any:
    """Return LightGBM's family, whose every fold also burns so much time."""
    family = get("lightgbm")
    prepare = family.prepare

    def prepared(*args: Any, **kwargs: Any) -> Any:
        found = prepare(*args, **kwargs)
        train_fold = found.train_fold

        def slow(*inner: Any, **more: Any) -> Any:
            burn(seconds_per_fold)
            return train_fold(*inner, **more)

        found.train_fold = slow  # type: ignore[method-assign]  # of this one object: the stub made as slow as a booster
        return found

    family.prepare = prepared  # type: ignore[method-assign]  # of this one object, likewise
    return family


class Timed(Tracker):
    """Passes all on to MLflow, and notes how long tuning had to wait for it."""

    def __init__(self, uri: str) -> None:
        self.inner, self.seconds, self.ends = ProcessTracker(MLflowTracker(uri)), [], 0.0

    seconds: list[float]

    def study_started(self, study: StudyRecord) -> None:
        self.inner.study_started(study)

    def trial_finished(self, trial: TrialRecord) -> None:
        started = time.perf_counter()
        self.inner.trial_finished(trial)
        self.seconds.append(time.perf_counter() - started)

    def study_finished(self, outcome: StudyOutcome) -> Receipt:
        started = time.perf_counter()
        receipt = self.inner.study_finished(outcome)
        self.ends = time.perf_counter() - started
        assert not receipt.problems, receipt.problems
        return receipt


@dataclasses.dataclass(frozen=True)
class Run:
    """One study."""

    variant: str
    wall: float
    on_path: tuple[float, ...] = ()
    ending: float = 0.0


def study(variant: str, uri: str | None, trials: int, n_jobs: int, seconds: float) -> Run:
    """Run one study; every trial grows all folds."""
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    tracker = None if uri is None else Timed(uri)
    started = time.perf_counter()
    gbtune.tune(
        X,
        y,
        family=burning_family(seconds / 5),
        space=gbtune.SearchSpace.load("lightgbm/native").override(n_estimators=(10, 30)),
        pruner=None,
        n_trials=trials,
        n_jobs=n_jobs,
        tracking=False if tracker is None else tracker,
        progress=False,
    )
    wall = time.perf_counter() - started
    return Run(variant, wall) if tracker is None else Run(variant, wall, tuple(tracker.seconds), tracker.ends)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run an MLflow server on the loopback interface as long as this lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    # MLflow's job runner keeps a core busy while nothing happens: that is not logging's cost.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            end = time.monotonic() + 120
            while True:
                with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the server did not start: see {folder}/server.log")
                time.sleep(0.2)  # nothing tells that a server answers but asking it
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(30)


def _in_a_process(variant: str, uri: str | None, trials: int, n_jobs: int, seconds: float, folder: Path) -> Run:
    """Run one study in a new interpreter: what MLflow imports once counts each time."""
    code = f"from benchmarks.overhead.tracking import emit; emit({variant!r}, {uri!r}, {trials}, {n_jobs}, {seconds})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Run(**json.loads(done.stdout.strip().splitlines()[-1]))


def emit(variant: str, uri: str | None, trials: int, n_jobs: int, seconds: float) -> None:
    """Print one study's measurements."""
    for module in ("lightgbm", "sklearn.datasets", "pandas"):
        __import__(module)  # not what is measured
    print(json.dumps(dataclasses.asdict(study(variant, uri, trials, n_jobs, seconds))))


def run(output: Path, *, trials: int = 100, rounds: int = 3, n_jobs: int = 1, seconds: float = 1.0) -> int:
    """Run all variants in turns; print the table and return 1 if a limit is exceeded."""
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as place, server(Path(place)) as uri:
        for number in range(rounds):
            folder = Path(place) / str(number)
            folder.mkdir()
            variants = [("off", None), ("sqlite", f"sqlite:///{folder}/mlflow.db"), ("server", uri)]
            for variant, where in variants[number % 3 :] + variants[: number % 3]:
                runs.append(_in_a_process(variant, where, trials, n_jobs, seconds, folder))
                print(f"round {number + 1}, {variant}: {runs[-1].wall:.2f} s", flush=True)
    found = judge(runs)
    output.mkdir(parents=True, exist_ok=True)
    about = {"trials": trials, "rounds": rounds, "n_jobs": n_jobs, "seconds_per_trial": seconds}
    (output / "overhead-tracking.json").write_text(json.dumps({**about, **found}, indent=1), encoding="utf-8")
    for variant, numbers in found.items():
        words = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        print(f"{variant}: {words}")
    over = [
        v for v, n in found.items() if n["share_added"] > SHARE_LIMIT or n["worst_ms_per_trial"] > TRIAL_LIMIT * 1e3
    ]
    print(f"over the limit: {', '.join(over)}" if over else "within the limits")
    return int(bool(over))


def judge(runs: list[Run]) -> dict[str, dict[str, float]]:
    """Return, for each way of logging, what it adds to the median wall time, and the milliseconds per trial."""
    off = statistics.median(run.wall for run in runs if run.variant == "off")
    found = {}
    for variant in dict.fromkeys(run.variant for run in runs if run.variant != "off"):
        chosen = [run for run in runs if run.variant == variant]
        times = [seconds for run in chosen for seconds in run.on_path]
        found[variant] = {
            "share_added": statistics.median(run.wall for run in chosen) / off - 1,
            "median_ms_per_trial": 1e3 * statistics.median(times),
            "worst_ms_per_trial": 1e3 * max(times),
            "seconds_at_the_end": statistics.median(run.ending for run in chosen),
        }
    return found
