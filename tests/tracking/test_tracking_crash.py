"""Processes that die, start at once, fork: nothing is lost, nothing is there twice."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow_server import contents

from gbtune.records import TrialRecord
from gbtune.testing import trackers as kit
from gbtune.tracking import MLflowTracker
from gbtune.tracking.spool import Spool
from gbtune.tracking.study_run import StudyRun

TELL = """
import os, signal, sys
from gbtune.testing import trackers as kit
from gbtune.tracking import MLflowTracker
from gbtune.tracking.store import Store
"""


def run_script(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TELL + text, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def tell(tracker: MLflowTracker, **changes: Any) -> None:
    tracker.study_started(kit.example_study(**changes))
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    assert tracker.study_finished(kit.example_outcome()).problems == ()


@pytest.fixture
def healthy(tmp_path: Path, empty_database: Path) -> dict[str, Any]:
    database = tmp_path / "healthy.db"
    database.write_bytes(empty_database.read_bytes())
    tell(MLflowTracker(f"sqlite:///{database}"))
    return contents(mlflow.MlflowClient(tracking_uri=f"sqlite:///{database}"))


DIE = """
method, uri = sys.argv[1:]
real = getattr(Store, method)

def die(self, run_id, *arguments, **options):
    run = self.client.get_run(run_id)
    if run.data.tags.get("gbtune.trial") == "2" and run.info.status == "RUNNING":
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, run_id, *arguments, **options)

setattr(Store, method, die)
tracker = MLflowTracker(uri)
tracker.study_started(kit.example_study())
for trial in kit.example_trials():
    tracker.trial_finished(trial)
tracker.study_finished(kit.example_outcome())
"""


@pytest.mark.parametrize("method", ["log", "terminate"], ids=["after create_run", "after log_batch"])
def test_a_process_killed_while_it_writes_a_trial_is_completed_by_the_next(
    uri: str, client: mlflow.MlflowClient, healthy: dict[str, Any], method: str
) -> None:
    died = run_script(DIE, method, uri)
    assert died.returncode == -signal.SIGKILL, died.stderr
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    (half,) = client.search_runs([experiment], "attributes.status = 'RUNNING'")
    assert half.data.tags["gbtune.trial"] == "2"
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study())
    assert tracker._worker.flush(60.0) == []
    early = client.search_runs([experiment], "tags.`gbtune.kind` = 'trial'")
    assert len(early) == 5  # before any trial was told again
    assert client.get_run(half.info.run_id).info.status == "FINISHED"
    assert tracker.study_finished(kit.example_outcome()).problems == ()
    found = contents(client)
    sources = [{run["tags"].pop("mlflow.source.name") for run in one["runs"].values()} for one in (found, healthy)]
    assert [len(names) for names in sources] == [1, 1]  # who began the study is who ran it
    assert found == healthy
    assert not Path("gbtune-studies").exists()


def test_trials_are_not_written_again_for_being_told_again(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = kit.example_study(storage="sqlite:///somewhere.db")
    tracker = MLflowTracker(uri)
    tracker.study_started(stored)
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    assert tracker._worker.flush(60.0) == []  # and here it dies
    tracker._run.spool.release()
    created: list[Any] = []
    real = StudyRun._create
    monkeypatch.setattr(StudyRun, "_create", lambda *a: created.append(a) or real(*a))
    again = MLflowTracker(uri)
    again.study_started(stored)
    assert [job.label for job in again._worker._waiting].count("trial 3") <= 1
    assert again.study_finished(kit.example_outcome()).problems == ()
    assert created == []


BOTH = """
uri, uid = sys.argv[1:]
tracker = MLflowTracker(uri)
tracker.study_started(kit.example_study(uid, name=uid))
for trial in kit.example_trials():
    tracker.trial_finished(trial)
receipt = tracker.study_finished(kit.example_outcome())
assert receipt.problems == (), receipt
"""


def test_two_processes_that_start_at_once_make_one_store(tmp_path: Path, healthy: dict[str, Any]) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda uid: run_script(BOTH, uri, uid), ["first", "second"]))
    assert [(one.returncode, one.stderr) for one in done] == [(0, ""), (0, "")]
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    runs = client.search_runs([experiment])
    assert len(runs) == 2 * len(healthy["runs"])
    for uid in ("first", "second"):
        mine = [run for run in runs if run.data.tags["gbtune.study_uid"] == uid]
        (parent,) = [run for run in mine if run.data.tags["gbtune.kind"] == "study"]
        parents = {run.data.tags.get("mlflow.parentRunId") for run in mine}
        assert parents == {None, parent.info.run_id}


SHARE = """
uri, mine = sys.argv[1], [int(number) for number in sys.argv[2]]
trials = kit.example_trials()
tracker = MLflowTracker(uri)
tracker.study_started(kit.example_study(storage="sqlite:///shared.db"))
for number in mine:
    tracker.trial_finished(trials[number])
receipt = tracker.study_finished(kit.example_outcome())
assert receipt.problems == (), receipt
"""


def test_processes_that_share_a_study_write_each_trial_once(uri: str, client: mlflow.MlflowClient) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda numbers: run_script(SHARE, uri, numbers), ["024", "13"]))
    assert [(one.returncode, one.stderr) for one in done] == [(0, ""), (0, "")]
    last = MLflowTracker(uri)
    last.study_started(kit.example_study(storage="sqlite:///shared.db"))
    assert last.study_finished(kit.example_outcome()).problems == ()
    assert len(contents(client)["runs"]) == 6


def test_a_process_that_ends_first_leaves_the_runs_of_the_others(uri: str, client: mlflow.MlflowClient) -> None:
    trials = kit.example_trials()
    slow, quick = MLflowTracker(uri), MLflowTracker(uri)
    for tracker, number in ((slow, 4), (quick, 0)):
        tracker.study_started(kit.example_study(storage="sqlite:///shared.db"))
        tracker.trial_finished(trials[number])
        assert tracker._worker.flush(60.0) == []
    assert quick.study_finished(kit.example_outcome(trials[:1])).problems == ()
    assert sorted(contents(client)["runs"]) == ["#0000 xgboost", "#0004 xgboost", "example"]
    assert slow.study_finished(kit.example_outcome(trials)).problems == ()
    assert len(contents(client)["runs"]) == 6


FORK = """
uri = sys.argv[1]
trials = kit.example_trials()
tracker = MLflowTracker(uri)
tracker.study_started(kit.example_study())
tracker.trial_finished(trials[0])
assert tracker._worker.flush(60.0) == []
child = os.fork()
tracker.trial_finished(trials[1 if child else 2])
undone = tracker._worker.flush(60.0)
if child == 0:
    os._exit(len(undone))
assert os.waitpid(child, 0)[1] == 0
assert undone == []
receipt = tracker.study_finished(kit.example_outcome())
assert receipt.problems == (), receipt
"""


def test_a_forked_process_writes_what_it_is_told(uri: str, client: mlflow.MlflowClient) -> None:
    done = run_script(FORK, uri)
    assert done.returncode == 0, done.stderr
    assert len(contents(client)["runs"]) == 6


SPAWN = """
import multiprocessing

def work(tracker):
    tracker.study_started(kit.example_study("child", name="child"))
    assert tracker.study_finished(kit.example_outcome()).problems == ()

if __name__ == "__main__":
    tracker = MLflowTracker(sys.argv[1], detail="summary")
    tracker.study_started(kit.example_study())
    process = multiprocessing.get_context("spawn").Process(target=work, args=(tracker,))
    process.start()
    process.join()
    assert tracker.study_finished(kit.example_outcome()).problems == ()
    sys.exit(process.exitcode)
"""


def test_a_spawned_process_has_a_tracker_of_its_own(uri: str, client: mlflow.MlflowClient, tmp_path: Path) -> None:
    script = tmp_path / "spawn.py"
    script.write_text(TELL + SPAWN)
    subprocess.run([sys.executable, str(script), uri], check=True, timeout=120)
    assert sorted(contents(client)["runs"]) == ["child", "example"]


def test_two_studies_of_one_process_share_an_experiment(uri: str, client: mlflow.MlflowClient) -> None:
    trackers = {uid: MLflowTracker(uri) for uid in ("first", "second")}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda uid: tell(trackers[uid], uid=uid, name=uid), trackers))
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    assert len(client.search_runs([experiment])) == 12


def test_another_process_at_work_keeps_its_own_trials(tmp_path: Path) -> None:
    first, second, third = (Spool(tmp_path / "spool") for _ in range(3))
    first.start(kit.example_study())
    first.append(kit.example_trials()[0])
    assert second.start(kit.example_study()) == []
    first.release()
    assert [trial.number for trial in third.start(kit.example_study())] == [0]
    third.release()


def test_a_killed_trial_is_a_failed_run_with_its_reason(uri: str, client: mlflow.MlflowClient) -> None:
    killed = TrialRecord(0, "failed", {"eta": 0.1}, reason="killed", slot=0, started_at=kit.START, ended_at=kit.START)
    again = TrialRecord(1, "complete", {"eta": 0.1}, score=0.7, slot=0, started_at=kit.START, ended_at=kit.START)
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study(changes=("after 1 trials: sampler random became tpe",)))
    assert tracker.study_finished(kit.example_outcome([killed, again])).problems == ()
    runs = contents(client)["runs"]
    run = runs["#0000 xgboost"]
    assert (run["status"], run["tags"]["gbtune.reason"], run["tags"]["gbtune.slot"]) == ("FAILED", "killed", "0")
    assert runs["#0001 xgboost"]["tags"]["gbtune.slot"] == "0"
    assert "became tpe" in runs["example"]["tags"]["gbtune.changes"]


def test_the_pid_of_a_store_is_looked_at(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study())
    assert tracker._worker.flush(60.0) == []
    store = tracker._run.run.store
    before = store.client
    assert store.client is before
    store._pid = os.getpid() + 1
    assert store.client is not before
    tracker.study_finished(kit.example_outcome([]))
