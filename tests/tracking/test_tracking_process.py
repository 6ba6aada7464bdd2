"""The tracker in a process of its own: what becomes of the study when that process does not do its work."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow_server import contents, small_bundle
from sklearn.datasets import load_breast_cancer

import gbtune
from gbtune.errors import GbtuneWarning, TrackingUnavailable
from gbtune.testing import trackers as kit
from gbtune.testing.trackers import RecordingTracker, TrackerContract
from gbtune.tracking import MLflowTracker, Tracker, writer
from gbtune.tracking.line import KEPT, KEPT_SECONDS, Kept, Line, without_library
from gbtune.tracking.process import ProcessTracker, apart, started_apart
from gbtune.tracking.spool import spools
from gbtune.tracking.sync import story, sync

Runs = Callable[..., list[mlflow.entities.Run]]


@pytest.fixture
def apart_tracker(uri: str) -> ProcessTracker:
    return ProcessTracker(MLflowTracker(uri))


@pytest.mark.nightly
class TestProcessTracker(TrackerContract):
    """The contract, with a real store and a real process: each check starts one and imports MLflow there."""

    @pytest.fixture
    def tracker(self, uri: str) -> Tracker:
        return ProcessTracker(MLflowTracker(uri))


@pytest.fixture(scope="module")
def ended() -> Any:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return kit.example_outcome(model=small_bundle(X, y))


def process_of(tracker: ProcessTracker) -> subprocess.Popen[bytes]:
    assert tracker._line is not None
    return tracker._line.process


def test_it_writes_what_the_tracker_itself_writes(uri: str, tmp_path: Path, ended: Any) -> None:
    other = f"sqlite:///{tmp_path}/other.db"
    for tracker in (MLflowTracker(uri), ProcessTracker(MLflowTracker(other))):
        tracker.study_started(kit.example_study())
        for trial in kit.example_trials():
            tracker.trial_finished(trial)
        receipt = tracker.study_finished(ended)
        assert not receipt.problems and receipt.model_uri
    assert contents(mlflow.MlflowClient(uri)) == contents(mlflow.MlflowClient(other))
    assert not Path("gbtune-studies").exists()


@pytest.mark.parametrize("moment", ["before the trials", "before the end"])
def test_a_process_that_is_killed_is_replaced_by_a_thread(
    apart_tracker: ProcessTracker, runs: Runs, moment: str, ended: Any
) -> None:
    apart_tracker.study_started(kit.example_study())
    if moment == "before the trials":
        process_of(apart_tracker).kill()
    for trial in kit.example_trials():
        apart_tracker.trial_finished(trial)
    if moment == "before the end":
        process_of(apart_tracker).kill()
    receipt = apart_tracker.study_finished(ended)
    assert not receipt.problems and receipt.model_uri
    assert len(runs(gbtune_kind="trial")) == len(kit.example_trials())
    assert len(runs(gbtune_kind="study")) == 1 == len(runs(gbtune_kind="final"))


def test_a_process_that_stands_still_is_given_up_and_a_sync_writes_the_rest(
    uri: str, runs: Runs, monkeypatch: pytest.MonkeyPatch, ended: Any
) -> None:
    monkeypatch.setattr("gbtune.tracking.process.START_SECONDS", 1.0)
    tracker = ProcessTracker(MLflowTracker(uri, flush_seconds=1.0))
    tracker.study_started(kit.example_study())
    process = process_of(tracker)
    os.kill(process.pid, signal.SIGSTOP)
    for trial in kit.example_trials():
        tracker.trial_finished(trial)
    with pytest.warns(GbtuneWarning, match="did not answer"):
        receipt = tracker.study_finished(ended)
    assert "gbtune sync" in receipt.problems[-1]
    assert process.poll() is not None, "it was ended"
    (spool,) = spools(Path("gbtune-studies/example"))
    study, trials, _ = spool.read()
    assert not sync(study, story(study, trials, spool), MLflowTracker(uri), spool=spool).problems
    assert len(runs(gbtune_kind="trial")) == len(kit.example_trials())


def test_an_outcome_that_cannot_be_sent_is_written_from_here(
    apart_tracker: ProcessTracker, runs: Runs, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gbtune.tracking.line.without_library", lambda message: (*message, lambda: "unsendable"))
    apart_tracker.study_started(kit.example_study())
    receipt = apart_tracker.study_finished(ended)
    assert not receipt.problems and receipt.model_uri
    assert len(runs(gbtune_kind="trial")) == len(kit.example_trials())


def test_the_model_is_sent_as_its_native_files(ended: Any) -> None:
    kind, sent = without_library(("finish", ended))
    assert kind == "finish" and dataclasses.replace(sent, model=ended.model) == ended
    assert b"lightgbm.basic" in pickle.dumps(ended), "unpickling imports the library"
    assert b"lightgbm.basic" not in pickle.dumps(sent)
    message = ("trial", kit.example_trials()[0])
    assert without_library(message) is message


def test_a_process_that_was_started_early_is_the_studys(apart_tracker: ProcessTracker) -> None:
    apart_tracker.start()
    process = process_of(apart_tracker)
    apart_tracker.study_started(kit.example_study())
    assert process_of(apart_tracker) is process
    apart_tracker.trial_finished(kit.example_trials()[0])
    deadline = time.monotonic() + 120
    while apart_tracker.backlog_seconds > 0:  # not ready, or a trial is not written yet
        assert process.poll() is None and time.monotonic() < deadline
    assert not apart_tracker.study_finished(kit.example_outcome()).problems


@pytest.fixture
def nothing_kept() -> Iterator[None]:
    """No process of an earlier test is there."""
    KEPT.end()
    yield
    KEPT.end()


def one_study(tracker: ProcessTracker) -> subprocess.Popen[bytes]:
    """The process that wrote a study, which has ended."""
    tracker.study_started(dataclasses.replace(kit.example_study(), uid=os.urandom(4).hex()))
    process = process_of(tracker)
    tracker.trial_finished(kit.example_trials()[0])
    assert not tracker.study_finished(kit.example_outcome()).problems
    return process


def test_the_next_study_is_written_by_the_same_process(
    nothing_kept: None, runs: Runs, uri: str, new_store: Callable[[str], str], tmp_path: Path
) -> None:
    process = one_study(ProcessTracker(MLflowTracker(uri)))
    assert process.poll() is None
    other = new_store("other.db")
    for address in (uri, other):
        assert one_study(ProcessTracker(MLflowTracker(address))) is process
    assert len(runs(gbtune_kind="study")) == 2
    (written,) = mlflow.MlflowClient(other).search_experiments(filter_string="name = 'gbtune'")
    assert len(mlflow.MlflowClient(other).search_runs([written.experiment_id], "tags.`gbtune.kind` = 'study'")) == 1


def test_a_store_that_was_deleted_and_made_anew_has_its_study(
    nothing_kept: None, runs: Runs, uri: str, new_store: Callable[[str], str], tmp_path: Path
) -> None:
    process = one_study(ProcessTracker(MLflowTracker(uri)))
    (tmp_path / "mlflow.db").unlink()
    assert new_store("mlflow.db") == uri
    assert one_study(ProcessTracker(MLflowTracker(uri))) is not process
    assert len(runs(gbtune_kind="study")) == 1


def test_of_studies_side_by_side_one_process_is_kept(nothing_kept: None, uri: str) -> None:
    trackers = [ProcessTracker(MLflowTracker(uri)) for _ in range(2)]
    for tracker in trackers:
        tracker.study_started(dataclasses.replace(kit.example_study(), uid=os.urandom(4).hex()))
    first, second = map(process_of, trackers)
    assert first is not second
    for tracker in trackers:
        tracker.study_finished(kit.example_outcome())
    assert first.poll() is not None and second.poll() is None


def test_a_process_that_is_kept_takes_other_settings_from_nobody(
    nothing_kept: None, uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tracker = MLflowTracker(uri)
    line = Line(tracker)
    line.rest()
    assert line.suits(tracker)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_TOKEN", "new")
        assert not line.suits(tracker), "variables are read when it starts"
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        assert not line.suits(tracker)
    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: -1)
        assert not line.suits(tracker), "a fork has no process of its parent's"
    with monkeypatch.context() as patch:
        (tmp_path / "elsewhere").mkdir()
        patch.chdir(tmp_path / "elsewhere")
        assert not line.suits(tracker), "MLflow has opened this store in another folder"
        assert line.suits(MLflowTracker(f"sqlite:///{tmp_path}/new.db"))
    moved = (tmp_path / "mlflow.db").rename(tmp_path / "old.db")
    assert not line.suits(tracker), "it would write to the file that was"
    shutil.copy(moved, tmp_path / "mlflow.db")
    assert not line.suits(tracker)
    assert line.suits(MLflowTracker(f"sqlite:///{tmp_path}/new.db"))
    line.process.kill()
    line.process.wait()
    assert not line.suits(MLflowTracker(f"sqlite:///{tmp_path}/new.db"))
    line.end(0.0)


def test_a_process_that_has_waited_too_long_is_ended(
    nothing_kept: None, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, kept = MLflowTracker(uri), Kept()
    monkeypatch.setattr("gbtune.tracking.line.KEPT_SECONDS", 0.0)
    line = Line(tracker)
    kept.keep(line)
    assert kept.take(tracker) is None and line.process.poll() is not None
    monkeypatch.undo()
    line = Line(tracker)
    kept.keep(line)
    assert kept.take(tracker) is line and kept.take(tracker) is None
    line.end(0.0)


def test_a_process_that_no_study_needs_is_ended(uri: str) -> None:
    with pytest.raises(ZeroDivisionError), started_apart(MLflowTracker(uri)) as tracker:
        assert isinstance(tracker, ProcessTracker)
        process = process_of(tracker)
        1 / 0  # the data were no data
    assert process.poll() is not None
    forgotten = ProcessTracker(MLflowTracker(uri))
    forgotten.start()
    process = process_of(forgotten)
    del forgotten
    gc.collect()
    assert process.poll() is not None


def test_bad_data_leave_no_process_behind(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    start = ProcessTracker.start

    def seen(tracker: ProcessTracker) -> None:
        start(tracker)
        started.append(process_of(tracker))

    monkeypatch.setattr(ProcessTracker, "start", seen)
    with pytest.raises(gbtune.GbtuneError):
        gbtune.tune_xgb([[1.0], [2.0]], [0], tracking=uri, progress=False)
    assert [process.poll() is not None for process in started] == [True]


class Told:
    """The process's end of a connection on which somebody has said all this already."""

    def __init__(self, *messages: tuple[str, Any]) -> None:
        self.messages, self.waited, self.said = [*messages], list[float](), list[str]()

    def poll(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return bool(self.messages)

    def recv(self) -> tuple[str, Any]:
        if not self.messages:
            raise EOFError
        return self.messages.pop(0)

    def send(self, message: tuple[str, Any]) -> None:
        self.said.append(message[0])


@pytest.mark.parametrize(("more", "waits"), [((), 1), ((("hold", None),), 1), ((("hold", None), ("finish", None)), 2)])
def test_the_process_waits_so_long_after_a_study_alone(
    more: tuple[tuple[str, Any], ...], waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(Exception):
        pass

    def end(status: int) -> None:
        raise Ended

    tracker = types.SimpleNamespace(
        study_started=lambda study: None, _queue=lambda *_: None, study_finished=lambda outcome: "receipt"
    )
    monkeypatch.setattr(writer, "_warm_up", lambda: None)
    monkeypatch.setattr(writer, "_end_with", lambda parent: None)
    monkeypatch.setattr(writer, "os", types.SimpleNamespace(_exit=end, chdir=os.chdir, getppid=os.getppid))
    monkeypatch.setattr(writer.signal, "signal", lambda *_: None)
    connection = Told(("start", (tracker, None, sys.argv, None)), ("finish", None), *more)
    with pytest.raises(Ended):
        writer.serve(connection)  # type: ignore[arg-type]
    assert connection.waited == [KEPT_SECONDS] * waits, "after the word that the next study has it, without an end"


def test_a_process_whose_study_was_not_all_written_is_not_kept(nothing_kept: None) -> None:
    tracker = ProcessTracker(MLflowTracker("http://127.0.0.1:9", flush_seconds=0.5))
    tracker.study_started(kit.example_study())
    process = process_of(tracker)
    with pytest.warns(GbtuneWarning, match="127.0.0.1:9"):
        assert tracker.study_finished(kit.example_outcome()).problems
    assert process.poll() is not None


def test_a_process_that_has_died_before_its_study_is_replaced(nothing_kept: None, uri: str, runs: Runs) -> None:
    tracker = ProcessTracker(MLflowTracker(uri))
    tracker.start()
    died = process_of(tracker)
    died.kill()
    died.wait()
    assert one_study(tracker) is not died
    assert len(runs(gbtune_kind="study")) == 1


def test_a_required_store_is_asked_before_the_first_trial(runs: Runs, uri: str) -> None:
    with pytest.raises(TrackingUnavailable, match="cannot be written"):
        ProcessTracker(MLflowTracker("http://127.0.0.1:9", policy="required")).study_started(kit.example_study())
    tracker = ProcessTracker(MLflowTracker(uri, policy="required"))
    tracker.study_started(kit.example_study())
    assert len(runs(gbtune_kind="study")) == 1
    assert not tracker.study_finished(kit.example_outcome()).problems


def test_what_it_has_to_say_is_a_warning_of_the_caller() -> None:
    tracker = ProcessTracker(MLflowTracker("http://127.0.0.1:9", flush_seconds=2))
    tracker.study_started(kit.example_study())
    with pytest.warns(GbtuneWarning, match="127.0.0.1:9"):
        receipt = tracker.study_finished(dataclasses.replace(kit.example_outcome()))
    assert receipt.problems


def test_it_ends_with_the_process_that_started_it(uri: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, signal
        from gbtune.testing import trackers as kit
        from gbtune.tracking import MLflowTracker
        from gbtune.tracking.process import ProcessTracker
        tracker = ProcessTracker(MLflowTracker({uri!r}))
        tracker.study_started(kit.example_study())
        tracker.trial_finished(kit.example_trials()[0])
        while not list(__import__("pathlib").Path("gbtune-studies").glob("*/*/trials.jsonl")):
            pass
        print(tracker._line.process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    orphan, deadline = int(done.stdout), time.monotonic() + 60
    while Path(f"/proc/{orphan}").exists() and "Z" not in Path(f"/proc/{orphan}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "it goes on without its parent"
        time.sleep(0.1)
    (spool,) = spools(Path("gbtune-studies/example"))
    assert [trial.number for trial in spool.read()[1]] == [0]


def test_the_callers_process_never_imports_mlflow(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        import gbtune
        from sklearn.datasets import load_diabetes
        X, y = load_diabetes(return_X_y=True, as_frame=True)
        result = gbtune.tune_lgbm(X, y, n_trials=2, progress=False)
        print(result.run_id is not None, "mlflow" in sys.modules)
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.split() == ["True", "False"] and done.stderr == ""
    (run,) = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"], "tags.`gbtune.kind` = 'study'")
    assert run.data.tags["mlflow.source.name"] == str(script), "the run names what started the study"


def test_other_trackers_stay_where_they_are(uri: str) -> None:
    recording, databricks = RecordingTracker(), MLflowTracker("databricks")
    assert apart(recording) is recording and apart(databricks) is databricks and apart(None) is None
    assert isinstance(apart(MLflowTracker(uri)), ProcessTracker)
