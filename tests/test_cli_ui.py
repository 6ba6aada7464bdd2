"""``gbtune ui`` on real stores: MLflow's own server in processes that start, answer and end."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner, Result
from sklearn.datasets import load_diabetes

import gbtune
from gbtune.cli import _COMMANDS, main
from gbtune.errors import TrackingUnavailable
from gbtune.testing import trackers as kit
from gbtune.tracking import server

GBTUNE = [sys.executable, "-c", "from gbtune.cli import main; main()"]
LINK = re.compile(r"look +(http://\S+)")


class Looking:
    """A running ``gbtune ui``."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process, self._output = process, output

    @property
    def printed(self) -> str:
        return self._output.read_text()

    def wait_for(self, text: str) -> None:
        self.wait_until(lambda: text in self.printed)

    def wait_until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 180
        while not true():
            assert time.monotonic() < deadline, self.printed
            assert self.process.poll() is None, self.printed
            time.sleep(0.05)

    @property
    def link(self) -> urllib.parse.SplitResult:
        found = LINK.search(self.printed)
        assert found is not None, self.printed
        return urllib.parse.urlsplit(found[1])

    @property
    def uri(self) -> str:
        return f"http://{self.link.netloc}"

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.uri}{path}", timeout=60) as answer:
            return bytes(answer.read())

    def processes(self) -> set[int]:
        """It, and all that it and its children started."""
        family = {self.process.pid}
        for _ in range(5):
            family |= {pid for pid, parent in parents().items() if parent in family}
        return family


def parents() -> dict[int, int]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has just ended
            continue
        if state != "Z":
            found[int(path.parent.name)] = int(parent)
    return found


@contextmanager
def looking(folder: Path, *words: str) -> Iterator[Looking]:
    with tempfile.TemporaryDirectory() as elsewhere:
        output = Path(elsewhere) / "output"
        with output.open("w") as file:
            process = subprocess.Popen(
                [*GBTUNE, "ui", *words],
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                stdout=file,
                stderr=file,
            )
        try:
            yield Looking(process, output)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(60)


def gbtune_ui(*words: str) -> Result:
    return CliRunner().invoke(main, ["ui", *words])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a store with a real study, and two of one name without trials."""
    made = tmp_path_factory.mktemp("studies")
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert not gbtune.tune_lgbm(X, y, n_trials=2, cv=2, study="sugar", progress=False).receipt.problems
        for minute, uid in enumerate(("older", "newer")):
            tracker = gbtune.MLflowTracker(experiment="others")
            study = kit.example_study(uid)
            tracker.study_started(dataclasses.replace(study, started_at=study.started_at + 60_000 * minute))
            tracker.study_finished(kit.example_outcome([]))
    return made


@pytest.fixture(scope="module")
def ui(folder: Path) -> Iterator[Looking]:
    with looking(folder, "sugar", "--port", str(free_port())) as process:
        process.wait_for("end ")
        yield process


@pytest.fixture(autouse=True)
def _nobody_elses_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.chdir(tmp_path)


def run_of(folder: Path, name: str) -> Any:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(ids, "tags.`gbtune.kind` = 'study'")
    return next(run for run in runs if name in (run.data.tags["gbtune.study"], run.data.tags["gbtune.study_uid"]))


# -- a store without a server ---------------------------------------------------------------------------------


def test_the_link_opens_the_studys_saved_view_in_the_ui_for_machine_learning(ui: Looking, folder: Path) -> None:
    run = run_of(folder, "sugar")
    path, _, query = ui.link.fragment.partition("?")
    asked = dict(urllib.parse.parse_qsl(query))
    assert asked["workflowType"] == "machine_learning"
    assert path == f"/experiments/{run.info.experiment_id}/runs"
    experiment = json.loads(ui.get(f"/api/2.0/mlflow/experiments/get?experiment_id={run.info.experiment_id}"))
    views = {tag["key"]: tag["value"] for tag in experiment["experiment"]["tags"]}
    view = json.loads(views[f"mlflow.sharedViewState.{asked['viewStateShareKey']}"])
    assert run.data.tags["gbtune.study_uid"] in view["searchFilter"]
    assert b"<title>MLflow</title>" in ui.get("/")
    found = json.loads(ui.get(f"/api/2.0/mlflow/runs/get?run_id={run.info.run_id}"))
    assert found["run"]["info"]["run_name"] == "sugar"


def test_the_studys_report_is_shown(ui: Looking, folder: Path) -> None:
    run_id = run_of(folder, "sugar").info.run_id
    page = ui.get(f"/get-artifact?path=report.html&run_uuid={run_id}")
    assert page.startswith(b"<!DOCTYPE html>") and b"sugar" in page


def test_nobody_is_told_of_it(ui: Looking) -> None:
    told = json.loads(ui.get("/ajax-api/3.0/mlflow/ui-telemetry"))
    assert told["disable_ui_telemetry"] is True


def test_nothing_but_the_store_is_in_the_folder(ui: Looking, folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} - {"mlflow.db-shm", "mlflow.db-wal"} == {
        "mlflow.db",
        "mlartifacts",
        "gbtune-studies",
    }


def test_it_can_be_ended_before_the_server_answers(folder: Path) -> None:
    with looking(folder) as process:
        process.wait_for("MLflow starts on")
        process.wait_until(lambda: len(process.processes()) >= 2)
        started = process.processes()
        process.process.terminate()
        assert process.process.wait(60) == 0
        assert not started & parents().keys()
        assert "look" not in process.printed


def test_a_server_that_cannot_start_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_UVICORN_OPTS", "--no-such-option")
    done = gbtune_ui("--tracking-uri", f"sqlite:///{folder}/mlflow.db")
    assert done.exit_code == 1
    assert "ended with exit code" in done.output and "--no-such-option" in done.output


# -- a store that is a server ---------------------------------------------------------------------------------


def test_a_store_that_is_a_server_gets_no_other(ui: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ui.uri)
    before = dict(os.environ)
    done = gbtune_ui("sugar")
    assert done.exit_code == 0, done.output
    assert LINK.search(done.output)[1] == LINK.search(ui.printed)[1]  # type: ignore[index]
    assert "Ctrl-C" not in done.output
    assert dict(os.environ) == before


def test_a_study_is_found_by_name_uid_and_run_id(ui: Looking, folder: Path) -> None:
    run = run_of(folder, "sugar")
    uid = run.data.tags["gbtune.study_uid"]
    links = {LINK.search(gbtune_ui(name, "--tracking-uri", ui.uri).output)[1] for name in (uid, run.info.run_id)}  # type: ignore[index]
    assert links == {ui.link.geturl()}


def test_a_trials_run_id_shows_that_trial(ui: Looking, folder: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    parent = run_of(folder, "sugar").info
    trial, *_ = client.search_runs([parent.experiment_id], "tags.`gbtune.kind` = 'trial'")
    done = gbtune_ui(trial.info.run_id, "--tracking-uri", ui.uri)
    assert f"/runs/{trial.info.run_id}?workflowType=machine_learning" in done.output


def test_of_several_studies_of_a_name_the_newest_is_shown(ui: Looking, folder: Path) -> None:
    done = gbtune_ui("example", "--tracking-uri", ui.uri)
    assert done.exit_code == 0, done.output
    assert "2 studies are named 'example': this is the newest" in done.output
    assert run_of(folder, "older").info.run_id in done.output.partition("Others:")[2]


def test_without_a_name_the_newest_studys_experiment_is_shown(ui: Looking) -> None:
    done = gbtune_ui("--tracking-uri", ui.uri)
    assert re.search(r"/#/experiments/\d+/runs\?workflowType=machine_learning", done.output), done.output


def test_an_unknown_name_lists_the_near_ones(ui: Looking) -> None:
    done = gbtune_ui("suger", "--tracking-uri", ui.uri)
    assert done.exit_code == 1
    assert "Did you mean 'sugar'?" in done.output and "look" not in done.output


def test_the_browser_is_opened_on_request_alone(ui: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("gbtune.cli.ui.open_in_browser", lambda url: opened.append(url) or True)
    gbtune_ui("sugar", "--tracking-uri", ui.uri)
    assert opened == []
    gbtune_ui("sugar", "--tracking-uri", ui.uri, "--open")
    assert opened == [ui.link.geturl()]


def test_control_c_ends_it_with_all_that_it_started(ui: Looking) -> None:
    """The last of the tests that look at it."""
    started = ui.processes()
    assert len(started) >= 3  # itself, MLflow's command, the server
    os.killpg(ui.process.pid, signal.SIGINT)  # as a terminal does, to all in the foreground
    assert ui.process.wait(60) == 0
    assert not started & parents().keys()
    assert "Traceback" not in ui.printed


# -- what cannot be -------------------------------------------------------------------------------------------


def test_without_a_store_nothing_is_made(tmp_path: Path) -> None:
    done = gbtune_ui()
    assert done.exit_code == 1
    assert "There is no MLflow store at" in done.output and "--tracking-uri" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"")
    assert "There is no MLflow store at" in gbtune_ui().output
    assert (tmp_path / "mlflow.db").read_bytes() == b""


def test_a_server_that_does_not_answer_is_said() -> None:
    done = gbtune_ui("--tracking-uri", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "does not answer" in done.output


def test_a_port_that_is_taken_is_refused_and_by_default_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(gbtune.GbtuneError, match=f"port {port}.*--port"):
            server.free_port("127.0.0.1", port)
        monkeypatch.setattr(server, "DEFAULT_PORT", port)
        assert server.free_port("127.0.0.1") > port


def test_a_host_of_another_machine_is_refused() -> None:
    with pytest.raises(gbtune.GbtuneError, match="--host"):
        server.free_port("192.0.2.1")


def test_a_server_that_ends_later_is_noticed(folder: Path) -> None:
    with server.ui_server(f"sqlite:///{folder}/mlflow.db", port=free_port()) as started:
        started._process.kill()
        started._process.wait(60)
        with pytest.raises(TrackingUnavailable, match="ended with exit code -9"):
            started.check()


# -- the command line as a whole ------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_the_help_imports_no_library(word: str) -> None:
    script = f"""
import sys
from gbtune.cli import main
try:
    main([{word!r}])
except SystemExit as end:
    assert not end.code
heavy = {{"optuna", "pandas", "numpy", "mlflow", "scipy"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, stdout=subprocess.DEVNULL)


def test_the_help_says_of_each_command_what_its_own_help_says() -> None:
    context = main.make_context("gbtune", ["--help"], resilient_parsing=True)
    printed = CliRunner().invoke(main, ["--help"]).output
    for name, (_, words) in _COMMANDS.items():
        command = main.get_command(context, name)
        assert command is not None and command.help is not None
        assert " ".join(command.help.split()).startswith(words.rstrip(".")), name
        assert name in printed


def test_an_unknown_command_is_refused() -> None:
    done = CliRunner().invoke(main, ["look"])
    assert done.exit_code == 2 and "No such command" in done.output
