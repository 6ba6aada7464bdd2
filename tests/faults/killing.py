"""Kills a process that tunes, at random moments, until the study has survived so many kills.

Run as a program for a longer loop::

    python -m faults.killing 200        (from the folder of the tests)
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import signal
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal._storage import JournalOperation
from processes import ready_processes
from quick import quick_space

FAMILIES, ISOLATIONS, STORAGES = ("xgboost", "lightgbm"), ("thread", "process"), ("journal", "sqlite")
N_TRIALS = 14
_FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
_TOLD = re.compile(rf'{{"op_code":\s*{int(JournalOperation.SET_TRIAL_STATE_VALUES)}\b.*"state":\s*[12]\b')
"""A line of a journal with which a trial became one of these."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What is tuned, how, and where it is kept."""

    family: str
    isolation: str
    storage: str

    def arguments(self, folder: Path) -> dict[str, Any]:
        kept = folder / "kept.journal" if self.storage == "journal" else f"sqlite:///{folder}/kept.db"
        return {
            "family": self.family,
            "isolation": self.isolation,
            "study": "kept",
            "storage": kept,
            "n_trials": N_TRIALS,
            "n_jobs": 2,
            "tracking": f"sqlite:///{folder}/mlflow.db",
            "cv": 4,
            "progress": False,
        }


CASES = [Case(f, i, s) for f in FAMILIES for i in ISOLATIONS for s in STORAGES]
PAIRED = [
    Case("xgboost", "thread", "journal"),
    Case("xgboost", "process", "sqlite"),
    Case("lightgbm", "thread", "sqlite"),
    Case("lightgbm", "process", "journal"),
]
"""Half of them, in which every two choices still meet."""


@dataclasses.dataclass
class Counts:
    """What the kills did; all but the first three must be 0."""

    kills: int = 0
    in_search: int = 0
    trials: int = 0
    lost: int = 0
    repeated: int = 0
    running: int = 0
    differences: int = 0
    details: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"kills {self.kills} ({self.in_search} amid the trials), trials {self.trials}, lost {self.lost}, "
            f"repeated {self.repeated}, RUNNING {self.running}, differences {self.differences}"
        )


def tune(arguments: dict[str, Any]) -> Any:
    """The call that is killed and made again: always the same."""
    from sklearn.datasets import load_diabetes

    import gbtune

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return gbtune.tune(X, y, space=quick_space(arguments["family"]), **arguments)


def _tune_quietly(arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.setsid()  # with its workers, a group of its own
        tune(arguments)


def run_to_the_end(arguments: dict[str, Any]) -> None:
    """Make the call in a process of its own, and let it finish."""
    process = ready_processes().Process(target=_tune_quietly, args=(arguments,))
    process.start()
    process.join()
    assert process.exitcode == 0, "the study did not end well"


def never_killed(family: str, folder: Path) -> dict[int, list[Any]]:
    """What each slot holds if nothing happens: the same for threads, processes and all storages."""
    folder.mkdir()
    case = Case(family, "thread", "journal")
    run_to_the_end({**case.arguments(folder), "tracking": False})
    return view(_trials(case.arguments(folder)["storage"]))


def survive(
    case: Case, kills: int, folder: Path, reference: dict[int, list[Any]], draw: random.Random, counts: Counts
) -> None:
    """Kill the call so often, at moments over all its length; then let it end, and compare."""
    folder.mkdir()
    arguments = case.arguments(folder)
    finished: dict[int, Any] = {}
    longest, done = 6.0, 0
    while done < kills:
        process = ready_processes().Process(target=_tune_quietly, args=(arguments,))
        process.start()
        _wait_for_a_moment(process, arguments["storage"], len(finished), longest, draw)
        if process.exitcode is None:
            # The group: a kill for want of memory, or of a container, leaves no worker either.
            _kill(process, whole_group=draw.random() < 0.5)
            done += 1
            counts.kills += 1
        else:  # it was faster: start over with another study, or nothing would be left to kill
            longest *= 0.7
            _check_end(case, folder, reference, counts)
            folder = folder / "again"
            folder.mkdir()
            arguments, finished = case.arguments(folder), {}
            continue
        finished = _check_kept(arguments["storage"], finished, counts)
        counts.in_search += 0 < len(finished) < N_TRIALS
    run_to_the_end(arguments)
    _check_kept(arguments["storage"], finished, counts)
    _check_end(case, folder, reference, counts)


def _wait_for_a_moment(process: Any, storage: Any, finished: int, longest: float, draw: random.Random) -> None:
    """Half of the moments lie amid the trials, which are a short part of the call; the others anywhere."""
    if finished == N_TRIALS or draw.random() < 0.5:
        process.join(draw.uniform(0.0, longest))
        return
    wanted = draw.randrange(finished, N_TRIALS)
    while process.exitcode is None and _count_finished(storage) < wanted:
        process.join(0.05)
    process.join(draw.uniform(0.0, 0.1))


def _kill(process: Any, *, whole_group: bool) -> None:
    try:
        group = os.getpgid(process.pid)
        if whole_group and group != os.getpgid(0):
            os.killpg(group, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.join()


def _trials(storage: Any) -> list[optuna.trial.FrozenTrial]:
    from gbtune.storage import open_storage

    opened = open_storage(storage, Path())
    if "kept" not in optuna.get_all_study_names(opened):
        return []
    return optuna.load_study(study_name="kept", storage=opened).trials


def _count_finished(storage: Any) -> int:
    """Look without opening: a process that opens a storage may mend it, or make its tables."""
    if isinstance(storage, Path):
        lines = storage.read_text(encoding="utf-8").splitlines() if storage.exists() else []
        return sum(_TOLD.match(line) is not None for line in lines)
    path = storage.removeprefix("sqlite:///")
    if not Path(path).exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        try:
            query = "SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
            return int(database.execute(query).fetchone()[0])
        except sqlite3.OperationalError:  # there is no table yet
            return 0


def _check_kept(storage: Any, before: dict[int, Any], counts: Counts) -> dict[int, Any]:
    """Compare with what was finished at the last kill: no trial may be gone or changed."""
    now = {t.number: (t.state, t.params, t.value, t.user_attrs) for t in _trials(storage) if t.state in _FINISHED}
    lost = [number for number, trial in before.items() if now.get(number) != trial]
    counts.lost += len(lost)
    counts.details += [f"lost: trial {number}" for number in lost]
    return now


def view(trials: list[optuna.trial.FrozenTrial]) -> dict[int, list[Any]]:
    """Slot to what was evaluated there; more than one is a repetition."""
    from gbtune.slots import CUT, record_of

    found: dict[int, list[Any]] = {}
    for trial in trials:
        record = record_of(trial)
        if record is None or record.reason in CUT:
            continue
        scores = (record.score, record.partial_score, record.fold_scores, record.rounds, record.rounds_grown)
        what = (
            trial.state.name,
            record.state,
            record.kind,
            record.params,
            trial.value,
            scores,
            record.duplicate_of is None,
        )
        assert record.slot is not None
        found.setdefault(record.slot, []).append(what)
    return found


def _check_end(case: Case, folder: Path, theirs: dict[int, list[Any]], counts: Counts) -> None:
    import mlflow

    kept = _trials(case.arguments(folder)["storage"])
    ours = view(kept)
    counts.trials += len(ours)
    repeated = [slot for slot, found in ours.items() if len(found) > 1]
    counts.repeated += len(repeated)
    different = [slot for slot in ours.keys() | theirs.keys() if ours.get(slot) != theirs.get(slot)]
    counts.differences += len(different)
    counts.details += [f"{case}: slot {slot}: {ours.get(slot)} != {theirs.get(slot)}" for slot in different]
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("gbtune")
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    counts.running += sum(run.info.status == "RUNNING" for run in runs)
    counts.running += sum(not trial.state.is_finished() for trial in kept)
    expected = {"FINISHED": 2, "KILLED": 0, "FAILED": 0}  # the study's own run, and the model's
    for trial in kept:
        expected[{"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}[trial.state.name]] += 1
    statuses = {status: sum(run.info.status == status for run in runs) for status in expected}
    if statuses != expected:
        counts.differences += 1
        counts.details.append(f"{case}: MLflow has {statuses}, the study {expected}")


def main(kills: int, folder: Path, seed: int = 0, cases: Sequence[Case] = CASES) -> Counts:
    """Spread the kills over the cases; print and return the counts."""
    counts, draw = Counts(), random.Random(seed)
    references = {family: never_killed(family, folder / family) for family in FAMILIES}
    for number, case in enumerate(cases):
        share = kills // len(cases) + (number < kills % len(cases))
        if share:
            survive(case, share, folder / f"case{number}", references[case.family], draw, counts)
            print(f"{case}: {counts}", flush=True)
    return counts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        found = main(int(sys.argv[1]), Path(place), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print("\n".join(found.details[:20]))
    sys.exit(bool(found.details))
