"""Kills a process that tunes, at random moments, until the study has survived so many kills.

Run as a program for a longer loop::

    python -m faults.killing 200        (from the folder of the tests)
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import optuna

FAMILIES, ISOLATIONS, STORAGES = ("xgboost", "lightgbm"), ("thread", "process"), ("journal", "sqlite")
N_TRIALS = 14
_FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)


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
            "tracking": f"sqlite:///{folder}/mlflow.db",
            "cv": 4,
            "progress": False,
        }


CASES = [Case(f, i, s) for f in FAMILIES for i in ISOLATIONS for s in STORAGES]


@dataclasses.dataclass
class Counts:
    """What the kills did; all but the first two must be 0."""

    kills: int = 0
    trials: int = 0
    lost: int = 0
    repeated: int = 0
    running: int = 0
    differences: int = 0
    details: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"kills {self.kills}, trials {self.trials}, lost {self.lost}, repeated {self.repeated}, "
            f"RUNNING {self.running}, differences {self.differences}"
        )


def tune(arguments: dict[str, Any]) -> Any:
    """The call that is killed and made again: always the same."""
    from sklearn.datasets import load_diabetes

    import gbtune

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return gbtune.tune(X, y, **arguments)


def _tune_quietly(arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.setsid()  # with its workers, a group of its own
        tune(arguments)


def _context() -> Any:
    """Children come from a server that has imported all and trained nothing: they start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["gbtune.api", "gbtune.isolation", "xgboost", "lightgbm", "sklearn.datasets", "mlflow"]
    )
    return context


def run_to_the_end(arguments: dict[str, Any]) -> None:
    """Make the call in a process of its own, and let it finish."""
    process = _context().Process(target=_tune_quietly, args=(arguments,))
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
        process = _context().Process(target=_tune_quietly, args=(arguments,))
        process.start()
        process.join(draw.uniform(0.0, longest))
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
    run_to_the_end(arguments)
    _check_kept(arguments["storage"], finished, counts)
    _check_end(case, folder, reference, counts)


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


def main(kills: int, folder: Path, seed: int = 0) -> Counts:
    """Spread the kills over all cases; print and return the counts."""
    counts, draw = Counts(), random.Random(seed)
    references = {family: never_killed(family, folder / family) for family in FAMILIES}
    for number, case in enumerate(CASES):
        share = kills // len(CASES) + (number < kills % len(CASES))
        if share:
            survive(case, share, folder / f"case{number}", references[case.family], draw, counts)
            print(f"{case}: {counts}", flush=True)
    return counts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        found = main(int(sys.argv[1]), Path(place), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print("\n".join(found.details[:20]))
    sys.exit(bool(found.details))
