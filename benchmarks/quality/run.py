"""Runs what a profile has and the file of results has not yet: one process after the other, on the same two cores."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import results, worker
from benchmarks.quality.peers import PEERS
from benchmarks.quality.plan import Profile, Run, describe
from benchmarks.quality.scoring import LOSS, BadPrediction, scores
from benchmarks.quality.sets import Divided, divide, missing
from benchmarks.quality.task import Task

ROOT = Path(__file__).resolve().parents[2]
N_CORES = 2
START_LIMIT = 300.0
"""Seconds for imports and reading the data."""
KILL_TIMES, KILL_PLUS = 3.0, 60.0
"""A run is killed after three times its budget and a minute; one without a budget after ten minutes."""
FIXED_LIMIT = 600.0
THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS",
    "LOKY_MAX_CPU_COUNT",
)  # fmt: skip


def run(profile: Profile, out: Path, folder: Path | None = None, minutes: float | None = None, name: str = "") -> int:
    """Do one sitting.

    Parameters
    ----------
    profile : Profile
        What is wanted.
    out : Path
        The file of results; what is in it is not run again.
    folder : Path, optional
        Of parquet files NAME.parquet.
    minutes : float, optional
        No run is started that would probably end later.
    name : str
        Of the profile, for people.

    Returns
    -------
    int
        Exit code: 0 when all is run or the minutes are over, 1 if nothing can be run.
    """
    able, skipped = available(profile, folder)
    for what, why in skipped.items():
        print(f"SKIPPED {what}: needs {why}", file=sys.stderr, flush=True)
    if not able.sets or not able.peers:
        print("Nothing is left to run.", file=sys.stderr)
        return 1
    out.parent.mkdir(parents=True, exist_ok=True)
    before, _, unreadable = results.read([out]) if out.exists() else ([], [], 0)
    if unreadable:
        print(f"{unreadable} lines of {out} cannot be read; their runs are done again.", file=sys.stderr)
    done = {Run.of(record) for record in before}
    left = [each for each in able.runs() if each not in done]
    print(f"{len(done)} runs are there. To do: {describe(left)}.", flush=True)
    if not left:
        return 0
    if (load := os.getloadavg()[0]) > 1:
        print(f"WARNING: something else is running (load {load:.1f}): such times compare nothing.", file=sys.stderr)
    results.append(out, {"kind": "sitting", "name": name, **about_plan(profile), "skipped": skipped, **about_machine()})
    started, cores = time.monotonic(), usable_cores()[:N_CORES]
    with tempfile.TemporaryDirectory(prefix="quality-") as scratch, ended_by_sigterm():
        bench = Bench(Path(scratch), folder, cores)
        for position, each in enumerate(left, 1):
            if minutes is not None and time.monotonic() - started + (each.budget or 0.0) > 60 * minutes:
                print(f"The {minutes:g} minutes are over; {len(left) - position + 1} runs are left.")
                return 0
            record = bench.run(each)
            results.append(out, record)
            print(f"{position}/{len(left)} {sentence(record)}", flush=True)
    return 0


class Bench:
    """Runs one run after the other.

    Parameters
    ----------
    scratch : Path
        An empty folder.
    folder : Path or None
        Of parquet files.
    cores : sequence of int
        Numbers of the processors that every run is held to; its thread pools have as many threads.
    """

    def __init__(self, scratch: Path, folder: Path | None, cores: Sequence[int]) -> None:
        self.scratch, self.folder, self.cores = scratch, folder, list(cores)
        self.divided: tuple[tuple[str, int], Divided] | None = None

    def run(self, run: Run) -> dict[str, Any]:
        """Return the line of results of a run, whatever happens in it."""
        try:
            data = self.data(run.set, run.seed)
        except Exception as error:  # of any reader, of any file: the other sets go on
            return self._record(run, {"error": f"reading the data: {type(error).__name__}: {error}"}, None)
        home = self.scratch / "run"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        uri = self._store(home) if PEERS[run.peer].logs else ""
        path = home / "data.pickle"
        task = Task(data.kind, data.n_classes, data.split, data.groups, len(self.cores), uri)
        with path.open("wb") as file:  # without y_test: it stays here
            pickle.dump({"X": data.X, "y": data.y, "X_test": data.X_test, "task": task}, file, protocol=5)
        order = {"data": str(path), "peer": run.peer, "family": run.family, "seed": run.seed, "cores": self.cores}
        (home / "order.json").write_text(json.dumps({**order, "seconds": run.budget or 0.0}), encoding="utf-8")
        outcome = self._process(home, run)
        if "error" not in outcome:
            try:
                predicted = np.load(home / worker.PREDICTIONS, allow_pickle=False)
                outcome["scores"] = scores(data.kind, data.y_test, predicted, data.n_classes)
            except (BadPrediction, OSError, ValueError) as error:
                outcome["error"] = f"{type(error).__name__}: {error}"
        return self._record(run, outcome, data)

    def data(self, name: str, seed: int) -> Divided:
        """Return a set, divided; the last one is kept."""
        if self.divided is None or self.divided[0] != (name, seed):
            self.divided = None
            self.divided = (name, seed), divide(name, self.folder, seed)
        return self.divided[1]

    def environment(self) -> dict[str, str]:
        """Return the environment that all runs have."""
        threads = dict.fromkeys(THREADS, str(len(self.cores)))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "PYTHONHASHSEED": "0"}
        return {**kept, **threads, **quiet, "PYTHONPATH": path}

    def _store(self, home: Path) -> str:
        """Return an empty MLflow store: making its tables takes seconds, which every user has spent long ago."""
        template = self.scratch / "mlflow.db"
        if not template.exists():
            make = "import mlflow, sys; mlflow.MlflowClient(tracking_uri=sys.argv[1]).search_experiments()"
            command = [sys.executable, "-c", make, f"sqlite:///{template}"]
            subprocess.run(command, check=True, env=self.environment(), cwd=home, capture_output=True)
        return f"sqlite:///{shutil.copy(template, home / 'mlflow.db')}"

    def _process(self, home: Path, run: Run) -> dict[str, Any]:
        limit = FIXED_LIMIT if run.budget is None else KILL_TIMES * run.budget + KILL_PLUS
        with (home / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.quality.worker", str(home / "order.json")],
                cwd=home,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            began, clock = time.monotonic(), None
            try:
                while process.poll() is None:
                    if clock is None and (home / worker.STARTED).exists():
                        clock = time.monotonic()
                    waited = time.monotonic() - (clock or began)
                    if waited > (limit if clock else START_LIMIT):
                        what = "fitting" if clock else "importing"
                        return {"error": f"killed after {waited:.0f} s of {what}", "seconds": waited, "killed": True}
                    time.sleep(0.1)  # its limit depends on a file that appears while it runs
            finally:
                kill_group(process)
        if (home / worker.OUTCOME).exists():
            outcome: dict[str, Any] = json.loads((home / worker.OUTCOME).read_text(encoding="utf-8"))
            return {**outcome, "process_seconds": time.monotonic() - began}
        tail = (home / "output.txt").read_text(encoding="utf-8", errors="replace")[-2000:]
        seconds = time.monotonic() - (clock or began)
        return {"error": f"the process ended with {process.returncode}", "traceback": tail, "seconds": seconds}

    def _record(self, run: Run, outcome: Mapping[str, Any], data: Divided | None) -> dict[str, Any]:
        about: dict[str, Any] = {} if data is None else {
            "task": data.kind, "split": data.split, "rows": data.fingerprint, "n_train": len(data.y),
            "n_test": len(data.y_test), "n_columns": data.X.shape[1], "metric": LOSS[data.kind],
        }  # fmt: skip
        found = dict(outcome)
        loss = found["scores"][LOSS[data.kind]] if data is not None and "error" not in found else None
        status = "ok" if loss is not None else "killed" if found.pop("killed", False) else "failed"
        rest = {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}
        line = {
            "kind": "run",
            **{name: getattr(run, name) for name in ("set", "family", "budget", "seed", "peer")},
            "status": status, "loss": loss, **about, **rest, "scores": found.get("scores", {}),
            "at": time.strftime("%Y-%m-%dT%H:%M:%S"),
        }  # fmt: skip
        plain: dict[str, Any] = json.loads(json.dumps(line, default=str), parse_constant=str)
        return plain


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an exit, so that the run in progress is ended, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a run and whatever it started: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def available(profile: Profile, folder: Path | None) -> tuple[Profile, dict[str, str]]:
    """Return what can be run, and what cannot and why."""
    skipped = {name: why for name in profile.sets if (why := missing(name, folder))}
    skipped |= {peer: " and ".join(PEERS[peer].missing) for peer in profile.peers if PEERS[peer].missing}
    return dataclasses.replace(
        profile,
        sets=tuple(name for name in profile.sets if name not in skipped),
        peers=tuple(peer for peer in profile.peers if peer not in skipped),
    ), skipped


def usable_cores() -> list[int]:
    """Return the numbers of the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def about_plan(profile: Profile) -> dict[str, Any]:
    """Return what a sitting wants, for the report to see what is not there."""
    return {name: list(getattr(profile, name)) for name in ("sets", "peers", "families", "budgets", "seeds")}


def about_machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    versions = {}
    for package in (
        "gbtune", "lightgbm", "xgboost", "optuna", "scikit-learn", "pandas", "mlflow", "flaml", "hyperopt",
        "optuna-integration", "pytabkit",
    ):  # fmt: skip
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    cores = usable_cores()[:N_CORES]
    return {
        "versions": versions, "python": platform.python_version(), "machine": platform.platform(), "cores": cores,
        "load": [round(value, 1) for value in os.getloadavg()], "at": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }  # fmt: skip


def sentence(record: Mapping[str, Any]) -> str:
    """Return a line for people."""
    budget = "" if record["budget"] is None else f" {record['budget']:g} s"
    head = f"{record['set']} {record['family']} seed {record['seed']}{budget} {record['peer']}: "
    if record["status"] == "ok":
        return f"{head}{record['metric']} {record['loss']:.5g} in {record['seconds']:.1f} s"
    return f"{head}{record['status'].upper()}, {str(record.get('error'))[:200]}"
