"""Stores that are dead, hung, read-only or wrong: tuning never fails, never waits long, and is told once."""

from __future__ import annotations

import socket
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from gbtune.errors import GbtuneWarning
from gbtune.records import Receipt
from gbtune.testing import trackers as kit
from gbtune.tracking import MLflowTracker, store, worker
from gbtune.tracking.worker import Worker


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "DEAD_SECONDS", 0.3)
    monkeypatch.setattr(store, "PROBE_SECONDS", 0.5)


def tell(tracker: MLflowTracker) -> Receipt:
    tracker.study_started(kit.example_study())
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    return tracker.study_finished(kit.example_outcome())


def told_with_one_warning(tracker: MLflowTracker) -> tuple[Receipt, str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        receipt = tell(tracker)
    messages = [str(w.message) for w in caught if issubclass(w.category, GbtuneWarning)]
    assert len(messages) == 1
    return receipt, messages[0]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def hung_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_dead_server_is_one_warning_and_a_list_of_what_is_missing(free_port: int) -> None:
    receipt, message = told_with_one_warning(MLflowTracker(f"http://127.0.0.1:{free_port}"))
    assert "does not answer" in message
    assert receipt.run_id is None
    problem, remedy = receipt.problems
    assert "trial 0" in problem and "trial 4" in problem and "the study's results" in problem
    assert remedy.startswith("Finish with: gbtune sync /")


def test_only_the_worker_speaks_to_mlflow(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, speakers = store.Store._probe, set()

    def probe(self: store.Store) -> None:
        speakers.add(threading.current_thread())
        real(self)

    monkeypatch.setattr(store, "PROBE_EVERY", 0.0)
    monkeypatch.setattr(store.Store, "_probe", probe)
    assert tell(MLflowTracker(uri)).problems == ()
    (speaker,) = speakers
    assert speaker.daemon and speaker is not threading.main_thread()


def test_a_hung_server_is_given_up(hung_server: str) -> None:
    receipt, message = told_with_one_warning(MLflowTracker(hung_server, flush_seconds=3.0))
    assert "does not answer" in message
    assert receipt.problems


def test_a_call_that_hangs_inside_mlflow_is_left_to_its_thread(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(mlflow.MlflowClient, "search_runs", lambda *_, **__: released.wait(60))
    receipt, message = told_with_one_warning(MLflowTracker(uri, flush_seconds=0.5))
    assert "did not answer in time" in message
    assert "the study's run" in receipt.problems[0]
    released.set()


def test_a_missing_driver_is_named() -> None:
    receipt, message = told_with_one_warning(MLflowTracker("postgresql+pg8000://me:secret@127.0.0.1:9/db"))
    assert "pg8000" in message and "secret" not in message
    assert "secret" not in receipt.problems[0]


def test_a_database_server_that_is_down_is_not_waited_for(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = MLflowTracker(f"mssql://me:secret@127.0.0.1:{free_port}/db")
    monkeypatch.setattr("sqlalchemy.dialects.mssql.pyodbc.MSDialect_pyodbc.import_dbapi", lambda: None)
    _, message = told_with_one_warning(tracker)
    assert "does not answer" in message and "secret" not in message


def test_a_read_only_store_is_one_warning(uri: str) -> None:
    path = uri.removeprefix("sqlite:///")
    mlflow.MlflowClient(tracking_uri=uri).create_experiment("gbtune")
    receipt, message = told_with_one_warning(MLflowTracker(f"sqlite:///file:{path}?mode=ro&uri=true"))
    assert "readonly" in message
    assert receipt.problems


def test_a_store_that_cannot_be_created_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(GbtuneWarning) as caught:  # for the files of the study there is no place either
        receipt = tell(MLflowTracker(f"sqlite:///{tmp_path}/file/mlflow.db"))
    files_told, store_told = sorted((str(warning.message) for warning in caught), key=lambda text: text[:6] == "MLflow")
    assert "is not a folder" in store_told
    assert "Not a directory" in files_told
    assert receipt.problems[-1].endswith("what is missing goes with this process.")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("these are notes, and more than a few of them\n" * 50)
    _, message = told_with_one_warning(MLflowTracker(f"sqlite:///{tmp_path}/mlflow.db"))
    assert "is not a SQLite database" in message
    assert "notes" in (tmp_path / "mlflow.db").read_text()


def test_an_unknown_dialect_is_named(tmp_path: Path) -> None:
    receipt, message = told_with_one_warning(MLflowTracker("mysql+unheard://me:secret@127.0.0.1:9/db"))
    assert "unheard" in message and "secret" not in message + receipt.problems[-1]


def test_a_deleted_experiment_is_said_in_words(uri: str, client: mlflow.MlflowClient) -> None:
    client.delete_experiment(client.create_experiment("gbtune"))
    receipt, _ = told_with_one_warning(MLflowTracker(uri))
    assert "restore it" in receipt.problems[0]


def test_a_store_that_comes_back_gets_everything(
    uri: str, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mlflow.MlflowClient.log_batch
    outage = threading.Event()
    outage.set()

    def flaky(self: Any, *args: Any, **kwargs: Any) -> Any:
        if outage.is_set():
            raise ConnectionError("down")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", flaky)
    tracker = MLflowTracker(uri)
    tracker.study_started(kit.example_study())
    while tracker._worker.first_error is None:
        time.sleep(0.01)
    with pytest.warns(GbtuneWarning, match="tried again at the end"):
        for trial in kit.example_trials():
            tracker.trial_finished(trial)
    outage.clear()
    receipt = tracker.study_finished(kit.example_outcome())
    assert receipt.problems == ()
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    assert len(client.search_runs([experiment])) == 6


def test_one_trial_that_cannot_be_written_does_not_take_the_others_along(
    uri: str, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mlflow.MlflowClient.create_run

    def refuse_one(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs["tags"].get("gbtune.trial") == "2":
            raise ValueError("this one is refused")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", refuse_one)
    receipt, message = told_with_one_warning(MLflowTracker(uri))
    assert "this one is refused" in message
    assert receipt.run_id is not None
    assert "trial 2" in receipt.problems[0]
    experiment = client.get_experiment_by_name("gbtune").experiment_id
    written = {run.data.tags.get("gbtune.trial") for run in client.search_runs([experiment])}
    assert written == {None, "0", "1", "3", "4"}
    results = client.get_run(receipt.run_id).data
    assert results.tags["gbtune.state"] == "complete"


def test_a_dead_store_leaves_the_next_study_to_a_live_one(free_port: int) -> None:
    tracker = MLflowTracker(f"http://127.0.0.1:{free_port}", flush_seconds=0.3)
    told_with_one_warning(tracker)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GbtuneWarning)  # said once, not once per study
        assert tell(tracker).problems


def test_the_worker_runs_jobs_in_order_and_keeps_a_failed_one_for_the_end() -> None:
    jobs, done, broken = Worker(), [], [True]

    def sometimes() -> None:
        if broken[0]:
            raise ValueError("broken")
        done.append("mended")

    jobs.submit("sometimes", sometimes)
    for i in range(3):
        jobs.submit(str(i), lambda i=i: done.append(i))
    while len(done) < 3:
        time.sleep(0.001)
    broken[0] = False
    assert jobs.flush(10.0) == []
    assert done == [0, 1, 2, "mended"]


def test_the_worker_gives_back_what_is_undone() -> None:
    jobs = Worker()
    jobs.submit("never", lambda: {}["missing"])
    (undone,) = jobs.flush(10.0)
    assert undone.label == "never"
    assert isinstance(undone.error, KeyError)
    assert jobs.flush(10.0) == []


def test_an_attempt_that_stands_still_is_abandoned_and_touches_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(worker, "ATTEMPT_SECONDS", 0.2)
    jobs, released, late = Worker(), threading.Event(), threading.Event()
    done: list[str] = []

    def hangs_once() -> None:
        first = not done
        done.append("attempted")
        if first:
            released.wait(60)
            try:
                worker.beat()
                done.append("touched")
            finally:
                late.set()
        done.append("written")

    jobs.submit("the store is there", lambda: None)
    jobs.submit("hangs", hangs_once)
    assert jobs.flush(30.0) == []
    assert isinstance(jobs.first_error, TimeoutError)
    released.set()
    assert late.wait(10)
    assert done == ["attempted", "attempted", "written"]


def test_an_attempt_that_goes_on_is_not_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FIRST_SECONDS", 1.0)
    jobs, attempts = Worker(), []

    def long() -> None:
        attempts.append(1)
        ends = time.monotonic() + 2.0
        while time.monotonic() < ends:
            worker.beat()
            time.sleep(0.001)

    jobs.submit("long", long)
    assert jobs.flush(60.0) == []
    assert attempts == [1]


def test_a_store_that_is_away_is_left_alone_until_the_end() -> None:
    jobs, attempts = Worker(), []

    def away() -> None:
        attempts.append(1)
        raise ConnectionError("away")

    first = jobs.submit("first", away)
    assert not jobs.wait(first, 10.0)
    for number in range(20):
        jobs.submit(str(number), away)
    assert jobs._not_before > time.monotonic() + worker.SHORTEST_PAUSE / 2
    assert attempts == [1]
    undone = jobs.flush(0.5)
    assert [job.label for job in undone][-1] == "19" and len(undone) == 21


def test_the_pauses_double_up_to_five_minutes() -> None:
    jobs, pauses = Worker(), []
    for _ in range(8):
        jobs._put_back(worker.Job("away", lambda: None), ConnectionError())
        pauses.append(round(jobs._not_before - time.monotonic()))
    assert pauses == [30, 60, 120, 240, 300, 300, 300, 300]


def test_a_job_that_always_fails_lets_the_others_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SHORTEST_PAUSE", 0.001)
    jobs, done = Worker(), []

    def poisoned() -> None:
        raise ConnectionError("always")

    jobs.submit("the store is there", lambda: None)
    jobs.submit("poisoned", poisoned)
    jobs.submit("sound", lambda: done.append(1))
    assert [job.label for job in jobs.flush(3.0)] == ["poisoned"]
    assert done == [1]


def test_what_nobody_misses_is_no_failure() -> None:
    jobs = Worker()
    jobs.submit("", lambda: {}["missing"])
    assert jobs.flush(10.0) == []
    assert jobs.first_error is None


def test_the_worker_starts_anew_after_a_hanging_job() -> None:
    jobs, done, released = Worker(), [], threading.Event()
    jobs.submit("hangs", lambda: released.wait(60) and None)
    assert [job.label for job in jobs.flush(0.1)] == ["hangs"]
    jobs.submit("next", lambda: done.append(1))
    assert jobs.flush(10.0) == []
    assert done == [1]
    released.set()


def test_the_worker_leaves_no_thread_behind() -> None:
    jobs = Worker("gbtune-test-worker")
    jobs.submit("one", lambda: None)
    threads = [t for t in threading.enumerate() if t.name.startswith("gbtune-test-worker")]
    assert len(threads) == 2
    assert jobs.flush(10.0) == []
    for thread in threads:
        thread.join(10.0)
        assert not thread.is_alive()
