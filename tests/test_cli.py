"""The command line, on real studies and stores."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
from click.testing import CliRunner, Result
from optuna.storages.journal import BaseJournalBackend
from quick import quick_space
from sklearn.datasets import load_diabetes

import gbtune
from gbtune.cli import main
from gbtune.locations import public_uri
from gbtune.tracking.spool import spools

DEAD = "http://127.0.0.1:9"
SPACE = quick_space("lightgbm")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def gbtune_command(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def runs(uri: str) -> list[Any]:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("gbtune")
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def kinds(uri: str) -> dict[str, int]:
    found = [run.data.tags["gbtune.kind"] for run in runs(uri)]
    return {kind: found.count(kind) for kind in set(found)}


def tuned_without_a_server(**arguments: Any) -> gbtune.TuningResult:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    tracker = gbtune.MLflowTracker(DEAD, flush_seconds=1.0)
    with pytest.warns(gbtune.GbtuneWarning, match="MLflow"):
        return gbtune.tune_lgbm(X, y, space=SPACE, n_trials=4, progress=False, tracking=tracker, **arguments)


@pytest.mark.parametrize("name", [None, "sugar"])
def test_the_printed_command_finishes_the_job(
    name: str | None, new_store: Callable[[str], str], tmp_path: Path
) -> None:
    result = tuned_without_a_server(study=name)
    printed = result.receipt.problems[-1]
    words = shlex.split(re.search(r"gbtune sync .*", printed)[0])  # type: ignore[index]
    assert words[:2] == ["gbtune", "sync"] and words[-2:] == ["--tracking-uri", DEAD]
    alive = new_store("alive.db")
    done = gbtune_command(*words[1:-1], alive)
    assert done.exit_code == 0, done.output
    assert "4 trials in sqlite" in done.output and "models:/" in done.output
    assert kinds(alive) == {"study": 1, "trial": 4, "final": 1}
    found = re.search(r"models:/\S+", done.output)
    assert found is not None
    assert mlflow.MlflowClient(alive).get_logged_model(found[0].removeprefix("models:/")).status == "READY"
    assert (tmp_path / "gbtune-studies").exists() == (name is not None), "a study in memory leaves nothing behind"


def test_it_may_be_run_again_and_on_another_store(new_store: Callable[[str], str]) -> None:
    tuned_without_a_server(study="sugar")
    one, two = new_store("one.db"), new_store("two.db")
    for uri in (one, one, two):
        done = gbtune_command("sync", "sugar", "--tracking-uri", uri, "--storage", "gbtune-studies/sugar/study.journal")
        assert done.exit_code == 0, done.output
    assert kinds(one) == kinds(two) == {"study": 1, "trial": 4, "final": 1}

    def told(uri: str) -> list[Any]:
        return sorted((r.info.run_name, r.info.status, sorted(r.data.params.items())) for r in runs(uri))

    assert told(one) == told(two)


def test_a_study_that_was_never_tracked_can_be_told_later(uri: str, tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    storage = f"sqlite:///{tmp_path}/studies.db"
    gbtune.tune_lgbm(X, y, space=SPACE, study="sugar", storage=storage, n_trials=3, progress=False, tracking=False)
    done = gbtune_command("sync", "sugar", "--storage", storage, "--tracking-uri", uri)
    assert done.exit_code == 0, done.output
    assert "none was kept" in done.output
    assert kinds(uri)["trial"] == 3
    (parent,) = [run for run in runs(uri) if run.data.tags["gbtune.kind"] == "study"]
    names = {file.path for file in mlflow.MlflowClient(uri).list_artifacts(parent.info.run_id)}
    assert {"report.html", "trials.json", "best_params.json"} <= names


def test_what_is_not_there_and_what_does_not_answer_is_said(tmp_path: Path) -> None:
    missing = gbtune_command("sync", "nobody")
    assert missing.exit_code == 1 and "No study 'nobody' was found" in missing.output
    tuned_without_a_server(study="sugar")
    dead = gbtune_command("sync", "sugar", "--tracking-uri", DEAD)
    assert dead.exit_code == 1 and "gbtune sync" in dead.output


def test_the_command_is_installed() -> None:
    script = Path(sys.executable).with_name("gbtune")
    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True)
    assert gbtune.__version__ in done.stdout


def tuned(tracking: str | bool, **arguments: Any) -> gbtune.TuningResult:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return gbtune.tune_lgbm(X, y, space=SPACE, n_trials=3, progress=False, tracking=tracking, **arguments)


@pytest.fixture
def kept_elsewhere(uri: str, tmp_path: Path) -> tuple[str, Path]:
    """A study that MLflow has all of, and that is kept in a database of its own: the store, the database."""
    database = tmp_path / "studies.db"
    assert not tuned(uri, study="sugar", storage=f"sqlite:///{database}").receipt.problems
    return uri, database


def shown(uri: str) -> list[Any]:
    return sorted((run.info.run_name, run.data.metrics, run.data.tags.get("gbtune.state", "")) for run in runs(uri))


def test_a_study_that_is_kept_elsewhere_is_told_from_there(kept_elsewhere: tuple[str, Path], tmp_path: Path) -> None:
    uri, _ = kept_elsewhere
    before = shown(uri)
    (spool,) = spools(tmp_path / "gbtune-studies" / "sugar")
    assert spool.trials() == [], "MLflow acknowledged them"
    done = gbtune_command("sync", "sugar", "--tracking-uri", uri)
    assert done.exit_code == 0 and "3 trials" in done.output, done.output
    assert shown(uri) == before


def test_a_study_is_never_told_without_its_storage(kept_elsewhere: tuple[str, Path], tmp_path: Path) -> None:
    uri, database = kept_elsewhere
    before = shown(uri)

    def is_refused() -> bool:
        done = gbtune_command("sync", "sugar", "--tracking-uri", uri)
        assert shown(uri) == before
        return done.exit_code == 1 and "give --storage" in done.output

    record = next((tmp_path / "gbtune-studies" / "sugar").glob("spool-*")) / "study.json"
    text = record.read_text()
    record.write_text(json.dumps({**json.loads(text), "storage": "postgresql://me:***@host/db"}))
    assert is_refused(), "a hidden password"
    record.write_text(text)
    database.write_text("no database " * 100)
    assert is_refused()
    database.unlink()
    assert is_refused()
    assert not database.exists(), "nothing is created"


class _InMemoryJournal(BaseJournalBackend):
    """Kept where no path or URL leads to, like a journal in Redis."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self.lines[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lines += logs


def test_a_study_in_a_storage_without_a_place_is_told_from_its_spool(new_store: Callable[[str], str]) -> None:
    storage = optuna.storages.JournalStorage(_InMemoryJournal())
    one, two = new_store("one.db"), new_store("two.db")
    study = optuna.create_study(study_name="sugar", storage=storage)
    assert not tuned(one, study=study).receipt.problems
    done = gbtune_command("sync", "sugar", "--tracking-uri", two)
    assert done.exit_code == 0, done.output
    assert kinds(one) == kinds(two) == {"study": 1, "trial": 3, "final": 1}
    assert shown(one) == shown(two)


def test_a_storage_without_a_place_is_not_in_the_printed_command(new_store: Callable[[str], str]) -> None:
    storage = optuna.storages.JournalStorage(_InMemoryJournal())
    result = tuned_without_a_server(study=optuna.create_study(study_name="sugar", storage=storage))
    words = shlex.split(re.search(r"gbtune sync .*", result.receipt.problems[-1])[0])  # type: ignore[index]
    assert "--storage" not in words
    alive = new_store("alive.db")
    done = gbtune_command(*words[1:-1], alive)
    assert done.exit_code == 0, done.output
    assert kinds(alive) == {"study": 1, "trial": 4, "final": 1}
    assert not Path("JournalStorage").exists()


def test_a_folder_that_happens_to_have_the_name_is_not_the_study(uri: str) -> None:
    tuned_without_a_server(study="sugar")
    Path("sugar").mkdir()
    done = gbtune_command("sync", "sugar", "--tracking-uri", uri)
    assert done.exit_code == 0 and "4 trials" in done.output, done.output


def test_no_other_study_is_told_instead_of_one_that_is_not_there(tmp_path: Path) -> None:
    storage, uri = f"sqlite:///{tmp_path}/studies.db", f"sqlite:///{tmp_path}/mlflow.db"
    tuned(False, study="sugar", storage=storage)
    done = gbtune_command("sync", "suger", "--storage", storage, "--tracking-uri", uri)
    assert done.exit_code == 1 and "holds 'sugar'" in done.output, done.output
    assert not (tmp_path / "mlflow.db").exists()
    gone = tmp_path / "gone" / "sugar"  # the printed command of a study whose folder could not be written
    done = gbtune_command("sync", str(gone), "--storage", storage, "--tracking-uri", uri)
    assert done.exit_code == 0, done.output
    assert kinds(uri)["trial"] == 3


def test_a_folder_may_get_another_name(uri: str) -> None:
    tuned(False, study="sugar")
    shutil.move("gbtune-studies/sugar", "kept")
    done = gbtune_command("sync", "kept", "--tracking-uri", uri)
    assert done.exit_code == 0 and "sugar: 3 trials" in done.output, done.output


@pytest.mark.parametrize("form", ["{path}", "sqlite:///{path}"])
def test_a_storage_that_is_missing_is_an_error_and_is_not_created(form: str, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "studies"
    done = gbtune_command("sync", "sugar", "--storage", form.format(path=path))
    assert done.exit_code == 1 and "does not exist" in done.output, done.output
    assert not path.parent.exists()


def test_a_password_that_was_not_filled_in_is_said() -> None:
    for option in ("--storage", "--tracking-uri"):
        done = gbtune_command("sync", "sugar", option, "postgresql://me:***@host/db")
        assert done.exit_code == 1 and "password" in done.output, done.output


def test_an_objective_of_the_users_own_can_be_told_later(tmp_path: Path) -> None:
    storage, alive = f"sqlite:///{tmp_path}/studies.db", f"sqlite:///{tmp_path}/alive.db"
    tracker = gbtune.MLflowTracker(DEAD, flush_seconds=1)
    study = optuna.create_study(study_name="mine", storage=storage)
    with pytest.warns(gbtune.GbtuneWarning, match="MLflow"):
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3, callbacks=[tracker])
        problems = tracker.close().problems
    words = shlex.split(re.search(r"gbtune sync .*", problems[-1])[0])  # type: ignore[index]
    assert words[-2:] == ["--storage", storage]
    words[words.index(DEAD)] = alive
    done = gbtune_command(*words[1:])
    assert done.exit_code == 0 and "3 trials" in done.output, done.output
    assert kinds(alive) == {"study": 1, "trial": 3}


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql+psycopg2://host/db?user=me&password=secret",
        "postgresql+psycopg2://host/db?user=me&PassWord=se;cret&sslmode=require",
        "postgresql://me:se/cr?et@host/db",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC%7D%3BUID%3Dme%3BPWD%3Dsecret",
        "mssql+pyodbc:///?odbc_connect=DRIVER={ODBC};UID=me;PWD=secret",
        "mysql://host/db?passwd=secret",
        "mysql://host/db?pass%77d=secret",
        "http://host:5000/?pwd=secret",
        "http://host:5000/?x=1&token=secret",
    ],
)
def test_no_password_is_shown(uri: str) -> None:
    assert "***" in public_uri(uri)
    for part in ("secret", "cret", "cr?et"):
        assert part not in public_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////data/a?mode=ro&uri=true",
        "http://host:5000",
        "http://host:5000/at@sign",
        "postgresql://me@host:5432/db?sslmode=require",
        "databricks://profile",
        "/data/study.journal",
        "C:/data/study.journal",
    ],
)
def test_what_holds_no_password_is_shown_as_it_is(uri: str) -> None:
    assert public_uri(uri) == uri
